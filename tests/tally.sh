# Sourced by the shell tests: tally TITLE COMMAND... counts its success; finish ends the run.
passed=0 failed=0

tally() {
    local title=$1 text
    shift
    if text=$("$@" 2>&1); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAIL %s\n' "$title"
        [ -z "$text" ] || sed 's/^/      /' <<<"$text"
    fi
}

finish() {
    echo "$passed passed, $failed failed"
    exit $((failed != 0))
}
