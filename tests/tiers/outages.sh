#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Under load the store below fails, fills up or stops answering, and is well again a while later.
# Requests may fail meanwhile; then a flush succeeds, and nothing that was acknowledged is missing,
# also when the server is killed after the flush.
#
#     TIERS_POINTS=200 tests/tiers/outages.sh [CASE...]
#
# TIERS_POINTS is for all cases together.

# shellcheck source=tests/tiers/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_tiers

points=${TIERS_POINTS:-18}
size=64
limit=8
image=$work/image
faults=$work/faults
small=$work/small

cases=(eio enospc flush all filter stopped gone full)
[ $# -eq 0 ] || cases=("$@")
each=$(((points + ${#cases[@]} - 1) / ${#cases[@]}))
options=(--size "$size" --rounds "$each" --seconds 0.6 --end fault,fault,kill --patience 60 --grace 20)

at_exit() {
    ! mountpoint -q "$small" || umount -l "$small"
}

fresh_image() {
    rm -f "$image" "$faults"
    truncate -s "${size}M" "$image"
}

image_below() {
    served server "$plugin" "${size}M" image="$(uri_of below)" memory-limit="${limit}M" "$@"
}

# volatile_fails TITLE WORDS
volatile_fails() {
    stress "$1" "$limit" "${options[@]}" --outage 0.6 \
        --fault "echo $2 >$faults.new && mv $faults.new $faults" --heal "rm -f $faults" \
        --below "$(served_plainly below "$volatile" "$image" faults="$faults")" --below-socket "$work/below.sock" \
        --server "$(image_below "${@:3}")"
}

# The file system of the image, or of the spill, has no room: something else took it.
fill_disk="head -c 1G /dev/zero >$small/ballast 2>/dev/null || :"
free_disk="rm -f $small/ballast"

mount_small() {
    mkdir -p "$small"
    mount -t tmpfs -o "size=$1" none "$small" 2>/dev/null || return 1
}

run_case() {
    fresh_image
    case $1 in
        eio) volatile_fails "writes fail" "EIO write" ;;
        enospc) volatile_fails "writes find no space" "ENOSPC write" compress=lz4 ;;
        flush) volatile_fails "flushes fail" "EIO flush" thread-model=parallel ;;
        all) volatile_fails "all requests fail" "EIO read write zero flush" thread-model=parallel ;;
        filter)
            stress "nbdkit's error filter" "$limit" "${options[@]}" --raw "$image" --outage 0.6 \
                --fault "touch $faults" --heal "rm -f $faults" --below-socket "$work/below.sock" \
                --below "$(served_plainly below --filter=error file "$image" error=EIO error-rate=30% \
                    error-file="$faults")" --server "$(image_below)"
            ;;
        stopped)
            stress "the server below stops answering" "$limit" "${options[@]}" --raw "$image" --outage 3 \
                --fault "kill -STOP \$(cat $work/below.pid)" --heal "kill -CONT \$(cat $work/below.pid)" \
                --below "$(served_file below "$image" -P "$work/below.pid")" \
                --below-socket "$work/below.sock" --server "$(image_below thread-model=parallel)"
            ;;
        gone)
            # Longer than anybody goes on trying, so that requests fail.
            stress "the server below is gone for long" "$limit" --size "$size" --rounds $(((each + 5) / 6)) --seconds 0.6 \
                --end below --outage 16 --patience 60 --grace 20 \
                --below "$(served_plainly below "$volatile" "$image")" --below-socket "$work/below.sock" \
                --server "$(image_below)"
            ;;
        full)
            mount_small 80M || return 0
            stress "the image's file system is full" "$limit" "${options[@]}" --outage 0.6 \
                --fault "$fill_disk" --heal "$free_disk" --raw "$small/image" \
                --server "$(served server "$plugin" "${size}M" image="$small/image" memory-limit="${limit}M")"
            umount "$small"
            ;;
        *) fail "there is no case '$1'; the cases are ${cases[*]}" ;;
    esac
}

for case in "${cases[@]}"; do
    run_case "$case"
done
