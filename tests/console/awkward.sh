#!/bin/sh
# The server for an awkward console: Nova with its whims, and a budget of half a millisecond a step.
# Usage, for a wire test: MPSERVER=tests/console/awkward.sh
exec env NOVA_SEED=1 MPS_CONSOLE_BUDGET_US=500 build/mpserver-console-sanitized "$@"
