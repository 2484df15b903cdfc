#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The command line of mount.casefs: each option does what mount.casefs(8) says, each misuse is told
# in one sentence with the exit status that mount(8) expects of its helpers; and mount(8), fstab,
# umount, fusermount3 and signals work with it.
# Arguments: the tests to run, if not all.

# In mounts of its own: /sbin/mount.casefs and a /dev/fuse for users are made in view of this test only.
if [ -z "${OPTIONS_TEST_MOUNTS-}" ] && unshare --mount --propagation private true 2>/dev/null; then
    OPTIONS_TEST_MOUNTS=own exec unshare --mount --propagation private "$0" "$@"
fi

# shellcheck source=tests/mount/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_fuse
PATH=$PATH:/usr/sbin:/sbin
requires getfattr setfattr setpriv "$python" mkfs.ext4
[ -n "${OPTIONS_TEST_MOUNTS-}" ] || skip "a mount namespace cannot be made here"

device=$work/volume.casefs
here=$work/here
user=65534
syslog_pid=

at_exit() {
    stop_syslog
    unmount_all
}

main() {
    umask 022
    forget_others
    cd "$work"
    chmod 711 .
    mkdir "$here" full overlay second third
    make_volume "$device" 64M
    truncate -s 16M zeros ext4.image
    local name tests=("$@")
    [ $# -gt 0 ] || tests=(
        help_and_version
        misuse_is_refused
        devices_are_refused
        places_are_refused
        volumes_in_use
        read_only
        in_proc_mounts
        owners_and_masks
        access_times
        views_of_streams
        views_of_case
        lists_of_attributes
        numbers
        device_nodes_and_setuid
        generic_options
        checks_only
        volumes_in_memory
        volumes_behind_nbd
        foreground
        signals
        messages_in_the_background
        by_mount_and_fstab
        by_a_user
    )
    for name in "${tests[@]}"; do
        "$name"
    done
    "$fsck_program" -n "$device" >fsck.out || fail "the volume is damaged: $(cat fsck.out)"
}

# ---------------------------------------------------------------------- helpers

# What else is mounted at this time would stay in use by our copy of it.
forget_others() {
    local directory
    awk '$3 ~ /^fuse/ { print $2 }' /proc/mounts | sort -r | while read -r directory; do
        umount -l "$directory" 2>/dev/null || :
    done
}

# refuses STATUS TEXT ARGUMENT...: it must exit so, say so in one line, and mount nothing.
refuses() {
    local status=$1 text=$2 found=0
    shift 2
    timeout 30 "$mount_program" "$@" >said.out 2>said.err </dev/null || found=$?
    [ "$found" = "$status" ] || fail "mount.casefs $*: exit status $found instead of $status: $(cat said.err)"
    grep -qF -- "$text" said.err || fail "mount.casefs $*: does not say '$text' but: $(cat said.err)"
    [ "$(wc -l <said.err)" = 1 ] || fail "mount.casefs $*: says more than a sentence: $(cat said.err)"
    [ ! -s said.out ] || fail "mount.casefs $*: prints $(cat said.out)"
    ! is_mounted "$here" || fail "mount.casefs $*: mounted all the same"
}

# mounted OPTIONS [DEVICE]: mounts at $here; nothing may be said.
mounted() {
    "$mount_program" ${1:+-o "$1"} "${2-$device}" "$here" >said.out 2>&1 || fail "mount.casefs -o '$1' exited with $?: $(cat said.out)"
    [ ! -s said.out ] || fail "mount.casefs -o '$1' says: $(cat said.out)"
    is_mounted "$here" || fail "mount.casefs -o '$1' has ended, but nothing is mounted"
}

is_mounted() {
    grep -q " $1 fuse.casefs " /proc/mounts
}

is_not_mounted() {
    ! is_mounted "$1"
}

# equals WHAT EXPECTED FOUND
equals() {
    [ "$3" = "$2" ] || fail "$1: '$3' instead of '$2'"
}

# fails TEXT COMMAND...
fails() {
    local text=$1
    shift
    ! "$@" >said.out 2>&1 || fail "'$*' succeeded, though '$text' was expected"
    grep -qF -- "$text" said.out || fail "'$*' did not say '$text' but: $(cat said.out)"
}

