#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# casefs priority, preload and info --control: what they ask of a server, what
# they make of its answers, sensible or not, and what a real server does then.
#
# CASEFS_PROGRAMS names the folder of the programs, if it is not the build's.

# shellcheck source=tests/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"
requires jq nbdkit

unset CASEFS COLUMNS
export TZ=UTC LC_ALL=C.UTF-8
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mib=1048576

# program NAME: its path; each may be in a folder of its own.
program() {
    local folder=${CASEFS_PROGRAMS:-$build/tools} path
    for path in "$folder/$1" "$folder/casefs/$1"; do
        if [ -f "$path" ] && [ -x "$path" ]; then
            echo "$path"
            return
        fi
    done
    skip "$1 was not built"
}

casefs=$(program casefs)
mkfs=$(program mkfs.casefs)
fake_pid=

at_exit() {
    [ -z "$fake_pid" ] || kill "$fake_pid" 2>/dev/null || :
}

main() {
    make_volume
    test_usage
    test_requests
    test_names
    test_files_without_extents
    test_cache_request
    test_info
    test_nonsense
    test_real_server
}

# ---------------------------------------------------------------------- helpers

does() {
    local status=0
    "$casefs" "$@" 2>"$work/errors" || status=$?
    [ "$status" -eq 0 ] || fail "casefs $*: status $status, $(cat "$work/errors")"
    [ ! -s "$work/errors" ] || fail "casefs $* complained: $(cat "$work/errors")"
}

# refuses STATUS PATTERN ARGUMENT...: one line on the standard error that matches.
refuses() {
    local wanted=$1 pattern=$2 status=0
    shift 2
    timeout 60 "$casefs" "$@" >"$work/output" 2>"$work/errors" || status=$?
    [ "$status" -eq "$wanted" ] || fail "casefs $*: status $status, not $wanted: $(cat "$work/errors")"
    [ "$(wc -l <"$work/errors")" -eq 1 ] || fail "casefs $* did not say one thing: $(cat "$work/errors")"
    grep -qE -- "$pattern" "$work/errors" || fail "casefs $* said: $(cat "$work/errors")"
    ! grep -qE 'ERROR|runtime error' "$work/errors" || fail "casefs $*: $(cat "$work/errors")"
}

# is EXPECTED FOUND WHAT
is() {
    [ "$1" = "$2" ] || fail "$3: $2, not $1"
}

# fake BEHAVIOUR [NAME:SIZE]...: a control socket, $control; its requests are in $work/requests.
fake() {
    [ -z "$fake_pid" ] || kill "$fake_pid"
    control=$work/fake.ctl
    rm -f "$control" "$work/requests" "$work/fake.pid"
    "$python" "$here/fake-control.py" "$control" "$work/requests" "$@" >"$work/fake.pid" 2>"$work/fake.log" &
    disown
    wait_for 30 test -s "$work/fake.pid" || fail "fake-control.py did not start"
    fake_pid=$(cat "$work/fake.pid")
}

# requests FILTER: of those that are not for statistics, one to a line.
requests() {
    jq -c "select(.command != \"stats\") | $1" "$work/requests"
}

# ranges FILE: where it lies on its device, in order, neighbours made one, in whole blocks.
ranges() {
    "$casefs" info --json "$1" | jq -c '[.[0].extents[] | select(.device_offset) |
            [.device_offset, ((.count + 4095) / 4096 | floor) * 4096]] | sort |
        reduce .[] as $next ([]; if length > 0 and .[-1][0] + .[-1][1] == $next[0]
            then .[-1][1] += $next[1] else . + [$next] end) | .[]'
}

