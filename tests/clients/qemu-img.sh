#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# qemu-img and qemu-io: images in and out with their holes, patterns, zeroes
# with and without unmap, discard, and the limit as QEMU sees it.

# shellcheck source=tests/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"
requires nbdkit qemu-img qemu-io nbdinfo jq

start_server disk "$plugin" volume=a:64M volume=b:1T memory-limit=128M
a="nbd+unix:///a?socket=$socket"
b="nbd+unix:///b?socket=$socket"

# runs URI: "offset size type" for each extent; types: 0 data, 2 zero, 3 hole and zero.
runs() {
    nbdinfo --map --json "$1" | jq -r '.[] | "\(.offset) \(.length) \(.type)"'
}

expect_runs() {
    local uri=$1 expected=$2 found
    found=$(runs "$uri")
    [ "$found" = "$expected" ] || fail "the map of $uri is:
$found
and should be:
$expected"
}

# io URI COMMAND...: qemu-io; any complaint of it is a failure.
io() {
    local uri=$1 commands=() command
    shift
    for command in "$@"; do commands+=(-c "$command"); done
    qemu-io -f raw -d unmap -t writeback "${commands[@]}" "$uri" >"$work/qemu-io.log" 2>&1 ||
        fail "qemu-io $*"
    ! grep -iE 'failed|error|invalid' "$work/qemu-io.log" || fail "qemu-io $*"
}

### Convert: a sparse image, over a disk full of something else.
truncate -s 64M "$work/image"
for at in 0 5 17 40 63; do
    dd if=/dev/urandom of="$work/image" bs=1M count=1 seek=$at conv=notrunc status=none
done
io "$a" "write -P 0xee 0 64M"
expect_runs "$a" "0 67108864 0"
expected="0 1048576 0
1048576 4194304 3
5242880 1048576 0
6291456 11534336 3
17825792 1048576 0
18874368 23068672 3
41943040 1048576 0
42991616 23068672 3
66060288 1048576 0"
for format in raw qcow2; do
    qemu-img convert -f raw -O "$format" "$work/image" "$work/source.$format"
    io "$a" "write -P 0xee 0 64M"
    qemu-img convert -n -f "$format" -O raw "$work/source.$format" "$a"
    expect_runs "$a" "$expected"
    qemu-img compare -s -f raw -F raw "$work/image" "$a" >"$work/compare.log" ||
        fail "the converted image differs, or is not as sparse"
done
# As QEMU sees them.
holes=$(qemu-img map --output=json -f raw "$a" |
    jq '[.[] | select(.zero and (.data | not)) | .length] | add')
[ "$holes" = $((59 << 20)) ] || fail "qemu-img map sees $holes bytes of holes"

### And out again.
for format in raw qcow2; do
    qemu-img convert -f raw -O "$format" "$a" "$work/back.$format"
    qemu-img compare -f raw -F "$format" "$work/image" "$work/back.$format" >"$work/compare.log" ||
        fail "the image read back as $format differs"
    [ "$(du -k "$work/back.$format" | cut -f1)" -lt 8192 ] ||
        fail "$format: the holes were lost on the way out"
done
cmp "$work/image" "$work/back.raw"

# compare can tell: one byte changed, far away.
io "$a" "write -P 0x01 60000001 1"
! qemu-img compare -f raw -F raw "$work/image" "$a" >"$work/compare.log" || fail "compare sees no difference"

### qemu-io.
io "$b" "write -P 0xaa 0 4M" "read -P 0xaa 0 4M" \
    "write -P 0xbb 1000 3000" "read -P 0xaa 0 1000" "read -P 0xbb 1000 3000" "read -P 0xaa 4000 1000" \
    "write -f -P 0xcc 9M 1M" "read -P 0xcc 9M 1M" "flush" \
    "aio_write -P 0x01 8M 1M" "aio_write -P 0x02 9M 1M" "aio_flush" \
    "read -P 0x01 8M 1M" "read -P 0x02 9M 1M"
expect_runs "$b" "0 4194304 0
4194304 4194304 3
8388608 2097152 0
10485760 1099501142016 3"

# The whole life of a range: reserved by zeroing, freed by zeroing with unmap
# and by discard.
io "$b" "write -z 0 1M" "write -z -u 1M 1M" "discard 2M 1M" "read -P 0 0 3M" "read -P 0xaa 3M 1M"
expect_runs "$b" "0 1048576 2
1048576 2097152 3
3145728 1048576 0
4194304 4194304 3
8388608 2097152 0
10485760 1099501142016 3"
io "$b" "discard 0 16M" "read -P 0 0 16M"
expect_runs "$b" "0 1099511627776 3"

### The limit: an error QEMU knows, nothing of the write, and all well after.
io "$b" "write -P 0x11 0 32M"
qemu-io -f raw -c "write -P 0x22 16M 120M" "$b" >"$work/full.log" 2>&1 || :
grep -q 'No space left on device' "$work/full.log" || fail "QEMU was not told that there is no space"
io "$b" "read -P 0x11 0 16M" "discard 0 32M" "write -P 0x33 1G 16M" "read -P 0x33 1G 16M"
