#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A reader written from fs/FORMAT.md alone, in another language, agrees with what
# the library wrote: names, sizes, contents, streams, free space; and notices damage.

# shellcheck source=tests/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"
PATH=$build/tools/casefs:$build/tools:$PATH
requires casefs mkfs.casefs
reader() {
    "$python" -B "$top/tests/casefs/reader.py" "$work/image" "$@"
}

main() {
    make_volume
    check_contents
    check_space
    check_lookup
    check_damage
}

# Files of all lengths around those that matter, holes, links, streams, attributes, deletions.
make_volume() {
    local length i
    mkdir -p "$work/tree/Sub dir"
    for length in 0 1 2047 2048 2049 4095 4096 4097 6144 6145 100000 3000000; do
        head -c "$length" /dev/urandom >"$work/tree/file-$length"
    done
    truncate -s 5M "$work/tree/hole"
    echo end >>"$work/tree/hole"
    ln "$work/tree/file-4097" "$work/tree/Sub dir/linked"
    ln -s ../file-1 "$work/tree/Sub dir/pointer"
    cp -r "$top/fs" "$work/tree/Sub dir/"
    mkfs.casefs --quiet --case=insensitive --size=64M -d "$work/tree" "$work/image"
    echo stream | casefs stream put "$work/image:/file-1" Notes
    casefs ea set "$work/image:/file-1" User.Name value
    casefs acl set "$work/image:/file-2047" "O:BAG:BAD:P(A;;FA;;;SY)(A;;FA;;;WD)"
    casefs attrib +H +R "$work/image:/file-2048"
    for ((i = 0; i < 30; i++)); do
        casefs mkdir -p "$work/image:/gone/$i"
    done
    casefs rm -r "$work/image:/gone"
}

check_contents() {
    reader list --all >"$work/listing" || fail "the reader refuses the volume"
    grep >/dev/null "stream .* /file-1:Notes" "$work/listing" || fail "the reader lists no stream"
    reader extract "$work/out" || fail "the reader cannot extract"
    diff -r --no-dereference "$work/tree" "$work/out" || fail "what the reader extracted differs"
    [ "$(reader cat /file-1:notes)" = stream ] || fail "the stream's contents differ"
    casefs cp -r "$work/image:/" "$work/ours"
    diff -r --no-dereference "$work/tree" "$work/ours" || fail "what casefs extracted differs"
}

check_space() {
    reader space || fail "the reader finds blocks lost or used twice"
}

check_lookup() {
    reader cat "/FILE-2049" | cmp - "$work/tree/file-2049" || fail "another spelling finds another file"
    ! reader cat /missing 2>/dev/null || fail "the reader found what is not there"
}

# A changed byte in a file's block is noticed.
check_damage() {
    local offset
    offset=$(casefs info --json "$work/image:/file-3000000" | jq '[.[0].extents[] | select(.kind == "data")][0].device_offset')
    [ "$offset" -gt 0 ] || fail "casefs info tells no place of the data"
    printf 'x' | dd of="$work/image" bs=1 seek=$((offset + 77)) conv=notrunc status=none
    ! reader cat /file-3000000 >/dev/null 2>"$work/complaint" || fail "damage went unnoticed"
    [ "$(wc -l <"$work/complaint")" = 1 ] || fail "the complaint is not one line"
}

main
