#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What files hold, against models: alone, by many threads, with remounts, small caches, without the
# kernel's writeback cache, and over a disk on a socket.
#
#     DATA_OPERATIONS=500000 DATA_SEED=7 tests/mount/data.sh
#
# DATA_OPERATIONS is for each of four processes, on each of the mounts.

# shellcheck source=tests/mount/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_fuse
requires nbdkit
data=$build/tests/mount/mount-data
load=$build/tests/mount/mount-load
[ -x "$data" ] || skip "$data was not built"

operations=${DATA_OPERATIONS:-6000}
seed=${DATA_SEED:-1}

# Called by mount-data between rounds.
cat >"$work/remount" <<END
#!/bin/bash
. "$top/tests/mount/functions.sh" || exit 1
unmount "\$2" && mount_volume "\$1" "\$2" "\$3"
END
chmod +x "$work/remount"

# run_on DEVICE OPTION,...
run_on() {
    local device=$1 options=$2
    mount_volume "$device" "$work/mount" "$options"
    "$data" --operations "$operations" --seed "$seed" \
        --remount "$work/remount '$device' $work/mount '$options'" "$work/mount" ||
        fail "with the options '$options'"
    [ ! -x "$load" ] || "$load" --seed "$seed" --operations 100 "$work/mount" ||
        fail "the load, with the options '$options'"
    unmount "$work/mount"
    "$fsck_program" -n "$device" || fail "fsck.casefs ended with $?"
    seed=$((seed + 1))
}

make_volume "$work/volume" 1G
run_on "$work/volume" commit=5
run_on "$work/volume" nowriteback
run_on "$work/volume" cache=1M,commit=1,threads=2
rm "$work/volume"

start_server disk "$plugin" 2G
"$mkfs_program" -q --case=insensitive "$uri"
run_on "$uri" commit=1
