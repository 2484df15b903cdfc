#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Long use in little time: the daemon's memory stays flat, and no space or node gets lost.
#
#     SOAK_OPERATIONS=2000000 SOAK_CYCLES=20 tests/mount/soak.sh

# shellcheck source=tests/mount/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_fuse
soak=$build/tests/mount/mount-soak
[ -x "$soak" ] || skip "$soak was not built"

options=()
! grep -q -e __asan_init -e __tsan_init "$mount_program" || options=(--unbounded)

make_volume "$work/volume" 2G --case=insensitive
mount_volume "$work/volume" "$work/mount" cache=16M
"$soak" --operations "${SOAK_OPERATIONS:-200000}" --cycles "${SOAK_CYCLES:-5}" "${options[@]}" \
    --daemon "$(daemon_of "$work/mount")" "$work/mount"
unmount "$work/mount"
"$fsck_program" -n "$work/volume" || fail "fsck.casefs ended with $?"
