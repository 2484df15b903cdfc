# SPDX-License-Identifier: BSD-3-Clause
# Shell functions shared by the test scripts; source this file first.
#
# Gives: $top (the source tree), $build, $plugin, $sectorsctl, $work (a private
# directory, removed at exit), and the functions below.  A test that cannot run
# for want of a program calls `skip`, which ctest reports as skipped; one that
# has more to undo at its end defines a function at_exit.

set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${SECTORS_BUILD_DIR:-$top/build}
plugin=$build/plugin/nbdkit-sectors-plugin.so
sectorsctl=$build/tools/sectorsctl
# Debian's python3-libnbd belongs to Debian's own interpreter.
python=/usr/bin/python3

work=$(mktemp -d "${TMPDIR:-/tmp}/sectors-test.XXXXXX")
server_pids=()

cleanup() {
    local status=$? pid
    trap - EXIT
    if declare -F at_exit >/dev/null; then
        at_exit || :
    fi
    for pid in "${server_pids[@]}"; do
        kill "$pid" 2>/dev/null || :
    done
    for pid in "${server_pids[@]}"; do
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.05
        done
        kill -9 "$pid" 2>/dev/null || :
    done
    if [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; then
        for log in "$work"/*.log; do
            [ -s "$log" ] || continue
            echo "--- $(basename "$log") (last 40 lines)" >&2
            tail -n 40 "$log" >&2
        done
    fi
    rm -rf "$work"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

skip() {
    echo "SKIP: $*" >&2
    exit 77
}

requires() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || skip "$program is not installed"
    done
}

# start_server NAME PLUGIN [PARAMETER...]
# Serves on $work/NAME.sock; sets $socket, $uri and $server_pid.  The server's
# messages go to $work/NAME.log.
start_server() {
    local name=$1
    shift
    socket=$work/$name.sock
    uri="nbd+unix:///?socket=$socket"
    # A sanitized plugin needs the sanitizer's runtime in nbdkit from the start.
    ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=${SECTORS_PRELOAD-} nbdkit -f -P "$work/$name.pid" -U "$socket" "$@" \
        2>"$work/$name.log" &
    local shell_pid=$!
    for _ in $(seq 200); do
        [ -s "$work/$name.pid" ] && break
        kill -0 "$shell_pid" 2>/dev/null || fail "the server '$*' did not start: $(cat "$work/$name.log")"
        sleep 0.05
    done
    [ -s "$work/$name.pid" ] || fail "the server '$*' was not ready in 10 s"
    server_pid=$(cat "$work/$name.pid")
    server_pids+=("$server_pid")
}

# rss_kib PID: its resident memory, in KiB.
rss_kib() {
    awk '/^VmRSS:/ {print $2}' "/proc/$1/status"
}

# wait_for SECONDS COMMAND...: runs the command until it succeeds.
wait_for() {
    local tries=$(($1 * 20))
    shift
    for _ in $(seq "$tries"); do
        "$@" && return 0
        sleep 0.05
    done
    return 1
}
