#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# POSIX access control lists through a mount, beside ext4: the same commands leave the same lists and
# modes, and let the same users in.
#
# ACL_OPERATIONS random commands (400) from ACL_SEED on.

# shellcheck source=tests/mount/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_fuse
requires setfacl getfacl setpriv mkfs.ext4

operations=${ACL_OPERATIONS-400}
seed=${ACL_SEED-$RANDOM}
places=(ext4 casefs)

main() {
    cd "$work"
    chmod 711 . # for other users
    make_ext4 "$work/ext4" 64M
    make_volume casefs.volume 64M
    mount_volume "$work/casefs.volume" "$work/casefs" allow_other
    rmdir ext4/lost+found
    by_hand
    at_random
    # And so they stay.
    unmount "$work/casefs"
    mount_volume "$work/casefs.volume" "$work/casefs" allow_other
    compare "a remount"
    unmount "$work/casefs"
    "$fsck_program" -n casefs.volume >fsck.log || fail "after all: $(cat fsck.log)"
    echo "$done commands left the same lists and modes as on ext4, and let the same users in"
}

# What there is: every list and mode.
state() {
    find . ! -type l | LC_ALL=C sort | getfacl -n -p - 2>&1
    find . -printf '%P %y %m %U %G\n' | LC_ALL=C sort
}

compare() { # WHAT
    local place
    for place in "${places[@]}"; do
        (cd "$place" && state >"../$place.state")
    done
    diff ext4.state casefs.state >state.diff ||
        fail "after $1 lists and modes should be those of ext4 (seed $seed): $(head -20 state.diff)"
}

# both COMMAND...: in both places, with the same output and status.
done=0
both() {
    local place
    for place in "${places[@]}"; do
        (cd "$place" && "$@") >"$place.out" 2>&1 && echo ok >>"$place.out" || echo "failed" >>"$place.out"
    done
    cmp -s ext4.out casefs.out ||
        fail "'$*' should say as on ext4 (seed $seed): '$(cat ext4.out)', not '$(cat casefs.out)'"
    done=$((done + 1))
}

as() { # UID GID[,GROUP...] COMMAND...
    local uid=$1 groups=$2
    shift 2
    setpriv --reuid "$uid" --regid "${groups%%,*}" --groups "$groups" "$@"
}

with_umask() { # UMASK COMMAND...
    umask "$1"
    shift
    "$@"
}

by_hand() {
    local kind
    both touch file
    both mkdir directory
    both mkfifo fifo
    both mknod device c 1 3
    both ln -s file link
    for kind in file directory fifo device; do
        both setfacl -m u:1001:rw,g:1002:r,m::rw $kind
        both getfacl -n $kind
        both chmod 640 $kind
        both getfacl -n $kind
        both setfacl -b $kind
        both stat -c %a $kind
        both setfacl -m u:1001:r $kind
    done
    both setfacl -d -m u:1001:rwx,g:1002:rx file
    both setfacl -d -m u:1001:rwx,g:1002:rx,o::- directory
    both with_umask 077 mkdir directory/inner
    both with_umask 077 touch directory/inner/file
    both with_umask 022 mkfifo directory/inner/fifo
    both with_umask 022 mknod -m 666 directory/inner/device c 1 3
    both ln -s x directory/inner/link
    both cp -a directory copy
    compare "commands by hand"
    both chmod 600 file
    both setfacl -m u:1001:r,g:1002:rw,m::rw file
    local user
    for user in "1001 1001" "1003 1002" "1003 1003" "1003 1003,1002"; do
        # shellcheck disable=SC2086
        both as $user cat file
        # shellcheck disable=SC2086
        both as $user sh -c ': >>file'
        # shellcheck disable=SC2086
        both as $user ls directory
    done
    both as 1003 1003 setfacl -m u:1003:rw file
    both chown 1001:1002 file
    both chmod 2770 file
    both as 1001 1001 setfacl -m u:5:r file
    both stat -c %a file
    compare "what users did"
}

pick() {
    local -n result=$1
    shift
    local i=$((RANDOM % $# + 1))
    # shellcheck disable=SC2034
    result=${!i}
}

random_entries() {
    local count=$((RANDOM % 3 + 1)) who rights
    entries=
    while [ $count -gt 0 ]; do
        pick who u: g: o: m: u:1001: u:1002: g:1001: g:1003:
        pick rights rwx rw r-x r-- -w- --x ---
        entries+=${entries:+,}$who$rights
        count=$((count - 1))
    done
}

at_random() {
    local i entries path mask made=0 mode paths=(.)
    RANDOM=$seed
    for ((i = 0; i < operations; i++)); do
        pick path "${paths[@]}"
        pick mask 000 022 077 027 777
        pick mode 000 600 640 755 777 1777 2775 4711
        random_entries
        case $((RANDOM % 10)) in
        0 | 1 | 2) both setfacl -m "$entries" "$path" ;;
        3 | 4) both setfacl -d -m "$entries" "$path" ;;
        5) both setfacl -b "$path" ;;
        6) both setfacl -k "$path" ;;
        7) both chmod "$mode" "$path" ;;
        *)
            made=$((made + 1))
            [ -d "ext4/$path" ] || path=.
            case $((RANDOM % 4)) in
            0 | 1)
                both with_umask "$mask" mkdir "$path/$made"
                paths+=("$path/$made")
                ;;
            2)
                both with_umask "$mask" touch "$path/$made"
                paths+=("$path/$made")
                ;;
            3) both with_umask "$mask" mkfifo "$path/$made" ;;
            esac
            ;;
        esac
        if [ $((i % 50)) -eq 49 ]; then
            compare "$((i + 1)) random commands"
        fi
    done
    compare "all random commands"
}

main "$@"