# ----------------------------------------------------------- what is said and refused

help_and_version() {
    local option
    for option in --help -h; do
        "$mount_program" $option >said.out 2>said.err || fail "$option: exit status $?"
        grep -q '^usage: mount.casefs ' said.out || fail "$option prints $(head -n 3 said.out)"
        [ ! -s said.err ] || fail "$option says $(cat said.err)"
    done
    for option in --version -V; do
        "$mount_program" $option | grep -qE '^mount\.casefs [0-9]+\.[0-9]+\.[0-9]+$' || fail "$option prints $("$mount_program" $option)"
    done
    for option in ro allow_other allow_root dev suid relatime noatime strictatime uid= gid= umask= fmask= dmask= \
        case= streams= ea= list_system_xattrs commit= cache= threads= nodiscard nowriteback --foreground --fake; do
        "$mount_program" --help | grep -qF -- "$option" || fail "--help does not tell of $option"
    done
}

misuse_is_refused() {
    refuses 1 "a DEVICE and a DIRECTORY are needed"
    refuses 1 "a DEVICE and a DIRECTORY are needed" "$device"
    refuses 1 "a DEVICE and a DIRECTORY are needed" "$device" "$here" more
    refuses 1 "'nonsense' is not an option" -o nonsense "$device" "$here"
    refuses 1 "'nonsense' is not an option" -o ro,nonsense,noatime "$device" "$here"
    refuses 1 "'fsname=x' is not an option" -o fsname=x "$device" "$here"
    refuses 1 "invalid option -- 'Z'" -Z "$device" "$here"
    refuses 1 "unrecognized option '--nonsense'" --nonsense "$device" "$here"
    refuses 1 "requires an argument" -o
    refuses 1 "streams=: 'x' is none of xattr, colon, samba, none" -o streams=x "$device" "$here"
    refuses 1 "case=: '' is none of volume, sensitive, insensitive" -o case= "$device" "$here"
    refuses 1 "ea=: 'all' is none of none, user" -o ea=all "$device" "$here"
    refuses 1 "ea=user" -o ea=user "$device" "$here"
    refuses 1 "uid=: 'root' is not a number" -o uid=root "$device" "$here"
    refuses 1 "gid=: '-1' is not a number" -o gid=-1 "$device" "$here"
    refuses 1 "uid=: '4294967295' is not a number" -o uid=4294967295 "$device" "$here"
    refuses 1 "umask=: '8' is not an octal number" -o umask=8 "$device" "$here"
    refuses 1 "fmask=: '1000' is not an octal number" -o fmask=1000 "$device" "$here"
    refuses 1 "dmask=: '' is not an octal number" -o dmask= "$device" "$here"
    refuses 1 "commit=: '1d' is not a number" -o commit=1d "$device" "$here"
    refuses 1 "threads=: '0' is not a number from 1" -o threads=0 "$device" "$here"
    refuses 1 "cache=: 'all' is not a size" -o cache=all "$device" "$here"
    refuses 1 "cannot be remounted" -o remount,ro "$device" "$here"
}

devices_are_refused() {
    mkfs.ext4 -q -F ext4.image
    echo "some text" >text
    refuses 32 "No such file or directory" "$work/nothing" "$here"
    refuses 32 "is a directory" "$work" "$here"
    refuses 32 "is a character device" /dev/null "$here"
    refuses 32 "does not hold a casefs volume" zeros "$here"
    refuses 32 "does not hold a casefs volume" text "$here"
    refuses 32 "does not hold a casefs volume" ext4.image "$here"
    refuses 32 "cannot use the NBD server" "nbd+unix:///?socket=$work/nothing" "$here"
    refuses 32 "is not a size in memory" mem:much "$here"
    refuses 32 "is smaller than" mem:1K "$here"
    cp "$device" damaged
    dd if=/dev/urandom of=damaged bs=4096 count=64 conv=notrunc status=none
    refuses 32 "damaged" damaged "$here"
}

