#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A mount of casefs as a share of Samba, in the configurations of mount.casefs(8): what clients do
# with names, streams, attributes, times, extended attributes and descriptors is what the volume
# holds afterwards, and the other way round; and no lookup lists a directory.
#
# SAMBA_FILES files are in the large directory (10000).

# smbcacls knows no port but 445: in a network of its own the test meets nobody there.
if [ -z "${SAMBA_TEST_NETWORK-}" ] && unshare --net true 2>/dev/null; then
    SAMBA_TEST_NETWORK=own exec unshare --net "$0" "$@"
fi

# shellcheck source=tests/mount/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_fuse
PATH=$PATH:/usr/sbin:/sbin
requires smbd smbclient smbcacls smbpasswd ip strace getfacl setfattr jq
[ -n "${SAMBA_TEST_NETWORK-}" ] || skip "a network namespace cannot be made here"
for module in acl_xattr streams_xattr glusterfs_fuse; do
    [ -e "$(smbd -b | sed -n 's/^ *MODULESDIR: //p')/vfs/$module.so" ] ||
        skip "Samba's module $module is not installed (samba-vfs-modules)"
done

files=${SAMBA_FILES-10000}
device=$work/share.casefs
share=$work/share
conf=$work/smb.conf
user=daemon # whom every system has
smbd_pid=

at_exit() {
    stop_smbd
    unmount_all
}

main() {
    cd "$work"
    chmod 711 . # for smbd as that user
    make_volume "$device" 1G --case=insensitive
    things_made_by_casefs
    mount_volume "$device" "$share" allow_other,streams=samba,ea=user
    ip link set lo up
    configure
    start_smbd
    for name in casefs sensitive; do
        spellings $name
        streams $name
        attributes_and_times $name
        extended_attributes $name
        descriptors $name
        large_contents $name
        other_case_only $name
    done
    wildcards
    descriptors_with_posix_acls
    descriptors_are_enforced_by_samba
    things_made_by_casefs_are_seen
    stop_smbd
    no_listings
    unmount "$share"
    for name in casefs sensitive; do
        things_are_on_the_volume $name
    done
    "$fsck_program" -n "$device" >fsck.out || fail "the volume is damaged: $(cat fsck.out)"
}

# ------------------------------------------------------------------- a server

# The share that mount.casefs(8) has to copy, as [casefs] and of our mount.
share_of_page() {
    awk '/^=head1/ { here = $2 == "SAMBA" } here && /^ \[games\]$/, /^$/' "$top/tools/mount/mount.casefs.pod" |
        sed "s/\[games\]/[casefs]/; s|/srv/games|$share|"
}

configure() {
    mkdir -p samba/{private,lock,state,cache,pid,ncalrpc,log}
    cat >"$conf" <<END
[global]
    server role = standalone
    passdb backend = tdbsam:$work/samba/private/passdb.tdb
    private dir = $work/samba/private
    lock directory = $work/samba/lock
    state directory = $work/samba/state
    cache directory = $work/samba/cache
    pid directory = $work/samba/pid
    ncalrpc dir = $work/samba/ncalrpc
    log file = $work/samba/log/smbd.log
    smb ports = 445
    interfaces = lo
    bind interfaces only = yes
    disable netbios = yes
    load printers = no
    printcap name = /dev/null
    disable spoolss = yes

# As mount.casefs(8) has it.
$(share_of_page)

# Without the module that asks for spellings.
[sensitive]
    copy = casefs
    vfs objects = acl_xattr streams_xattr
    case sensitive = yes

# Neither: as Samba is without configuration.
[lists]
    copy = casefs
    vfs objects = acl_xattr streams_xattr

# Descriptors hold as long as the POSIX ACL does.
[posix]
    copy = casefs
    acl_xattr:ignore system acls = no
END
    [ "$(share_of_page | grep -c =)" -ge 8 ] || fail "mount.casefs(8) has no share to copy"
    for name in root $user; do
        printf 'secret\nsecret\n' | smbpasswd -c "$conf" -a -s "$name" >passwd.log 2>&1 ||
            fail "$name could not be made a user of Samba: $(cat passwd.log)"
    done
}

# start_smbd [COMMAND...]: under that command, if any.
start_smbd() {
    setsid "$@" smbd -s "$conf" -F --no-process-group -l "$work/samba/log" \
        </dev/null >smbd.log 2>&1 &
    smbd_pid=$!
    wait_for 20 smb casefs 'ls' >/dev/null 2>&1 || fail "smbd did not serve in 20 s: $(cat smbd.log)"
}

stop_smbd() {
    [ -n "$smbd_pid" ] || return 0
    kill -- "-$smbd_pid" 2>/dev/null || :
    wait "$smbd_pid" 2>/dev/null || :
    wait_for 10 no_processes "$smbd_pid" || kill -9 -- "-$smbd_pid" || :
    smbd_pid=
}

