# What the linker kept, by part, from its map: bytes of code, data and bss (PSRAM included).
function number(hex,    value, i) {
    for (i = 3; i <= length(hex); i++) {
        value = value * 16 + index("0123456789abcdef", substr(hex, i, 1)) - 1
    }
    return value
}
/^Linker script and memory map/ { on = 1 }
!on || /^\.(debug|comment|ARM\.attributes)/ { if (/^\.debug/) on = 0; next }
# A long name of a section stands on a line of its own.
/^ \.[^ ]+$/ { section = $1; next }
/^ \.[^ ]+ +0x/ { section = $1; size = $3; file = $4 }
/^ +0x[0-9a-f]+ +0x[0-9a-f]+ / { size = $2; file = $3 }
/^ \.[^ ]+ +0x/ || /^ +0x[0-9a-f]+ +0x[0-9a-f]+ [^ ]+\.[oa]/ {
    if (file !~ /\.[oa](\(|$)/) next
    part = file ~ /core\.o$/ ? "core" : file ~ /lwip\.a/ ? "lwIP" : \
        file ~ /lwip\.o$/ ? "port" : file ~ /\/lib[a-z]*\.a/ ? "libc+libgcc" : "board"
    kind = section ~ /^\.(bss|COMMON)/ ? "bss" : section ~ /^\.data/ ? "data" : "text"
    bytes[part, kind] += number(size)
    file = ""
}
END {
    split("core port lwIP board libc+libgcc", parts, " ")
    split("text data bss", kinds, " ")
    printf "%-22s %10s %10s %10s\n", "mpserver for " preset, "text", "data", "bss"
    for (i = 1; i <= 5; i++) {
        printf "%-22s", parts[i]
        for (k = 1; k <= 3; k++) {
            printf " %10d", bytes[parts[i], kinds[k]]
            total[kinds[k]] += bytes[parts[i], kinds[k]]
        }
        print ""
    }
    printf "%-22s %10d %10d %10d\n", "total", total["text"], total["data"], total["bss"]
}
