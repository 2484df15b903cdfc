#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# fio over many connections, every block verified, with trims among the writes, and memory for a
# tenth of the data.
#
#     TIERS_SECONDS=600 tests/tiers/fio.sh
#
# TIERS_SECONDS is about the time of all of it together.

# shellcheck source=tests/tiers/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_tiers
requires fio
fio --enghelp 2>/dev/null | grep -qw nbd || skip "fio has no nbd engine"

# At 20 s each job writes this, at more so much more.
scale=$(((${TIERS_SECONDS:-20} + 19) / 20))
spill=$work/spill
mkdir "$spill"

run() {
    local name=$1
    shift
    timeout $((60 + 120 * scale)) fio --ioengine=nbd --uri="$uri" --group_reporting --randrepeat=0 --verify_fatal=1 \
        --verify=crc32c --verify_pattern=%o --verify_state_save=0 --iodepth=16 --randseed="$seed" --buffer_compress_percentage=50 "$@" \
        --name="$name" --output="$work/fio-$name.log" || fail "fio: $name"
    grep -q 'err= 0' "$work/fio-$name.log" || fail "fio: $name"
}

memory_is_kept() {
    local peak
    peak=$(awk '/^VmHWM:/ {print $2}' "/proc/$server_pid/status")
    echo "$1: the server took at most $((peak / 1024)) MiB, with a limit of $2 MiB"
    sanitized || [ "$peak" -le $((($2 + slack_mib) * 1024)) ] || fail "$1: too much memory"
}

jobs_of_all_kinds() {
    run small --rw=randwrite --bs=4k --numjobs=4 --size=$((16 * scale))M --offset_increment=1G
    run unaligned --rw=randwrite --bsrange=512-64k --bs_unaligned --numjobs=4 --size=$((16 * scale))M \
        --offset_increment=1G
    run large --rw=write --bs=1M --numjobs=2 --size=$((32 * scale))M --offset=4G --offset_increment=1G
    run mixed --rw=randrw --bsrange=4k-256k --blockalign=4k --numjobs=4 --size=$((16 * scale))M \
        --offset_increment=1G
    run trims --rw=randtrimwrite --bs=4k --numjobs=4 --size=$((16 * scale))M --offset_increment=1G --serialize_overlap=1
}

few_jobs() {
    run small --rw=randwrite --bs=4k --numjobs=4 --size=$((16 * scale))M --offset_increment=1G
    run large --rw=write --bs=1M --numjobs=2 --size=$((32 * scale))M --offset=4G --offset_increment=1G
    run trims --rw=randtrimwrite --bs=4k --numjobs=4 --size=$((16 * scale))M --offset_increment=1G --serialize_overlap=1
}

limit=$((8 * scale))

start_server spilled "$plugin" -t 2 16G spill="$spill" memory-limit="${limit}M" compress=lz4
jobs_of_all_kinds
memory_is_kept "spill and lz4" "$limit"
kill "$server_pid"

start_server imaged "$plugin" -t 2 16G image="$work/image" memory-limit="${limit}M"
few_jobs
memory_is_kept "image" "$limit"
kill "$server_pid"
wait_for 60 eval '! kill -0 $server_pid 2>/dev/null' || fail "the server does not end"

# And all that the last jobs wrote is there, read by another server.
start_server again "$plugin" 16G image="$work/image" memory-limit="${limit}M"
run large --rw=write --bs=1M --numjobs=2 --size=$((32 * scale))M --offset=4G --offset_increment=1G --verify_only
