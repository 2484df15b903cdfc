#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The server is killed at random moments under load: what was flushed is there afterwards, anything
# else is as it was at some moment since.  Below it are a file, an NBD server that lives, and one
# that dies too, with all that was not flushed to it.
#
#     TIERS_POINTS=1000 tests/tiers/crash.sh [CASE...]
#
# TIERS_POINTS is for all cases together.

# shellcheck source=tests/tiers/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_tiers

points=${TIERS_POINTS:-60}
size=64
limit=8
image=$work/image
base=$work/base

cases=(file file-parallel nbd volatile-kill volatile-both volatile-below below qemu base two)
[ $# -eq 0 ] || cases=("$@")
each=$(((points + ${#cases[@]} - 1) / ${#cases[@]}))
options=(--size "$size" --rounds "$each" --seconds 0.6 --outage 0.6)

fresh_image() {
    rm -f "$image" "$image".*
    truncate -s "${size}M" "$image"
}

image_here() {
    served server "$plugin" "${size}M" image="$image" memory-limit="${limit}M" "$@"
}

image_below() {
    served server "$plugin" "${size}M" image="$(uri_of below)" memory-limit="${limit}M" "$@"
}

below() {
    below=(--below "$1" --below-socket "$work/below.sock")
}

run_case() {
    fresh_image
    case $1 in
        file)
            stress "image in a file" "$limit" "${options[@]}" --end kill --raw "$image" --server "$(image_here)"
            ;;
        file-parallel)
            stress "image in a file, requests at the same time" "$limit" "${options[@]}" --end kill,kill,kill,restart \
                --raw "$image" --server "$(image_here compress=lz4 thread-model=parallel)"
            ;;
        nbd)
            below "$(served_file below "$image")"
            stress "image over NBD" "$limit" "${options[@]}" --end kill --raw "$image" "${below[@]}" --server "$(image_below)"
            ;;
        volatile-kill)
            below "$(served_plainly below "$volatile" "$image")"
            stress "image on a disk with a cache" "$limit" "${options[@]}" --end kill "${below[@]}" \
                --server "$(image_below thread-model=parallel)"
            ;;
        volatile-both)
            below "$(served_plainly below "$volatile" "$image")"
            stress "image on a disk with a cache, both die" "$limit" "${options[@]}" --end both --raw "$image" \
                "${below[@]}" --server "$(image_below)"
            ;;
        volatile-below)
            below "$(served_plainly below "$volatile" "$image")"
            stress "image on a disk with a cache, which dies and comes back" "$limit" "${options[@]}" --end below \
                --raw "$image" "${below[@]}" --server "$(image_below compress=zstd)"
            ;;
        below)
            below "$(served_file below "$image")"
            stress "image over NBD, whose server dies and comes back" "$limit" "${options[@]}" --end below \
                --raw "$image" "${below[@]}" --server "$(image_below thread-model=parallel)"
            ;;
        qemu)
            command -v qemu-nbd >/dev/null || return 0
            below "qemu-nbd -k $work/below.sock -f raw -e 16 -t --discard=unmap --cache=writeback $image"
            stress "image over qemu-nbd" "$limit" "${options[@]}" --end kill,below --raw "$image" "${below[@]}" \
                --server "$(image_below)"
            ;;
        base)
            rm "$image"
            "$stress_program" --make-base "$base" --size "$size" --seed "$seed"
            stress "image over a base" "$limit" "${options[@]}" --end kill,kill,restart --base \
                --server "$(image_here base="$base" compress=lz4)"
            ;;
        two)
            truncate -s "${size}M" "$image.2"
            stress "two volumes" "$limit" "${options[@]}" --export one --export two --end kill,kill,restart --server \
                "$(served server "$plugin" volume=one:"${size}"M image="$image" volume=two:"${size}"M image="$image.2" \
                    memory-limit="${limit}M" compress=lz4)"
            ;;
        *) fail "there is no case '$1'; the cases are ${cases[*]}" ;;
    esac
}

for case in "${cases[@]}"; do
    run_case "$case"
done
