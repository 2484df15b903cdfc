#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The daemon is killed under load, at random moments: each time the volume must be consistent, and
# hold what was synced and nothing that was never written.
#
#     CRASH_POINTS=500 tests/mount/crash.sh
#
# CRASH_POINTS of them on a file, a tenth as many on a disk of an nbdkit that survives; CRASH_SEED
# chooses the moments.

# shellcheck source=tests/mount/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_fuse
requires nbdkit
crash=$build/tests/mount/mount-crash
[ -x "$crash" ] || skip "$crash was not built"

points=${CRASH_POINTS:-40}
RANDOM=${CRASH_SEED:-1}
directory=$work/mount
options=("commit=1" "commit=5" "commit=1,cache=1M" "commit=3600" "threads=2" "noatime")

# A moment in seconds, from 1 ms to 2 s, early ones as likely as late ones.
choose_moment() {
    awk -v dice="$RANDOM" 'BEGIN { printf "%.4f", 0.001 * exp(log(2000) * dice / 32768) }'
}

# The daemon of $directory, now.
kill_daemon() {
    local pid
    pid=$(daemon_of "$directory")
    [ -n "$pid" ] || fail "there is no daemon of $directory"
    kill -9 "$pid"
    wait_for 60 daemon_is_gone || fail "the killed daemon is still there"
}

daemon_is_gone() {
    [ -z "$(daemon_of "$directory")" ]
}

remove_dead_mount() {
    umount "$directory" 2>/dev/null || umount -l "$directory" 2>/dev/null || :
}

check_volume() {
    "$fsck_program" -n "$1" >"$work/fsck.log" 2>&1 ||
        fail "point $point: fsck.casefs ended with $?: $(tail -n 5 "$work/fsck.log")"
}

# The writers end by themselves when the mount dies.
die_under_load() {
    local moment=$1 writers
    "$crash" run --seed $((RANDOM + point)) "${ordered[@]}" "$record" "$directory" &
    writers=$!
    sleep "$moment"
    kill_daemon
    wait "$writers" || fail "point $point, after $moment s: the writers ended with $?"
}

# The load ends first, and the daemon dies while it is being unmounted.
die_while_unmounting() {
    "$crash" run --seconds 1 --seed $((RANDOM + point)) "${ordered[@]}" "$record" "$directory" ||
        fail "point $point: the writers ended with $?"
    local pid
    pid=$(daemon_of "$directory")
    umount "$directory" &
    sleep "$(awk -v dice="$RANDOM" 'BEGIN { printf "%.4f", 0.2 * dice / 32768 }')"
    kill -9 "$pid" 2>/dev/null || : # it may have been quicker
    wait $! || :
    wait_for 60 daemon_is_gone || fail "the killed daemon is still there"
}

# run_points COUNT DEVICE
run_points() {
    local device=$2
    record=$work/record.$((++records))
    ordered=()
    for point in $(seq "$1"); do
        mount_volume "$device" "$directory" "${options[RANDOM % ${#options[@]}]}"
        "$crash" verify "$record" "$directory" >"$work/verified" || fail "before point $point"
        ordered=()
        [ $((RANDOM % 2)) = 0 ] || ordered=(--ordered)
        if [ $((RANDOM % 10)) = 0 ]; then
            die_while_unmounting
        else
            die_under_load "$(choose_moment)"
        fi
        remove_dead_mount
        check_volume "$device"
    done
    mount_volume "$device" "$directory"
    "$crash" verify "$record" "$directory" >"$work/verified" || fail "after the last point"
    unmount "$directory"
    echo "$1 points, $(sed 's/^crash: //' "$work/verified")"
}

records=0
make_volume "$work/volume" 1G --case=insensitive
run_points "$points" "$work/volume"
rm "$work/volume"

start_server disk "$plugin" 1G
"$mkfs_program" -q --case=insensitive "$uri"
run_points $(((points + 9) / 10)) "$uri"