no_processes() {
    ! pgrep -g "$1" >/dev/null
}

# smb SHARE COMMANDS [USER]
smb() {
    smbclient -s "$conf" -U "${3-root}%secret" "//127.0.0.1/$1" -c "$2" 2>&1
}

# it_says SHARE COMMANDS TEXT [USER]: the client prints that.
it_says() {
    local said
    said=$(smb "$1" "$2" "${4-root}") || :
    grep -qF -- "$3" <<<"$said" || fail "on share $1, '$2' did not say '$3' but: $said"
}

# it_works SHARE COMMANDS [USER]: and no status of an error is printed.
it_works() {
    local said
    said=$(smb "$1" "$2" "${3-root}") || fail "on share $1, '$2' failed: $said"
    ! grep -q NT_STATUS_ <<<"$said" || fail "on share $1, '$2' failed: $said"
}

# acl SHARE FILE [OPTION...]: exact, with numbers; or set.
acl() {
    local name=$1 file=$2
    shift 2
    smbcacls -s "$conf" -U root%secret --domain-sid=S-1-5-21-1-2-3 "$@" "//127.0.0.1/$name" "$file" 2>&1
}

same() {
    local difference
    difference=$(cmp "$1" "$2" 2>&1) || fail "$3 has not the contents it should have: $difference"
}

# ------------------------------------------------------- what clients can do