places_are_refused() {
    : >file
    refuses 32 "No such file or directory" "$device" "$work/nowhere"
    refuses 32 "ot a directory" "$device" "$work/file"
    refuses 32 "ot a directory" "$device" "$work/file/in"
    : >full/hidden
    "$mount_program" "$device" "$work/full" || fail "a directory with something in it was refused"
    [ ! -e full/hidden ] || fail "what is mounted over is still seen"
    unmount "$work/full"
    [ -e full/hidden ] || fail "what was mounted over is gone"
    # Relative names are those of the caller's directory.
    (cd full && "$mount_program" ../volume.casefs ../here) || fail "relative names were refused"
    equals "the device in /proc/mounts" "$device" "$(awk -v p="$here" '$2 == p { print $1 }' /proc/mounts)"
    umount "$here"
    wait_for 10 pid_is_gone
}

# No daemon of this test is left.
pid_is_gone() {
    ! pgrep -f -- "mount\.casefs .*(volume\.casefs|$work)" >/dev/null
}

volumes_in_use() {
    mounted ""
    fails "is open for writing elsewhere" "$mount_program" "$device" second
    "$mount_program" "$device" second 2>said.err || equals "the exit status for a device in use" 32 $?
    fails "" "$casefs_program" touch "$device:/file" || fail "casefs wrote to a mounted volume"
    fails "" "$fsck_program" -y "$device" || fail "fsck.casefs mended a mounted volume"
    unmount "$here"
    mounted ro
    "$mount_program" -o ro "$device" second || fail "a second read-only mount was refused"
    unmount "$work/second"
    unmount "$here"
}

# ------------------------------------------------------------------------- options

read_only() {
    mounted ""
    echo text >"$here/file"
    unmount "$here"
    cp "$device" before
    local way
    for way in "-o ro" "-r" "--read-only" "-o rw,ro" "-r -o rw" "$(printf -- '-r %.0s' {1..100})"; do
        # shellcheck disable=SC2086
        "$mount_program" $way "$device" "$here" || fail "$way was refused"
        equals "the first option in /proc/mounts with $way" ro "$(awk -v p="$here" '$2 == p { print $4 }' /proc/mounts | cut -d, -f1)"
        equals "a file read with $way" text "$(cat "$here/file")"
        fails "Read-only file system" touch "$here/new"
        fails "Read-only file system" rm -f "$here/file"
        fails "Read-only file system" chmod 777 "$here/file"
        fails "Read-only file system" setfattr -n user.x -v y "$here/file"
        unmount "$here"
    done
    cmp before "$device" || fail "a read-only mount has changed the device"
    mounted ro,rw
    touch "$here/file" || fail "-o ro,rw is read-only"
    rm "$here/file"
    unmount "$here"
    chmod 444 "$device"
    mounted ro
    unmount "$here"
    chmod 644 "$device"
}

in_proc_mounts() {
    local odd="$work/odd, one of\\them" shown
    cp "$device" "$odd"
    mounted "" "$odd"
    shown=$(awk -v p="$here" '$2 == p' /proc/mounts)
    equals "the line in /proc/mounts" \
        "$(printf '%s' "$odd" | sed 's/\\/\\134/g; s/ /\\040/g') $here fuse.casefs rw,nosuid,nodev,relatime,user_id=0,group_id=0 0 0" "$shown"
    ! command -v findmnt >/dev/null || equals "the source that findmnt tells" "$odd" "$(findmnt -n -o SOURCE "$here")"
    umount "$here"
    wait_for 10 pid_is_gone
    rm "$odd"
    mounted allow_other,noexec
    shown=$(awk -v p="$here" '$2 == p { print $4 }' /proc/mounts)
    for option in rw nosuid nodev noexec default_permissions allow_other; do
        case ,$shown, in
            *,$option,*) ;;
            *) fail "/proc/mounts has no $option: $shown" ;;
        esac
    done
    equals "the device number of the root" 1 "$(stat -c %i "$here")"
    unmount "$here"
}