make_volume() {
    size=$((64 * mib))
    truncate -s "$size" "$work/image"
    "$mkfs" "$work/image" >"$work/mkfs.log"
    head -c $((3 * mib + 5000)) /dev/urandom >"$work/large"
    head -c 100000 /dev/urandom >"$work/between"
    echo small >"$work/small"
    file=$work/image:/large
    does cp "$work/large" "$work/image:/"
    # Written over in the middle, so that it lies in several places.
    does cp "$work/between" "$work/image:/between"
    does truncate --punch="$mib:$mib" "$file"
    does truncate --allocate="$((mib + 65536)):65536" "$file"
    does cp "$work/small" "$work/image:/small"
    does mkdir "$work/image:/folder"
    does ln -s large "$work/image:/link"
    does touch "$work/image:/empty"
    does truncate -s 1M "$work/image:/holes"
    [ "$(ranges "$file" | wc -l)" -ge 2 ] || fail "the file lies in one place"
}

# ------------------------------------------------------------------- the verbs

test_usage() {
    refuses 2 'priority from 0 to 10' priority
    refuses 2 'priority from 0 to 10' priority "$file"
    local number
    for number in 11 -- -1 1.5 high '' 99999999999999999999; do
        refuses 2 'priority' priority "$file" "$number"
    done
    refuses 2 'give files' preload
    refuses 2 'requires an argument' preload "$file" --control
    refuses 1 '--control=SOCKET' priority "$file" 3
    refuses 1 '--control=SOCKET' preload "$file"
    refuses 1 '--control=SOCKET' info --volume=x "$file"
    refuses 1 'cannot reach a server' preload --control="$work/nobody" "$file"
    refuses 1 'cannot name a control socket' preload --control= "$file"
    refuses 1 'cannot name a control socket' preload --control="$(printf 'x%.0s' $(seq 108))" "$file"
    refuses 1 'does not hold a casefs volume' priority mem:64M:/x 3
    refuses 1 'no such file' priority --control="$work/nobody" "$work/image:/none" 3
}

test_requests() {
    fake good "default:$size"
    does priority --control="$control" "$file" 7
    is "$(ranges "$file")" "$(requests '[.offset, .length]')" "what priority asks for"
    is '"priority" 1 "default" 7' "$(requests '"\(.command|tojson) \(.version) \(.volume|tojson) \(.priority)"' | jq -r . | sort -u)" "its requests"
    fake good "default:$size"
    does preload --control="$control" "$file"
    is "$(ranges "$file")" "$(requests '[.offset, .length]')" "what preload asks for"
    is '["preload","default",null]' "$(requests '[.command, .volume, .priority]' | sort -u)" "its requests"
    # One question for the name, however many files; links are followed.
    fake progress "default:$size"
    does priority --control="$control" "$work/image:/link" "$work/image:/between" 0
    is 1 "$(grep -c stats "$work/requests")" "questions for statistics"
    is "$(ranges "$file" && ranges "$work/image:/between")" "$(requests '[.offset, .length]')" "what two files ask for"
    # Long ranges are loaded in parts.
    does cp "$work/large" "$work/image:/again"
    fake good "default:$size"
    does preload --control="$control" "$work/image:/again" "$work/image:/large"
    is "$(ranges "$work/image:/again" && ranges "$file")" "$(requests '[.offset, .length]')" "what preload asks for"
    does rm "$work/image:/again"
}

test_names() {
    fake good "first:$size" "default:$size" "other:1048576" "Ein Näme:$size"
    does preload --control="$control" "$file"
    does preload --control="$control" --volume="Ein Näme" "$file"
    does preload --control="$control" --volume=first "$file"
    is '"default" "Ein Näme" "first"' "$(requests .volume | uniq | paste -sd ' ')" "volumes"
    refuses 1 "no volume 'none'; --volume=NAME" preload --control="$control" --volume=none "$file"
    refuses 1 'another size; --volume=NAME' preload --control="$control" --volume=other "$file"
    fake good "first:$((size + 100))" "second:$size"
    does preload --control="$control" "$file"
    is '"first"' "$(requests .volume | uniq)" "without default, the volume"
    fake good
    refuses 1 "no volume ''" preload --control="$control" "$file"

    # The name in a URI.
    start_server named "$build/plugin/nbdkit-sectors-plugin.so" "volume=Ein Näme:64M" volume=second:64M
    local named="nbd+unix:///Ein%20N%c3%a4me?socket=$socket"
    "$mkfs" "$named" >"$work/mkfs.log"
    does cp "$work/large" "$named:/large"
    fake good "default:$size" "second:$size" "Ein Näme:$size"
    does priority --control="$control" "$named:/large" 1
    is '"Ein Näme"' "$(requests .volume | uniq)" "the volume of a URI"
    does priority --control="$control" --volume=second "$named:/large" 1
    is '"Ein Näme" "second"' "$(requests .volume | uniq | paste -sd ' ')" "the volume told"
}