spellings() {
    it_works "$1" "mkdir $1; put text $1\\ReadMe.TXT"
    it_works "$1" "get $1\\README.txt got"
    same text got "on share $1, ReadMe.TXT read as README.txt"
    it_works "$1" "get ${1^^}\\readme.TXT got"
    same text got "on share $1, ReadMe.TXT read as readme.TXT in another spelling of its directory"
    it_says "$1" "mkdir ${1^^}" NT_STATUS_OBJECT_NAME_COLLISION
    it_says "$1" "get $1\\readyou.txt got" NT_STATUS_OBJECT_NAME_NOT_FOUND
    it_says "$1" "ls $1\\*" ReadMe.TXT
    it_works "$1" "put text $1\\Goes; del $1\\GOES"
    [ ! -e "$share/$1/goes" ] || fail "on share $1, Goes is there after GOES was deleted"
    it_works "$1" "put text $1\\Old; rename $1\\OLD $1\\New"
    [ "$(ls "$share/$1")" = "New
ReadMe.TXT" ] || fail "on share $1, Old renamed as OLD to New: $(ls "$share/$1")"
    it_works "$1" "put text $1\\Überfluß.Ä; get $1\\üBERFLUß.ä got"
    same text got "on share $1, Überfluß.Ä"
    it_works "$1" "del $1\\ÜBERFLUß.Ä"
}

streams() {
    it_works "$1" "put stream $1\\readme.txt:Data.bin; put empty $1\\readme.txt:Empty"
    it_works "$1" "get $1\\README.TXT:data.BIN got"
    same stream got "on share $1, a stream of 40000 bytes"
    it_says "$1" "allinfo $1\\README.TXT" 'stream: [:Data.bin:$DATA], 40000 bytes'
    it_says "$1" "allinfo $1\\README.TXT" 'stream: [:Empty:$DATA], 0 bytes'
    it_works "$1" "put text $1:OfDirectory"
    it_says "$1" "allinfo $1" 'stream: [:OfDirectory:$DATA], 9 bytes'
    it_works "$1" "get $1\\readme.txt got"
    same text got "on share $1, a file that got streams"
    it_says "$1" "put large $1\\readme.txt:Large" NT_STATUS_FILE_SYSTEM_LIMITATION # over 64 KiB
    setfattr -x 'user.DosStream.Large:$DATA' "$share/$1/README.txt"
}

attributes_and_times() {
    it_works "$1" "setmode $1\\readme.TXT +hsr"
    it_says "$1" "allinfo $1\\README.TXT" "attributes: RHSA (27)"
    it_works "$1" "setmode $1\\readme.TXT -r"
    it_works "$1" "utimes $1\\readme.TXT 2001:02:03-04:05:06 2011:02:03-04:05:06 2021:02:03-04:05:06 -1"
    for time in 'create_time:    Sat Feb  3 04:05:06 2001' 'access_time:    Thu Feb  3 04:05:06 2011' \
        'write_time:     Wed Feb  3 04:05:06 2021'; do
        it_says "$1" "allinfo $1\\readme.TXT" "$time"
    done
}

extended_attributes() {
    it_works "$1" "setea $1\\readme.txt Comment Hello"
    it_says "$1" "geteas $1\\README.TXT" "Comment (0) ="
    it_says "$1" "geteas $1\\README.TXT" "48 65 6C 6C 6F"
    it_works "$1" "setea $1\\readme.txt Gone x; setea $1\\readme.txt Gone \"\""
}

descriptor='O:S-1-5-21-1-2-3-500G:S-1-5-21-1-2-3-513D:P(D;;0x10000;;;S-1-5-21-1-2-3-1002)(A;;0x1f01ff;;;SY)(A;;0x1200a9;;;S-1-5-21-1-2-3-1001)'
descriptor_numbers="OWNER:S-1-5-21-1-2-3-500
GROUP:S-1-5-21-1-2-3-513
ACL:S-1-5-21-1-2-3-1002:1/0x0/0x00010000
ACL:S-1-5-18:0/0x0/0x001f01ff
ACL:S-1-5-21-1-2-3-1001:0/0x0/0x001200a9"

descriptors() {
    local found
    acl "$1" "$1/readme.txt" --sddl --set "$descriptor" >acl.log || fail "on share $1, the descriptor was not set: $(cat acl.log)"
    found=$(acl "$1" "$1/README.TXT" --numeric | grep -E '^(OWNER|GROUP|ACL):')
    [ "$found" = "$descriptor_numbers" ] || fail "on share $1, the descriptor is
$found
instead of
$descriptor_numbers"
}

large_contents() {
    it_works "$1" "put large $1\\Large.BIN; get $1\\large.bin got"
    same large got "on share $1, a file of 9000000 bytes"
    rm "$share/$1/LARGE.bin"
}

# Samba finds the new name taken, by the same file.
other_case_only() {
    it_works "$1" "put text $1\\Other.txt"
    it_says "$1" "rename $1\\Other.txt $1\\OTHER.TXT" NT_STATUS_OBJECT_NAME_COLLISION
    it_works "$1" "rename $1\\Other.txt $1\\between; rename $1\\between $1\\OTHER.TXT"
    it_says "$1" "ls $1\\*" OTHER.TXT
    it_works "$1" "del $1\\other.txt"
}

# Samba itself compares names with patterns.  With `case sensitive = yes` it does so by case.
wildcards() {
    it_says casefs 'ls casefs\*.txt' ReadMe.TXT
    it_says casefs 'ls CASEFS\READ*.*' ReadMe.TXT
    it_says sensitive 'ls sensitive\*.txt' NT_STATUS_NO_SUCH_FILE
    it_says sensitive 'ls sensitive\*.TXT' ReadMe.TXT
    it_says sensitive 'ls sensitive\README.txt' README.txt
}

# With Samba's default the descriptor holds until the mode or the POSIX ACL is changed otherwise.
descriptors_with_posix_acls() {
    local before
    it_works posix 'mkdir posix; put text posix\file'
    acl posix posix/file --set \
        "REVISION:1,OWNER:S-1-22-1-0,GROUP:S-1-22-2-0,ACL:S-1-22-1-1:0/0x0/0x001200a9,ACL:S-1-22-1-0:0/0x0/0x001f01ff,ACL:S-1-1-0:0/0x0/0x00120089" \
        >acl.log || fail "on share posix, the descriptor was not set: $(cat acl.log)"
    before=$(acl posix posix/FILE --numeric)
    grep -qF 'ACL:S-1-22-1-1:0/0x0/0x001200a9' <<<"$before" || fail "on share posix, an entry is missing: $before"
    getfacl -pcn "$share/posix/File" | grep -q '^user:1:r-x' ||
        fail "the POSIX ACL of what Samba wrote is: $(getfacl -pcn "$share/posix/file")"
    [ "$(acl posix posix/file --numeric)" = "$before" ] || fail "on share posix, the descriptor has changed by itself"
}

descriptors_are_enforced_by_samba() {
    it_works casefs 'put text casefs\Secret.txt'
    it_works casefs 'get casefs\SECRET.TXT got' "$user"
    acl casefs casefs/secret.txt --sddl --set 'O:BAG:BAD:P(A;;0x1f01ff;;;BA)' >acl.log || fail "$(cat acl.log)"
    it_says casefs 'get casefs\SECRET.TXT got' NT_STATUS_ACCESS_DENIED "$user"
    acl casefs casefs/secret.txt --sddl --set 'O:BAG:BAD:P(A;;0x1f01ff;;;BA)(A;;0x120089;;;WD)' >acl.log || fail "$(cat acl.log)"
    rm got
    it_works casefs 'get casefs\SECRET.TXT got' "$user"
    same text got "a file that the descriptor lets the user read"
}

# --------------------------------------------------- what casefs has and sees

things_made_by_casefs() {
    echo "the text" >text
    head -c 40000 /dev/urandom >stream
    : >empty
    head -c 9000000 /dev/urandom >large
    echo "by casefs" >native
    "$casefs_program" mkdir "$device:/Native"
    "$casefs_program" cp native "$device:/Native/File.TXT"
    "$casefs_program" stream put "$device:/Native/File.TXT" Origin native
    "$casefs_program" ea set "$device:/Native/File.TXT" Subject 'Seen by all'
    "$casefs_program" attrib +h +s "$device:/Native/File.TXT"
    "$casefs_program" acl set "$device:/Native/File.TXT" "$descriptor"
    "$casefs_program" touch --created=1999-12-31T23:59:58.5Z "$device:/Native/File.TXT"
}

things_made_by_casefs_are_seen() {
    local found
    for name in casefs sensitive; do
        it_works $name 'get NATIVE\FILE.txt got; get Native\file.txt:ORIGIN origin'
        same native got "on share $name, a file that casefs made"
        same native origin "on share $name, a stream that casefs made"
        it_says $name 'allinfo native\FILE.TXT' 'stream: [:Origin:$DATA], 10 bytes'
        it_says $name 'allinfo native\FILE.TXT' 'create_time:    Fri Dec 31 '
        it_says $name 'allinfo native\FILE.TXT' 'attributes: HS (6)'
        it_says $name 'geteas native\FILE.TXT' 'Subject (0) ='
        found=$(acl $name Native/FILE.txt --numeric | grep -E '^(OWNER|GROUP|ACL):')
        [ "$found" = "$descriptor_numbers" ] || fail "on share $name, the descriptor that casefs set is
$found
instead of
$descriptor_numbers"
    done
}

things_are_on_the_volume() {
    local file=$device:/$1/ReadMe.TXT found
    found=$("$casefs_program" stream ls "$file" | awk '$2 !~ /^linux\.xattr/ { print $2, $1 }' | sort | tr '\n' ' ')
    [ "$found" = "Data.bin 40000 Empty 0 " ] || fail "the streams that Samba made are '$found'"
    "$casefs_program" stream cat "$file" Data.bin >got
    same stream got "a stream that Samba made"
    found=$("$casefs_program" ea ls "$file" | awk '{ print $NF }' | tr '\n' ' ')
    [ "$("$casefs_program" ea get "$file" COMMENT)" = Hello ] || fail "the extended attribute that Samba made is wrong"
    [ "$found" = "Comment " ] || fail "the extended attributes that Samba made are '$found'"
    found=$("$casefs_program" stat --json "$file")
    for wanted in '.created == "2001-02-03T04:05:06.0000000Z"' '.modified == "2021-02-03T04:05:06.0000000Z"' \
        '(.dos_attributes | sort) == ["archive", "hidden", "system"]'; do
        jq -e ".[0] | $wanted" <<<"$found" >/dev/null || fail "$wanted does not hold of what Samba made: $found"
    done
    "$casefs_program" cp native "$device:/scale" && "$casefs_program" acl set "$device:/scale" "$descriptor"
    [ "$("$casefs_program" acl get "$file")" = "$("$casefs_program" acl get "$device:/scale")" ] ||
        fail "the descriptor that Samba set is $("$casefs_program" acl get "$file")"
}

# ------------------------------------------------------------- no directory is listed

# Other spellings are opened, and names are asked for that are not there, in a large directory.
no_listings() {
    mkdir "$share/Large"
    (cd "$share/Large" && seq -f 'File%07.0f.DAT' "$files" | xargs touch)
    for name in casefs sensitive lists; do
        start_smbd strace -f --seccomp-bpf -y -o "$work/listings.$name" -e trace=getdents64
        lookups $name
        stop_smbd
        count=$(grep -ic 'getdents64([0-9]*<[^>]*/large>' "listings.$name" || :)
        echo "share $name: $count calls of getdents64 for 20 opens by other spellings," \
            "20 of missing names and 20 creations in a directory of $files files, $milliseconds ms"
        if [ $name = lists ]; then
            [ "$count" -ge 20 ] || fail "share lists should list the directory for missing names, but called getdents64 $count times"
        else
            [ "$count" -eq 0 ] || fail "share $name listed the directory: getdents64 was called $count times"
        fi
    done
}

lookups() {
    local commands="" i started
    for i in $(seq 20); do
        commands+="get LARGE\\fILE$(printf %07d $((i * files / 20))).dat got;"
    done
    started=$(date +%s%N)
    it_works "$1" "$commands"
    commands=""
    for i in $(seq 20); do
        commands+="get large\\missing$i got;"
    done
    it_says "$1" "$commands" NT_STATUS_OBJECT_NAME_NOT_FOUND
    commands=""
    for i in $(seq 20); do
        commands+="put text large\\$1.$i;"
    done
    it_works "$1" "$commands"
    milliseconds=$((($(date +%s%N) - started) / 1000000))
}

main