owners_and_masks() {
    mounted ""
    mkdir -m 755 "$here/directory"
    install -m 664 -o 1 -g 2 /dev/null "$here/file"
    unmount "$here"
    mounted uid=1000,gid=2000
    equals "owners with uid=,gid=" "1000 2000 664" "$(stat -c '%u %g %a' "$here/file")"
    unmount "$here"
    mounted umask=027
    equals "modes with umask=" "640 750" "$(stat -c %a "$here/file" "$here/directory" | xargs)"
    unmount "$here"
    mounted fmask=177,dmask=077
    equals "modes with fmask= and dmask=" "600 700" "$(stat -c %a "$here/file" "$here/directory" | xargs)"
    unmount "$here"
    mounted gid=7
    equals "owners with gid= alone" "1 7" "$(stat -c '%u %g' "$here/file")"
    unmount "$here"
    mounted ""
    equals "what is stored" "1 2 664" "$(stat -c '%u %g %a' "$here/file")"
    rm -r "${here:?}"/*
    unmount "$here"
}

# reading OPTION ACCESSED: whether reading a file that was changed in 2020, and is not in the
# kernel's cache, sets its access time.
reading() {
    local before
    mounted "$1"
    echo text >"$here/file"
    touch -m -d '2020-01-01' "$here/file"
    touch -a -d "$2" "$here/file"
    before=$(stat -c %x "$here/file")
    unmount "$here"
    mounted "$1"
    cat "$here/file" >/dev/null
    unmount "$here"
    mounted ro
    [ "$(stat -c %x "$here/file")" = "$before" ] && reading=keeps || reading=sets
    unmount "$here"
}

access_times() {
    local later
    later=$(date -d '+1 hour' '+%Y-%m-%d %H:%M') # than all changes
    reading noatime 2019-12-31
    equals "what reading does to the access time with noatime" keeps "$reading"
    reading relatime 2019-12-31
    equals "what reading does to the access time with relatime, where it is before the change" sets "$reading"
    reading relatime "$later"
    equals "what reading does to the access time with relatime, where it is behind all changes" keeps "$reading"
    reading "" 2020-01-02
    equals "what reading does to the access time by default, where it is old" sets "$reading"
    reading strictatime "$later"
    equals "what reading does to the access time with strictatime" sets "$reading"
    mounted ""
    rm "$here/file"
    unmount "$here"
}

views_of_streams() {
    mounted ""
    echo text >"$here/file"
    setfattr -n user.Notes -v "a note" "$here/file"
    equals "a stream as an attribute" "a note" "$(getfattr --absolute-names --only-values -n user.notes "$here/file")"
    unmount "$here"
    equals "the stream of that attribute" "a note" "$("$casefs_program" stream cat "$device:/file" Notes)"
    "$casefs_program" ea set "$device:/file" Subject "an attribute"
    mounted streams=xattr
    getfattr -d "$here/file" 2>&1 | grep -q user.Notes || fail "streams=xattr: no user.Notes in $(getfattr -d "$here/file" 2>&1)"
    unmount "$here"
    mounted streams=colon,ea=user
    equals "streams=colon" "a note" "$(cat "$here/file:NOTES")"
    echo more >"$here/file:second"
    equals "ea=user" "an attribute" "$(getfattr --absolute-names --only-values -n user.subject "$here/file")"
    equals "the directory with streams=colon" file "$(ls "$here")"
    setfattr -n user.New -v value "$here/file"
    unmount "$here"
    equals "a stream made as file:stream" more "$("$casefs_program" stream cat "$device:/file" second)"
    equals "an EA made as user.New" value "$("$casefs_program" ea get "$device:/file" New)"
    mounted streams=samba,ea=user
    # shellcheck disable=SC2016
    equals "streams=samba, with a NUL behind it" "a note+" "$(getfattr --absolute-names --only-values -n 'user.DosStream.notes:$DATA' "$here/file" | tr '\0' +)"
    unmount "$here"
    mounted streams=none
    equals "streams=none" "" "$(getfattr -d "$here/file" 2>&1)"
    fails "" cat "$here/file:notes"
    rm "$here/file"
    unmount "$here"
}

views_of_case() {
    mounted ""
    echo text >"$here/ReadMe"
    mkdir "$here/nocase"
    "$python" - "$here/nocase" <<'END'
import fcntl, os, struct, sys
d = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(d, 0x40086602, struct.pack('i', 0x40000000)) # FS_IOC_SETFLAGS, FS_CASEFOLD_FL
END
    echo text >"$here/nocase/ReadMe"
    [ ! -e "$here/readme" ] && [ -e "$here/nocase/readme" ] || fail "case=volume is not what directories say"
    unmount "$here"
    mounted case=volume
    [ ! -e "$here/readme" ] && [ -e "$here/nocase/readme" ] || fail "case=volume is not what directories say"
    unmount "$here"
    mounted case=insensitive
    [ -e "$here/readme" ] && [ -e "$here/NOCASE/README" ] || fail "case=insensitive does not find other spellings"
    unmount "$here"
    mounted case=sensitive
    [ ! -e "$here/readme" ] && [ ! -e "$here/nocase/readme" ] || fail "case=sensitive finds other spellings"
    [ -e "$here/nocase/ReadMe" ] || fail "case=sensitive does not find the stored spelling"
    rm -r "${here:?}"/*
    unmount "$here"
}

lists_of_attributes() {
    mounted ""
    echo text >"$here/file"
    ! getfattr -m - "$here/file" 2>&1 | grep -q system.ntfs_ || fail "system.ntfs_* is listed without list_system_xattrs"
    getfattr --absolute-names --only-values -n system.ntfs_attrib "$here/file" >said.out || fail "system.ntfs_attrib is not there"
    equals "the size of system.ntfs_attrib" 4 "$(wc -c <said.out)"
    unmount "$here"
    mounted list_system_xattrs
    getfattr -m - "$here/file" 2>&1 | grep -q system.ntfs_attrib ||
        fail "list_system_xattrs lists $(getfattr -m - "$here/file" 2>&1)"
    rm "$here/file"
    unmount "$here"
}

# The daemon is killed: what it committed by itself is there, what not is not.
survives() {
    local pid
    mounted "$1"
    pid=$(daemon_of "$here")
    mkdir "$here/made"
    sleep 2.5
    kill -9 "$pid"
    umount -l "$here"
    wait_for 10 pid_is_gone
    mounted ""
    [ -e "$here/made" ] && survived=yes || survived=no
    rm -rf "$here/made"
    unmount "$here"
}

numbers() {
    survives commit=1
    equals "whether a change survives 2.5 s later with commit=1" yes "$survived"
    survives commit=3600
    equals "whether a change survives 2.5 s later with commit=3600" no "$survived"
    mounted threads=1,cache=1M,nowriteback,nodiscard
    seq 1000 | (cd "$here" && xargs touch)
    equals "files with threads=1,cache=1M" 1000 "$(find "$here" -type f | wc -l)"
    head -c 3000000 /dev/urandom >original
    cp original "$here/copy"
    cmp original "$here/copy" || fail "a copy with nowriteback differs"
    rm -r "${here:?}"/*
    unmount "$here"
    mounted threads=256,commit=0
    equals "threads of threads=256" yes "$([ "$(ls "/proc/$(daemon_of "$here")/task" | wc -l)" -ge 256 ] && echo yes)"
    unmount "$here"
}

device_nodes_and_setuid() {
    chmod 755 "$here"
    mounted allow_other
    mknod "$here/zero" c 1 5
    cp "$(command -v id)" "$here/id"
    chown 1 "$here/id"
    chmod 4755 "$here/id"
    fails "Permission denied" head -c 1 "$here/zero"
    equals "the user of a setuid program without suid" $user "$(setpriv --reuid "$user" --clear-groups "$here/id" -u)"
    unmount "$here"
    mounted allow_other,dev,suid
    equals "bytes read from a device node with dev" 1 "$(head -c 1 "$here/zero" | wc -c)"
    equals "the user of a setuid program with suid" 1 "$(setpriv --reuid "$user" --clear-groups "$here/id" -u)"
    unmount "$here"
    mounted ""
    fails "Permission denied" setpriv --reuid "$user" --clear-groups ls "$here" # without allow_other
    rm "$here/zero" "$here/id"
    unmount "$here"
}

generic_options() {
    local options=defaults,auto,noauto,nofail,_netdev,user,users,group,owner,exec,async,loud,comment=x,x-systemd.automount,X-mount.mkdir,x-gvfs-show
    mounted "$options"
    unmount "$here"
    mounted nonempty # which old lines of fstab have
    unmount "$here"
    "$mount_program" -s -o nonsense,ro "$device" "$here" || fail "-s does not ignore options"
    awk -v p="$here" '$2 == p { print $4 }' /proc/mounts | grep -q '^ro,' || fail "-s ignores known options too"
    umount "$here"
    wait_for 10 pid_is_gone
    "$mount_program" "$device" "$here" -n -v -w -o rw -t casefs || fail "options behind the arguments, as mount(8) gives them, were refused"
    umount "$here"
    wait_for 10 pid_is_gone
}

checks_only() {
    local option
    for option in -F --fake; do
        "$mount_program" $option "$device" "$here" || fail "$option failed: $?"
        is_not_mounted "$here" || fail "$option mounts"
        refuses 32 "does not hold a casefs volume" $option zeros "$here"
    done
}

# ------------------------------------------------------------------------- devices

volumes_in_memory() {
    mounted "" mem:64M
    equals "the device in /proc/mounts" mem:64M "$(awk -v p="$here" '$2 == p { print $1 }' /proc/mounts)"
    echo text >"$here/ReadMe"
    [ ! -e "$here/readme" ] || fail "case does not matter in mem:64M"
    umount "$here"
    mounted case=insensitive mem:64M
    [ ! -e "$here/ReadMe" ] || fail "a volume in memory outlived its mount"
    echo text >"$here/ReadMe"
    equals "a file in memory" text "$(cat "$here/readme")"
    umount "$here"
}

volumes_behind_nbd() {
    if [ ! -e "$plugin" ] || ! command -v nbdkit >/dev/null; then
        echo "volumes_behind_nbd: left out, for want of nbdkit or the plugin"
        return
    fi
    start_server disk "$plugin" 1G memory-limit=200M
    "$mkfs_program" -q "$uri"
    mounted "" "$uri"
    equals "the device in /proc/mounts" "$uri" "$(awk -v p="$here" '$2 == p { print $1 }' /proc/mounts)"
    head -c 30000000 /dev/urandom >original
    cp original "$here/copy"
    umount "$here"
    wait_for 10 no_daemon_of_nbd || fail "the daemon of $uri did not end"
    mounted ro "$uri"
    cmp original "$here/copy" || fail "a copy behind NBD differs"
    umount "$here"
    wait_for 10 no_daemon_of_nbd || fail "the daemon of $uri did not end"
    rm original
}

no_daemon_of_nbd() {
    ! pgrep -f -- "mount\.casefs .*$work/disk.sock" >/dev/null
}

# --------------------------------------------------------------- processes and messages

# in_foreground OPTION: started, in $pid.
in_foreground() {
    "$mount_program" "$@" "$device" "$here" >foreground.out 2>foreground.err &
    pid=$!
    wait_for 10 is_mounted "$here" || fail "mount.casefs $* did not mount: $(cat foreground.err)"
}

# ends WHAT STATUS: that of $pid, in 10 s; and nothing is mounted.
ends() {
    local status=0
    wait_for 10 is_not_mounted "$here" || fail "$1: it is still mounted"
    wait_for 10 process_ended || fail "$1: the daemon is still there"
    wait "$pid" || status=$?
    equals "the exit status after $1" "$2" "$status"
}

# Also if nobody has waited for it yet.
process_ended() {
    ! grep -q . "/proc/$pid/cmdline" 2>/dev/null
}

foreground() {
    local option
    for option in -f --foreground; do
        in_foreground $option
        kill -0 "$pid" || fail "$option went to the background"
        umount "$here"
        ends "umount" 0
        equals "what -f prints" "" "$(cat foreground.out foreground.err)"
    done
    in_foreground -d
    ls "$here"
    umount "$here"
    ends "umount" 0
    grep -qi readdir foreground.err || fail "-d prints no requests: $(head -n 3 foreground.err)"
}

signals() {
    local signal
    for signal in TERM INT HUP; do
        in_foreground -f
        echo $signal >"$here/file"
        kill -$signal "$pid"
        ends "SIG$signal" 0
        mounted ro
        equals "a file written before SIG$signal" $signal "$(cat "$here/file")"
        unmount "$here"
    done
    # While it is in use, what was written is kept, and that is said.
    in_foreground -f
    exec 3>"$here/open"
    echo written >&3
    kill -TERM "$pid"
    ends "SIGTERM while it was in use" 0
    exec 3>&- || :
    grep -q "still in use" foreground.err || fail "nothing is said of open files: $(cat foreground.err)"
    mounted ro
    equals "what was written to an open file" written "$(cat "$here/open")"
    unmount "$here"
    mounted ""
    rm "$here/file" "$here/open"
    unmount "$here"
}

# A system log of our own, for as long as there is none.
start_syslog() {
    "$python" - "$work/syslog.log" <<'END' &
import os, socket, sys
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind('/dev/log')
with open(sys.argv[1], 'wb', buffering=0) as file:
    while True:
        file.write(log.recv(65536).rstrip(b'\0\n') + b'\n')
END
    syslog_pid=$!
    wait_for 10 test -S /dev/log || fail "no syslog could be started"
}

stop_syslog() {
    [ -n "$syslog_pid" ] || return 0
    kill "$syslog_pid"
    syslog_pid=
    rm -f /dev/log
}

messages_in_the_background() {
    if [ -e /dev/log ]; then
        echo "messages_in_the_background: left out, as there is a /dev/log"
        return
    fi
    start_syslog
    mounted ""
    local pid
    pid=$(daemon_of "$here")
    exec 3>"$here/open"
    kill -TERM "$pid"
    wait_for 10 grep -q "mount.casefs\[$pid\]: .*still in use" syslog.log || fail "the log has: $(cat syslog.log)"
    exec 3>&- || :
    wait_for 10 process_ended || fail "the daemon did not end after SIGTERM"
    stop_syslog
    # It holds nothing of its caller's.
    mounted ""
    pid=$(daemon_of "$here")
    equals "its working directory" / "$(readlink "/proc/$pid/cwd")"
    equals "its standard streams" "/dev/null /dev/null /dev/null" "$(readlink /proc/"$pid"/fd/{0,1,2} | xargs)"
    equals "its session" "$pid" "$(ps -o sid= -p "$pid" | xargs)"
    rm "$here/open"
    unmount "$here"
}

# ------------------------------------------------------------- mount(8) and others

# /sbin as this test sees it has the program in it.
install_helper() {
    local sbin
    sbin=$(readlink -f /sbin)
    mount -t tmpfs none overlay
    mkdir overlay/{upper,work}
    mount -t overlay -o "lowerdir=$sbin,upperdir=$work/overlay/upper,workdir=$work/overlay/work" none "$sbin" 2>/dev/null ||
        bind_sbin "$sbin"
    ln -s "$mount_program" /sbin/mount.casefs
}

# Without overlayfs: a copy.
bind_sbin() {
    mkdir overlay/sbin
    cp -a "$1/." overlay/sbin/
    mount --bind overlay/sbin "$1"
}

by_mount_and_fstab() {
    if [ -e /sbin/mount.casefs ]; then
        echo "by_mount_and_fstab: with the installed mount.casefs"
    else
        install_helper
    fi
    mount -t casefs "$device" "$here" -o noatime,allow_other || fail "mount -t casefs failed: $?"
    is_mounted "$here" || fail "mount -t casefs mounted nothing"
    : >"$here/file"
    unmount "$here"
    mount -t casefs -r "$device" "$here" || fail "mount -r failed"
    fails "Read-only file system" touch "$here/file"
    unmount "$here"
    fails "is not an option" mount -t casefs -o nonsense "$device" "$here"
    local status=0
    mount -t casefs zeros "$here" 2>said.err || status=$?
    equals "the exit status of mount(8) without a volume" 32 $status
    cat >fstab <<END
# DEVICE DIRECTORY TYPE OPTIONS DUMP PASS
$device $here casefs defaults,nofail,_netdev,x-systemd.automount,x-systemd.requires=disk.service,noatime 0 0
$device $work/second casefs ro,user,noauto,streams=colon 0 0
mem:32M $work/third casefs case=insensitive 0 0
END
    mount -T fstab "$here" || fail "mount -T fstab DIRECTORY failed"
    is_mounted "$here" || fail "mount -T fstab DIRECTORY mounted nothing"
    umount "$device" || fail "umount DEVICE failed"
    wait_for 10 pid_is_gone
    mount -T fstab -a || fail "mount -T fstab -a failed"
    is_mounted "$here" && is_mounted "$work/third" || fail "mount -a did not mount all: $(cat /proc/mounts)"
    is_not_mounted "$work/second" || fail "mount -a mounted what is noauto"
    mount -T fstab -a || fail "mount -a with all mounted failed"
    umount "$work/third"
    unmount "$here"
    mount -T fstab second || mount -T fstab "$work/second" || fail "mount -T fstab of a noauto line failed"
    is_mounted "$work/second" || fail "mount -T fstab of a noauto line mounted nothing"
    umount -t fuse.casefs -a
    is_not_mounted "$work/second" || fail "umount -a -t fuse.casefs left it mounted"
    fstab_of_nbd
    mounted ""
    umount -l "$here" || fail "umount -l failed"
    wait_for 10 pid_is_gone || fail "the daemon is still there after umount -l"
}

fstab_of_nbd() {
    if [ ! -e "$plugin" ] || ! command -v nbdkit >/dev/null; then
        return
    fi
    start_server fstab "$plugin" 1G memory-limit=100M
    "$mkfs_program" -q "$uri"
    echo "$uri $here casefs allow_other,noatime,nofail,x-systemd.requires=scratch.service 0 0" >fstab
    mount -T fstab -a || fail "mount -a with an NBD URI failed"
    is_mounted "$here" || fail "mount -a with an NBD URI mounted nothing"
    : >"$here/file"
    umount "$here"
    wait_for 10 pid_is_gone
    mount -t casefs "$uri" "$here" || fail "mount -t casefs with an NBD URI failed"
    [ -e "$here/file" ] || fail "a file behind NBD is not there"
    umount "$here"
    wait_for 10 pid_is_gone
}

# /dev/fuse is for everybody where udev makes it; where it is not, this test sees one that is.
by_a_user() {
    command -v fusermount3 >/dev/null || {
        echo "by_a_user: left out, fusermount3 is not installed"
        return
    }
    if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
        mknod -m 666 fuse c 10 229
        mount --bind fuse /dev/fuse || {
            echo "by_a_user: left out, as /dev/fuse is for root only"
            return
        }
    fi
    local as=(setpriv --reuid "$user" --regid "$user" --clear-groups) pid
    mkdir own
    chown $user:$user own
    cp "$device" own/volume
    chown $user own/volume
    "${as[@]}" mkdir own/here
    "${as[@]}" "$mount_program" own/volume own/here || fail "a user could not mount: $?"
    is_mounted "$work/own/here" || fail "a user's mount is not there"
    grep " $work/own/here " /proc/mounts | grep -q "user_id=$user" || fail "the mount is not the user's"
    fails "Permission denied" "${as[@]}" touch own/here/file # the root directory is root's
    fails "Permission denied" ls own/here                    # nobody else's, not even root's
    pid=$(pgrep -f -- "mount\.casefs own/volume")
    "${as[@]}" fusermount3 -u own/here || fail "fusermount3 -u failed"
    wait_for 10 process_ended || fail "the daemon is still there after fusermount3 -u"
    "${as[@]}" "$mkfs_program" -q --size=16M own/mine
    "${as[@]}" "$mount_program" -o noatime own/mine own/here || fail "a user could not mount an own volume: $?"
    "${as[@]}" bash -c 'echo text >own/here/file && mkdir own/here/directory' || fail "a user could not write to an own volume"
    equals "a user's file" "text $user" "$("${as[@]}" bash -c 'echo $(cat own/here/file) $(stat -c %u own/here/file)')"
    fails "not permitted" "${as[@]}" mknod own/here/null c 1 3
    pid=$(pgrep -f -- "mount\.casefs .*own/mine")
    "${as[@]}" kill -TERM "$pid"
    wait_for 10 process_ended || fail "a user's daemon is still there after SIGTERM"
    is_not_mounted "$work/own/here" || fail "a user's mount is still there after SIGTERM"
    equals "what a user wrote" text "$("$casefs_program" cat own/mine:/file)"
    if ! grep -q '^user_allow_other' /etc/fuse.conf 2>/dev/null; then
        fails "user_allow_other" "${as[@]}" "$mount_program" -o allow_other own/mine own/here
    fi
    fails "" "${as[@]}" "$mount_program" own/mine /mnt
}

main "$@"