test_files_without_extents() {
    local name
    fake good "default:$size"
    refuses 1 'small: it|metadata' priority --control="$control" "$work/image:/small" 3
    refuses 1 'it is empty' priority --control="$control" "$work/image:/empty" 3
    refuses 1 'is holes' priority --control="$control" "$work/image:/holes" 3
    refuses 1 'is a directory' priority --control="$control" "$work/image:/folder" 3
    refuses 1 'is a directory' preload --control="$control" "$work/image:/folder"
    for name in small empty holes; do
        does preload --control="$control" "$work/image:/$name" | grep -q 'nothing to load: ' || fail "preload of $name"
    done
    [ ! -e "$work/requests" ] || fail "files without extents made requests"
    # The others are done all the same.
    refuses 1 'it is empty' priority --control="$control" "$work/image:/empty" "$file" 3
    is "$(ranges "$file")" "$(requests '[.offset, .length]')" "what priority asks for"
}

# Without a control socket, preload is NBD's CACHE.
test_cache_request() {
    start_server cache --filter=log --filter=nocache memory 64M cachemode=nop logfile="$work/cache.requests"
    "$mkfs" "$uri" >"$work/mkfs.log"
    does cp "$work/large" "$uri:/large"
    does cp "$work/large" "$uri:/other"
    does preload "$uri:/large"
    is "$(ranges "$uri:/large")" "$("$python" - "$work/cache.requests" <<'END'
import re, sys
text = open(sys.argv[1], encoding="utf-8").read()
ranges = sorted([int(found[1], 16), int(found[2], 16)] for found in
                re.finditer(r"\bCache id=\d+ offset=(0x[0-9a-f]+) count=(0x[0-9a-f]+)", text))
merged = []
for offset, count in ranges:
    if merged and sum(merged[-1]) == offset:
        merged[-1][1] += count
    else:
        merged.append([offset, count])
for offset, count in merged:
    print(f"[{offset},{count}]")
END
)" "CACHE requests"
    refuses 1 '--control=SOCKET' priority "$uri:/large" 3
}

# ------------------------------------------------------------------------- info

# expected FILE: what the map of fake-control.py says of a file: tier, bytes, dirty bytes.
expected() {
    ranges "$1" | jq -cs '["memory", "compressed", "spill", "image", "base", "none"] as $tiers |
        [.[] | .[0] as $start | range(0; .[1]; 4096) |
            ((($start + .) / 1048576) | floor)] |
        group_by(. % 6) | map({tier: $tiers[.[0] % 6], bytes: (length * 4096),
            dirty: (map(select(. % 2 == 1)) | length * 4096),
            heat: (add / length * 1000 | round), priority: (map(. % 11) | add / length * 1000 | round)}) |
        sort_by(.tier)'
}

