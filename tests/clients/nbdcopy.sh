#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdcopy with several connections: in, out and from volume to volume, holes
# kept, and the server's memory as large as the data.

# shellcheck source=tests/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"
requires nbdkit nbdcopy nbdinfo

start_server disk "$plugin" volume=a:1G volume=b:1G memory-limit=512M
a="nbd+unix:///a?socket=$socket"
b="nbd+unix:///b?socket=$socket"
copy=(nbdcopy --connections=4 --threads=4 --requests=16 --flush)

# total URI TYPE: the bytes of that extent type (0 data, 2 zero, 3 hole and zero).
total() {
    nbdinfo --map --totals "$1" |
        awk -v type="$2" '$3 == type {bytes = $1} END {print bytes + 0}'
}

expect_total() {
    local found
    found=$(total "$1" "$2")
    [ "$found" = "$3" ] || fail "$1 has $found bytes of type $2, not $3"
}

# 48 pieces of data, at odd places, 48 MiB in all.
truncate -s 1G "$work/image"
for at in $(seq 1 21 988); do
    dd if=/dev/urandom of="$work/image" bs=1M count=1 seek="$at" conv=notrunc status=none
done
data=$((48 << 20))
idle=$(rss_kib "$server_pid")

"${copy[@]}" "$work/image" "$a"
expect_total "$a" 0 $data
expect_total "$a" 3 $(((1 << 30) - data))
"${copy[@]}" "$a" "$b"
expect_total "$b" 0 $data
expect_total "$b" 3 $(((1 << 30) - data))

# Twice the data, the index, and the server's buffers, but not 2 GiB.
grown=$(($(rss_kib "$server_pid") - idle))
[ $grown -ge $((2 * 48 << 10)) ] || fail "the server holds 96 MiB in $grown KiB?"
if ! grep -q '__[at]san_init' "$plugin"; then
    [ $grown -le $((128 << 10)) ] || fail "the server took $grown KiB for 96 MiB of data"
fi

"${copy[@]}" "$b" "$work/back"
cmp "$work/image" "$work/back"
[ "$(du -k "$work/back" | cut -f1)" -le $((56 << 10)) ] || fail "the holes were lost on the way out"
rm "$work/back"

# Over old data: the holes of the image make holes.
truncate -s 1G "$work/empty"
"${copy[@]}" "$work/empty" "$b"
expect_total "$b" 3 $((1 << 30))

# --allocated: space for everything, or none.
truncate -s 64M "$work/small"
dd if=/dev/urandom of="$work/small" bs=1M count=1 conv=notrunc status=none
start_server small "$plugin" 64M memory-limit=96M
nbdcopy --allocated "$work/small" "$uri"
expect_total "$uri" 2 $((63 << 20))
expect_total "$uri" 0 $((1 << 20))
nbdcopy "$uri" "$work/back"
cmp "$work/small" "$work/back"

# A disk which cannot hold the image: the copy fails and says why.
start_server tiny "$plugin" 4G memory-limit=16M
! nbdcopy "$work/image" "$uri" 2>"$work/tiny-copy.log" || fail "48 MiB went into 16"
grep -q 'No space left on device' "$work/tiny-copy.log" || fail "nbdcopy was not told that there is no space"
