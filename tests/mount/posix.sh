#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The mount beside ext4: the same operations on both, call by call, as root and as other users;
# then the mount of somebody who is not root, through fusermount3.
#
#   posix.sh [all|root|variants|user]
#
# POSIX_OPERATIONS is the number of random operations (100,000), POSIX_SEED their seed.

# shellcheck source=tests/mount/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_fuse
requires mkfs.ext4 setpriv setfattr getfattr

compare=$build/tests/mount/posix-compare
operations=${POSIX_OPERATIONS:-100000}
seed=${POSIX_SEED:-1}
nobody=65534

main() {
    case ${1:-all} in
    all)
        compare_as_root
        compare_variants
        mount_as_user
        ;;
    root) compare_as_root ;;
    variants) compare_variants ;;
    user) mount_as_user ;;
    *) fail "what is '$1'?" ;;
    esac
}

# ------------------------------------------------------------------- beside ext4

compare_as_root() {
    compare sensitive "" --operations "$operations"
}

# Other ways to mount, with random operations only.  Where names have no case those of the random
# operations, which are all in lower case, must find the same.
compare_variants() {
    local some=$((operations / 5))
    compare insensitive "" --only random --operations "$some"
    compare sensitive nowriteback --only random --operations "$some"
    compare sensitive streams=samba,ea=user,cache=4M,threads=1 --only random --operations "$some"
}

# compare CASE MOUNT-OPTIONS [ARGUMENT...]
compare() {
    local case=$1 options=dev,suid,allow_other${2:+,$2} status=0
    shift 2
    make_reference
    make_volume "$work/volume" 2G --case="$case"
    mount_volume "$work/volume" "$work/subject" "$options"
    write_remount "$options"
    "$compare" "$work/reference" "$work/subject" --seed "$seed" --remount "$work/remount" "$@" ||
        status=$?
    [ -z "$(ls -A "$work/subject")" ] || [ "$status" -ne 0 ] ||
        fail "something is left in the mount: $(ls -A "$work/subject")"
    unmount "$work/subject"
    umount "$work/reference"
    is_clean "$work/volume"
    rm "$work/volume" "$work/reference.ext4"
    [ "$status" -eq 0 ] || fail "the mount ($case, $options) differs from ext4 as it should not"
}

# The script $work/remount, which does so with the subject; what is in it must be the same after.
write_remount() {
    cat >"$work/remount" <<END
#!/usr/bin/env bash
umount "$work/subject" || exit
for _ in {1..600}; do # until the daemon of before has let go of the volume
    "$mount_program" "$work/volume" "$work/subject" -o "$1" 2>"$work/remount.log" && exit
    sleep 0.05
done
cat "$work/remount.log" >&2
exit 1
END
    chmod +x "$work/remount"
}

# An ext4 that takes large attributes, as casefs does.
make_reference() {
    mkdir -p "$work/reference"
    truncate -s 2G "$work/reference.ext4"
    mkfs.ext4 -q -O ea_inode -E lazy_itable_init=0,lazy_journal_init=0 "$work/reference.ext4"
    mount -o loop,acl,user_xattr "$work/reference.ext4" "$work/reference"
}

is_clean() {
    "$fsck_program" -n "$1" >"$work/fsck.log" 2>&1 || fail "fsck.casefs -n found: $(cat "$work/fsck.log")"
}

# ---------------------------------------------------------------------- as a user

# as_user COMMAND...: without any right of root's.
as_user() {
    setpriv --reuid "$nobody" --regid "$nobody" --clear-groups --bounding-set -all --no-new-privs \
        --reset-env "$@"
}

# fusermount3 is setuid: for it privileges must be allowed to grow.
mount_as() {
    setpriv --reuid "$nobody" --regid "$nobody" --clear-groups --reset-env "$@"
}

device_mode=

at_exit() {
    [ -z "$device_mode" ] || chmod "$device_mode" /dev/fuse
    unmount_all
}

mount_as_user() {
    command -v fusermount3 >/dev/null || skip "fusermount3 is not installed"
    [ -u "$(command -v fusermount3)" ] || skip "fusermount3 is not setuid root"
    device_mode=$(stat -c %a /dev/fuse)
    chmod 666 /dev/fuse
    chmod 755 "$work"
    install -d -o "$nobody" -g "$nobody" "$work/own" "$work/own/mount"
    mount_as "$mkfs_program" -q --size=64M --case=insensitive "$work/own/volume"

    mount_as "$mount_program" "$work/own/volume" "$work/own/mount" ||
        fail "a user cannot mount: status $?"
    grep -q "$work/own/mount fuse.casefs .*user_id=$nobody" /proc/mounts ||
        fail "the mount is not that user's: $(grep "$work/own/mount" /proc/mounts)"
    works_for_user "$work/own/mount"
    is_closed_to_others "$work/own/mount"
    has_no_devices "$work/own/mount"
    unmount_as_user "$work/own/mount"
    is_clean "$work/own/volume"

    mount_as "$mount_program" -o ro "$work/own/volume" "$work/own/mount" || fail "mounting with ro failed"
    is_read_only "$work/own/mount"
    unmount_as_user "$work/own/mount"
    refuses_strange_places
    chmod "$device_mode" /dev/fuse
    device_mode=
}

