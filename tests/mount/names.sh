#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Names without case: step by step under all spellings, and by many processes and threads at once.
#
#     RACES_SECONDS=120 RACES_SEED=7 tests/mount/names.sh

# shellcheck source=tests/mount/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_fuse
names=$build/tests/mount/mount-names
races=$build/tests/mount/mount-races
[ -x "$names" ] || skip "$names was not built"

seconds=${RACES_SECONDS:-6}
seed=${RACES_SEED:-1}

make_volume "$work/volume" 512M --case=insensitive
mount_volume "$work/volume" "$work/mount"
"$names" "$work/mount" || fail "the spellings do not agree"
for shape in "4 8" "16 1" "1 32" "2 150"; do
    read -r processes threads <<<"$shape"
    "$races" --processes "$processes" --threads "$threads" --seconds "$seconds" --seed "$seed" \
        "$work/mount" || fail "with $processes processes of $threads threads"
    seed=$((seed + 1))
done
# All in one place, and spelled one way: what is found then has nothing to do with case.
"$races" --one-spelling --seconds "$seconds" --seed "$seed" "$work/mount" || fail "with one spelling"
unmount "$work/mount"
"$fsck_program" -n "$work/volume" || fail "fsck.casefs ended with $?"
