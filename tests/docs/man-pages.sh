#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The manual pages name everything there is, and nothing else: parameters,
# options, statistics, metrics, functions.  Their syntax is clean.

# shellcheck source=tests/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"
requires nbdkit podchecker jq socat

plugin_page=$top/plugin/nbdkit-sectors-plugin.pod
library_page=$top/plugin/libsectors.pod
sectorsctl_page=$top/tools/sectorsctl.pod
control=$work/control.sock

main() {
    start_server disk "$plugin" volume=disk:1G compress=lz4 memory-limit=64M control="$control"
    for page in "$plugin_page" "$library_page" "$sectorsctl_page"; do
        syntax_is_clean "$page"
    done
    agree "parameters" parameters_in_code parameters_in_page
    agree "parameters in the synopsis" parameters_in_code parameters_in_synopsis
    agree "members of requests and answers" json_members json_members_in_page
    agree "commands" commands_in_code commands_in_page
    agree "keys of --dump-plugin" dumped_keys dumped_keys_in_page
    agree "verbs of sectorsctl" verbs_in_help verbs_in_page
    agree "options of sectorsctl" options_in_help options_in_page
    agree "metrics" metrics metrics_in_page
    agree "functions of the library" functions_in_header functions_in_page
    agree "lines of the example" example_in_code example_in_page
}

syntax_is_clean() {
    podchecker -warnings "$1" >"$work/podchecker.log" 2>&1 || fail "the syntax of $1 is wrong"
    ! grep -E 'WARNING|ERROR' "$work/podchecker.log" || fail "the syntax of $1 is not clean"
}

# agree WHAT IN_CODE IN_PAGE: both commands print the same lines, and some.
agree() {
    "$2" >"$work/in-code"
    "$3" >"$work/in-page"
    [ -s "$work/in-code" ] || fail "no $1 were found in the code"
    diff -u --label code --label page "$work/in-code" "$work/in-page" >&2 || fail "$1: code and page differ"
}

# section PAGE HEADING: the text under that heading.
section() {
    awk -v heading="=head1 $2" '/^=head1/ {inside = $0 == heading} inside' "$1"
}

# items PAGE HEADING: the lines that introduce an item there.
items() {
    section "$1" "$2" | grep '^=item'
}

parameters_in_code() {
    sed -n '/settings_help\[\] =/,/;$/ s/^ *"\[\{0,1\}\([a-z-]*\)=.*/\1/p' "$top/plugin/settings.c" | sort
}

parameters_in_page() {
    items "$plugin_page" PARAMETERS | sed -n 's/^=item \[\{0,1\}B<\([a-z-]*\)=.*/\1/p' | sort -u
}

parameters_in_synopsis() {
    section "$plugin_page" SYNOPSIS | grep -oE '[a-z-]+=' | tr -d = | sort -u
}

# What a dialogue shows; and what no short one does, but the sources name.
json_members() {
    local requests='{"version": 1, "command": "stats"}
{"command": "volumes"}
{"command": "create", "name": "a", "size": "1M", "priority": 3}
{"command": "create", "name": "b", "base": "/", "image": "/nonexistent/image"}
{"command": "resize", "name": "a", "size": 4096}
{"command": "priority", "volume": "disk", "offset": 0, "length": "1M", "priority": 9}
{"command": "priority", "volume": "disk"}
{"command": "gc", "target": "50%"}
{"command": "preload", "volume": "disk"}
{"command": "flush"}
{"command": "map", "volume": "disk", "offset": 0, "length": "8M"}
{"command": "map", "volume": "disk", "resolution": 4}
{"command": "set", "memory_limit": "64M", "high_watermark": 90, "low_watermark": 85, "compression": "lz4"}
{"command": "log", "since": 0}
{"command": "remove", "name": "a", "force": false}
{"version": 1, "command": "no such command"}'
    { echo "$requests"; echo "$requests" | socat -t 10 - "UNIX-CONNECT:$control"; } >"$work/dialogue"
    jq -es 'map(select(.ok and .statistics))[0].statistics.volumes[0].name' "$work/dialogue" >/dev/null ||
        fail "there was no answer with a volume"
    jq -es 'map(select(.ok == false)) | length <= 2' "$work/dialogue" >/dev/null || fail "the server refused: $(grep '"ok":false' "$work/dialogue")"
    {
        jq -r 'paths[] | strings' "$work/dialogue"
        grep -ohE '"(progress|done|next|memory|sequence|time|kind|sentence)"' "$top"/plugin/control-*.c | tr -d '"'
    } | sort -u
}

json_members_in_page() {
    items "$plugin_page" "CONTROL PROTOCOL" | grep -oE 'C<[a-z0-9_]+>' | sed 's/C<\(.*\)>/\1/' | sort -u
}

commands_in_code() {
    sed -n '/^} commands\[\] = {/,/^};/ s/^ *{"\([a-z]*\)".*/\1/p' "$top/plugin/control-commands.c" | sort
}

commands_in_page() {
    items "$plugin_page" "CONTROL PROTOCOL" | sed -n 's/^=item B<\([a-z]*\)>$/\1/p' | sort
}

dumped_keys() {
    LD_PRELOAD=${SECTORS_PRELOAD-} nbdkit "$plugin" --dump-plugin | sed -n 's/^\(sectors_[a-z_]*\)=.*/\1/p' | sort
}

dumped_keys_in_page() {
    items "$plugin_page" PROBING | grep -oE 'sectors_[a-z_]+' | sort
}

verbs_in_help() {
    "$sectorsctl" --help | sed -n '/^stats /,/^$/ s/^\([a-z]*\)  *.*/\1/p' | sort -u
}

verbs_in_page() {
    items "$sectorsctl_page" VERBS | sed -n 's/^=item B<\([a-z]*\)[ >].*/\1/p' | sort -u
}

# Short and long ones.
options_in_help() {
    "$sectorsctl" --help | grep -E '^ +-' | grep -oE '(^| )--?[A-Za-z][a-z-]*' | tr -d ' ' | sort
}

options_in_page() {
    items "$sectorsctl_page" OPTIONS | grep -oE -e '--?[A-Za-z][a-z-]*' | sort
}

metrics() {
    "$sectorsctl" "$control" stats --prometheus | awk '$2 == "TYPE" {print $3}' | sort
}

metrics_in_page() {
    items "$sectorsctl_page" METRICS | grep -oE 'sectors_[a-z_]+' | sort
}

functions_in_header() {
    grep -oE '\bsectors_[a-z_]+\(' "$top/plugin/sectors.h" | tr -d '(' | sort
}

functions_in_page() {
    items "$library_page" FUNCTIONS | sed -n 's/^=item B<\(sectors_[a-z_]*\)>(.*/\1/p' | sort
}

example_in_code() {
    sed -n '/^#include/,$ p' "$top/plugin/example.c"
}

example_in_page() {
    section "$library_page" EXAMPLE | sed -n '/^ #include/,/^ }$/ s/^ \{0,1\}//p'
}

main