unmount_as_user() {
    local pid
    pid=$(daemon_of "$1")
    mount_as fusermount3 -u "$1" || fail "fusermount3 -u failed"
    [ -z "$pid" ] || wait_for 10 daemon_has_ended "$pid" || fail "the daemon did not end after fusermount3 -u"
}

daemon_has_ended() {
    ! kill -0 "$1" 2>/dev/null
}

# user SCRIPT: in the mount, as that user
user() {
    as_user bash -c "set -e; cd $mount; $1"
}

# gives SCRIPT EXPECTED
gives() {
    local got
    got=$(user "$1" 2>&1) || fail "as a user, '$1' failed: $got"
    [ "$got" = "$2" ] || fail "as a user, '$1' gave '$got', not '$2'"
}

# refused SCRIPT MESSAGE
refused() {
    local got
    ! got=$(user "$1" 2>&1) || fail "as a user, '$1' was not refused"
    [[ $got == *"$2"* ]] || fail "as a user, '$1' said '$got', not '$2'"
}

works_for_user() {
    local mount=$1
    gives "echo text >File; cat FILE; stat -c '%u %g %a' file" $'text\n65534 65534 644'
    gives "mkdir -p Dir/Sub; mv file dir/sub/Moved; ls DIR/SUB; cat dir/Sub/MOVED" $'Moved\ntext'
    gives "ln dir/sub/moved Second; stat -c %h second; ln -s dir/sub/moved Link; cat link" $'2\ntext'
    gives "chmod 600 second; umask 077; mkdir private; stat -c %a second PRIVATE" $'600\n700'
    gives "setfattr -n user.stream -v value second; getfattr --only-values -n user.stream Second" value
    gives "mkfifo Pipe; stat -c %F pipe; rm PIPE; ls -A | sort" $'fifo\nDir\nLink\nSecond\nprivate'
    gives "dd if=/dev/urandom of=big bs=1M count=8 status=none; cp BIG copy; cmp Big Copy; stat -c %s copy" 8388608
    gives "touch -d 2001-02-03T04:05:06Z big; TZ=UTC stat -c %y Big" "2001-02-03 04:05:06.000000000 +0000"
    gives "exec 3<>gone; rm GONE; echo kept >&3; cat /proc/self/fd/3; stat -L -c %h /proc/self/fd/3" $'kept\n0'
    gives "truncate -s 3 big; stat -c %s BIG; sync -f big; rm big copy; rm -r private" 3
    refused "chown 0 second" "Operation not permitted"
    refused "chmod 0 second; cat second" "Permission denied"
    gives "chmod 644 second; cat second" text
    refused "mknod device c 1 3" "Operation not permitted"
    refused "cat none" "No such file or directory"
    refused "mkdir DIR" "File exists"
    refused "rmdir dir" "Directory not empty"
}

is_closed_to_others() {
    ! ls "$1" >/dev/null 2>&1 || fail "without allow_other root looks into the mount of a user"
    ! setpriv --reuid 1 --regid 1 --clear-groups ls "$1" >/dev/null 2>&1 ||
        fail "without allow_other another user looks into the mount"
}

# Whoever mounts as a user can give himself neither devices nor setuid programs.
has_no_devices() {
    local options
    options=$(awk -v place="$1" '$2 == place { print $4 }' /proc/mounts)
    [[ ,$options, == *,nosuid,* && ,$options, == *,nodev,* ]] ||
        fail "a user's mount lacks nosuid or nodev: $options"
}

is_read_only() {
    local mount=$1
    gives "cat dir/sub/MOVED" text
    refused "touch new" "Read-only file system"
    refused "rm second" "Read-only file system"
}

# As for all of FUSE: only on directories that one may write to.
refuses_strange_places() {
    mkdir "$work/foreign"
    ! mount_as "$mount_program" "$work/own/volume" "$work/foreign" >"$work/foreign.log" 2>&1 ||
        fail "a user mounted over a directory of root's"
    [ -s "$work/foreign.log" ] || fail "refusing to mount over root's directory said nothing"
}

main "$@"
echo "PASS"
