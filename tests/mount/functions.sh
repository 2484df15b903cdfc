# SPDX-License-Identifier: BSD-3-Clause
# Shell functions of the tests of mount.casefs; source this file first.
#
# Gives all of tests/functions.sh, the programs below, and functions that mount; what is mounted
# under $work is unmounted at the end.

# shellcheck source=tests/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"

mount_program=$build/tools/mount/mount.casefs
mkfs_program=$build/tools/mkfs.casefs
fsck_program=$build/tools/fsck.casefs
casefs_program=$build/tools/casefs/casefs

# Where a test cannot mount it is skipped: without /dev/fuse, or as another user than root.
requires_fuse() {
    [ -c /dev/fuse ] || skip "there is no /dev/fuse"
    [ "$EUID" -eq 0 ] || skip "mounting needs root here"
}

# make_volume FILE SIZE [MKFS OPTION...]
make_volume() {
    local file=$1 size=$2
    shift 2
    "$mkfs_program" -q --size="$size" "$@" "$file"
}

# mount_volume DEVICE DIRECTORY [OPTION,...]: in the background, ready on return.
mount_volume() {
    mkdir -p "$2"
    "$mount_program" "$1" "$2" ${3:+-o "$3"}
}

# make_ext4 DIRECTORY SIZE: an ext4 of its own, mounted there.
make_ext4() {
    mkdir -p "$1"
    truncate -s "$2" "$1.ext4"
    mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$1.ext4"
    mount -o loop,acl,user_xattr "$1.ext4" "$1"
}

# unmount DIRECTORY: and wait until its daemon has ended.
unmount() {
    local pid
    pid=$(daemon_of "$1")
    umount "$1"
    [ -z "$pid" ] || for _ in $(seq 600); do
        # One that has ended and was not waited for has no command line any more.
        grep -q . "/proc/$pid/cmdline" 2>/dev/null || return 0
        sleep 0.05
    done
    [ -z "$pid" ] || fail "the daemon of $1 did not end"
}

# The process that serves a mount, or nothing.
daemon_of() {
    pgrep -f -- "^[^ ]*mount\.casefs .*[^ ]* $1( |\$)" | head -n 1 || :
}

unmount_all() {
    local directory
    awk -v work="$work" 'index($2, work) == 1 { print $2 }' /proc/mounts | sort -r |
        while read -r directory; do
            umount "$directory" 2>/dev/null || umount -l "$directory" || :
        done
}

at_exit() {
    unmount_all
}
