#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Random requests of all kinds over many connections, with memory for 5 to 20 % of the data, and all
# that is read compared with what was written.
#
#     TIERS_SECONDS=3600 tests/tiers/model.sh [CASE...]
#
# TIERS_SECONDS is for all cases together.  TIERS_VERBS is a regular expression: only
# those verbs of the control socket are used that match it.

# shellcheck source=tests/tiers/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_tiers

seconds=${TIERS_SECONDS:-40}
image=$work/image
base=$work/base
control=control=$work/control
spill=$work/spill
mkdir "$spill"

cases=(spill spill-lz4 image image-zstd base-spill base-image nbd volumes compressed)
[ $# -eq 0 ] || cases=("$@")
# Rounds of at most 4 s; a round's checks take a while too.
each=$((seconds / ${#cases[@]} + 1))
rounds=$(((each + 3) / 4))
options=(--rounds "$rounds" --seconds "$(awk -v each="$each" -v rounds="$rounds" 'BEGIN {print each / rounds}')")

verbs_of() {
    choose_verbs "$1"
    options_now=("${options[@]}" "${verbs[@]}")
}

run_case() {
    local size=256 limit=24
    verbs_of default
    case $1 in
        spill)
            stress "spill" "$limit" "${options_now[@]}" --size "$size" --threads 8 \
                --server "$(served server "$plugin" "${size}M" spill="$spill" memory-limit="${limit}M" "$control")"
            ;;
        spill-lz4)
            stress "spill and lz4, requests at the same time" "$limit" "${options_now[@]}" --size "$size" --threads 6 \
                --server "$(served server "$plugin" "${size}M" spill="$spill" memory-limit="${limit}M" "$control" \
                    compress=lz4 thread-model=parallel)"
            ;;
        image)
            truncate -s "${size}M" "$image"
            stress "image, requests at the same time" "$limit" "${options_now[@]}" --size "$size" --end quiet,restart \
                --raw "$image" --server "$(served server "$plugin" "${size}M" image="$image" memory-limit="${limit}M" \
                    "$control" thread-model=parallel)"
            ;;
        image-zstd)
            rm -f "$image"
            stress "image and zstd" "$limit" "${options_now[@]}" --size "$size" --end quiet,restart --raw "$image" \
                --server "$(served server "$plugin" "${size}M" image="$image" memory-limit="${limit}M" "$control" \
                    compress=zstd)"
            ;;
        base-spill)
            "$stress_program" --make-base "$base" --size "$size" --seed "$seed"
            stress "spill over a base" "$limit" "${options_now[@]}" --size "$size" --base \
                --server "$(served server "$plugin" "${size}M" base="$base" spill="$spill" memory-limit="${limit}M" \
                    "$control" compress=lz4)"
            ;;
        base-image)
            "$stress_program" --make-base "$base" --size "$size" --seed "$seed"
            rm -f "$image"
            stress "image over a base, requests at the same time" "$limit" "${options_now[@]}" --size "$size" --base \
                --end quiet,restart --server "$(served server "$plugin" "${size}M" base="$base" image="$image" \
                    memory-limit="${limit}M" "$control" thread-model=parallel)"
            ;;
        nbd)
            rm -f "$image"
            truncate -s "${size}M" "$image"
            stress "image over NBD, and lz4" "$limit" "${options_now[@]}" --size "$size" --end quiet,restart \
                --raw "$image" --below "$(served_file below "$image")" --below-socket "$work/below.sock" \
                --server "$(served server "$plugin" "${size}M" image="$(uri_of below)" memory-limit="${limit}M" \
                    "$control" compress=lz4)"
            ;;
        volumes)
            verbs_of one
            stress "three volumes, spill and lz4" "$limit" "${options_now[@]}" --size 96 --threads 4 \
                --export one --export two --export three \
                --server "$(served server "$plugin" volume=one:96M priority=8 volume=two:96M volume=three:96M \
                    priority=1 spill="$spill" memory-limit="${limit}M" "$control" compress=lz4)"
            ;;
        compressed)
            # Nothing below: what does not fit is refused, and nothing of it is written.
            stress "zstd alone" 128 "${options_now[@]}" --size "$size" --no-space \
                --server "$(served server "$plugin" "${size}M" memory-limit=128M "$control" compress=zstd)"
            ;;
        *) fail "there is no case '$1'; the cases are ${cases[*]}" ;;
    esac
}

for case in "${cases[@]}"; do
    run_case "$case"
done