test_info() {
    local behaviour name
    # In one piece, and so with more entries in its map than a server may send at once.
    does cp "$work/large" "$work/image:/whole"
    for behaviour in good short progress; do
        fake "$behaviour" "default:$size"
        for name in large whole; do
            does info --json --control="$control" "$work/image:/$name" >"$work/info"
            is "$(expected "$work/image:/$name")" "$(jq -c '.[0].tiers | sort_by(.tier) | map({tier, bytes, dirty,
                heat: (.heat * 1000 | round), priority: (.priority * 1000 | round)})' "$work/info")" "tiers of $name ($behaviour)"
        done
    done
    does rm "$work/image:/whole"
    does info --control="$control" "$file" >"$work/info"
    grep -qE '^where +bytes +heat +priority +dirty bytes$' "$work/info" || fail "info printed: $(cat "$work/info")"
    is "$(expected "$file" | jq length)" "$(grep -cE '^(memory|compressed|spill|image|base|none) +[0-9]+ +[0-9]+ +[0-9.]+ +[0-9]+$' "$work/info")" "tiers shown"
    is '[]' "$(does info --json --control="$control" "$work/image:/small" | jq -c '.[0].tiers')" "tiers of a small file"
    does info --json "$file" | jq -e '.[0] | has("tiers") | not' >"$work/output" || fail "tiers without a control socket"
    does info --control="$control" "$work/image" | grep -q '^uuid:' || fail "info of the volume"
}

# ------------------------------------------------------------------ bad answers

test_nonsense() {
    local behaviour
    for behaviour in "closing went away" "garbage not understood" "endless went away" 'refusing the moon is\\x1B'; do
        fake "${behaviour%% *}" "default:$size"
        refuses 1 "${behaviour#* }" priority --control="$control" "$file" 3
        refuses 1 "${behaviour#* }" preload --control="$control" "$file"
        refuses 1 "${behaviour#* }" info --control="$control" "$file"
    done
    for behaviour in empty behind beyond nameless hot list; do
        fake "$behaviour" "default:$size"
        refuses 1 'makes no sense' info --control="$control" "$file"
    done
}

# ------------------------------------------------------------------ a real server

# tier FILE: the bytes of it in memory, plain or compressed; below; and its mean priority.
in_memory() {
    does info --json --control="$control" "$1" |
        jq '[.[0].tiers[] | select(.tier == "memory" or .tier == "compressed") | .bytes] | add // 0'
}

priority_of() {
    does info --json --control="$control" "$1" |
        jq '[.[0].tiers[] | .bytes * .priority] as $sum | [.[0].tiers[].bytes] as $bytes | ($sum | add) / ($bytes | add)'
}

# A file of 4 MiB, pinned, stays while 48 MiB pass through 16 MiB of memory; another, of the lowest
# priority, does not, and comes back when it is asked for.
test_real_server() {
    control=$work/real.ctl
    mkdir "$work/spill"
    start_server real "$plugin" 256M memory-limit=16M spill="$work/spill" control="$control"
    "$mkfs" "$uri" >"$work/mkfs.log"
    head -c 4M /dev/urandom >"$work/four"
    head -c 48M /dev/urandom >"$work/flood"
    does cp "$work/four" "$uri:/pinned"
    does cp "$work/four" "$uri:/plain"
    does priority --control="$control" "$uri:/pinned" 9
    is 9 "$(priority_of "$uri:/pinned")" "priority"
    is 5 "$(priority_of "$uri:/plain")" "priority of the other"
    does priority --control="$control" "$uri:/plain" 0
    does cp "$work/flood" "$uri:/flood"
    is $((4 * mib)) "$(in_memory "$uri:/pinned")" "bytes of the pinned file in memory"
    [ "$(in_memory "$uri:/plain")" -lt $((2 * mib)) ] || fail "the other file is still in memory: $(in_memory "$uri:/plain")"
    does rm "$uri:/flood"
    does preload --control="$control" "$uri:/plain"
    [ "$(in_memory "$uri:/plain")" -ge $((4 * mib * 9 / 10)) ] || fail "preloaded: $(in_memory "$uri:/plain") bytes"
    cmp "$work/four" <(does cat "$uri:/plain") || fail "the file is another"
    does info --control="$control" "$uri:/plain"
}

main
