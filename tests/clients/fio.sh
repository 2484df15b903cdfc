#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# fio over many connections: every block is verified, with trims among the writes.

# shellcheck source=tests/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"
requires nbdkit fio
fio --enghelp 2>/dev/null | grep -qw nbd || skip "fio has no nbd engine"

start_server disk "$plugin" 16G memory-limit=512M

run() {
    local name=$1
    shift
    fio --ioengine=nbd --uri="$uri" --group_reporting --randrepeat=0 --verify_fatal=1 \
        --verify=crc32c --verify_pattern=%o --iodepth=16 "$@" --name="$name" \
        --output="$work/fio-$name.log" || fail "fio: $name"
    grep -q 'err= 0' "$work/fio-$name.log" || fail "fio: $name"
}

# Eight connections, each with its own 16 MiB, every block size.
run small --rw=randwrite --bs=4k --numjobs=8 --size=16M --offset_increment=64M
run unaligned --rw=randwrite --bsrange=512-64k --bs_unaligned --numjobs=4 --size=16M --offset_increment=1G
run large --rw=write --bs=1M --numjobs=4 --size=32M --offset=4G --offset_increment=100M
run mixed --rw=randrw --bsrange=4k-256k --blockalign=4k --numjobs=8 --size=8M --offset_increment=64M --loops=2
# Blocks trimmed, then written, then verified.
run trims --rw=randtrimwrite --bs=4k --numjobs=4 --size=16M --offset_increment=256M --serialize_overlap=1

# Trims of all that, without verification: everything is given back.
fio --ioengine=nbd --uri="$uri" --rw=trim --bs=4M --size=16G --name=trim-all --output="$work/fio-trim.log" ||
    fail "fio: trim"
if command -v nbdinfo >/dev/null; then
    [ "$(nbdinfo --map --totals "$uri" | awk '{print $1, $3}')" = "$((16 << 30)) 3" ] ||
        fail "not all was trimmed"
fi
