# SPDX-License-Identifier: BSD-3-Clause
# Shell functions of the tests of the tiers; source this file first.
# shellcheck shell=bash
#
# Environment: TIERS_SEED chooses what is done; TIERS_SECONDS and TIERS_POINTS how long or often
# (each script says what).

# shellcheck source=tests/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"

stress_program=$build/tests/tiers/tiers-stress
volatile=$build/tests/tiers/nbdkit-tiers-volatile-plugin.so
seed=${TIERS_SEED:-1}
requires nbdkit
[ -x "$stress_program" ] || skip "$stress_program was not built"

# What nbdkit and its libraries take, and its buffers: one of 1 MiB for each thread of each connection.
slack_mib=${TIERS_SLACK:-64}

# A sanitizer's own memory says nothing about ours.
sanitized() {
    [ -n "${SECTORS_PRELOAD-}" ]
}

# served NAME PLUGIN [PARAMETER...]: the command for a server on $work/NAME.sock.
served() {
    local name=$1
    shift
    printf 'env ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=%q nbdkit -f -t 2 -U %q' "${SECTORS_PRELOAD-}" "$work/$name.sock"
    printf ' %q' "$@"
    printf ' 2>>%q' "$work/$name.log"
}

# served_plainly: the same for a server that is not ours.
served_plainly() {
    local name=$1
    shift
    printf 'nbdkit -f -U %q' "$work/$name.sock"
    printf ' %q' "$@"
    printf ' 2>>%q' "$work/$name.log"
}

# served_file NAME FILE [OPTION...]: nbdkit's own server for files.  One request of a connection at
# a time: without that, nbdkit before 1.34 aborts now and then when a client is killed.
served_file() {
    local name=$1 file=$2
    shift 2
    served_plainly "$name" "$@" --filter=noparallel file "$file" serialize=requests
}

uri_of() {
    echo "nbd+unix:///?socket=$work/$1.sock"
}

# stress TITLE LIMIT_MIB OPTION...: the server is the one that was described by the option --server.
stress() {
    local title=$1 limit=$2
    shift 2
    echo "== $title"
    sanitized || set -- "$@" --limit "$limit" --slack "$slack_mib"
    "$stress_program" --socket "$work/server.sock" --seed "$seed" "$@" || fail "$title, TIERS_SEED=$seed: $stress_program $*"
    few_lines_for_each_fault "$@"
}

# Whatever goes wrong below is told once for each time that it goes wrong, not for each request.
few_lines_for_each_fault() {
    local lines rounds
    [ -f "$work/server.log" ] || return 0
    lines=$(grep -cv -e 'Connection reset by peer' -e 'Broken pipe' "$work/server.log" || :)
    rounds=$(sed -n 's/.*--rounds \([0-9]*\).*/\1/p' <<<"$*")
    echo "  the server said $lines lines"
    [ "$lines" -le $((12 * rounds + 10)) ] || fail "that is a line for each request: $(sort "$work/server.log" | uniq -c | sort -rn | head -n 3)"
    rm -f "$work"/*.log
}

# Whether the plugin knows its tiers yet.
requires_tiers() {
    [ -f "$plugin" ] || skip "$plugin was not built"
}

# Verbs for --verb, of the control socket $work/control, which a volume called $1 answers.
declare -a verbs
choose_verbs() {
    local volume=$1 verb
    verbs=()
    for verb in "gc 50%" "gc 10%" "gc 0" "drop $volume 0-16M" "drop $volume" "preload $volume 8M-24M" "preload $volume" \
        "priority $volume 0-2M 9" "priority $volume 5" "priority $volume 16M-32M 0" "priority $volume 0-2M 5" "map $volume" "flush" "stats" \
        "set high-watermark=70% low-watermark=60%" \
        "set high-watermark=90% low-watermark=85%" "set memory-limit=16M" "set memory-limit=24M" "log"; do
        [[ $verb =~ ${TIERS_VERBS-} ]] || continue
        verbs+=(--verb "$sectorsctl $work/control $verb")
    done
}
