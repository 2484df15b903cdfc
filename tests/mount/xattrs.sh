#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Extended attributes through a mount: where both support a thing, byte for byte what ntfs-3g has;
# and the ways in which streams, EAs and what others keep are shown.
#
# XATTR_OPERATIONS random operations (3000) are compared with ntfs-3g's, from XATTR_SEED on.

# shellcheck source=tests/mount/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_fuse
requires getfattr setfattr setpriv tar jq

operations=${XATTR_OPERATIONS-3000}
seed=${XATTR_SEED-$RANDOM}
device=$work/volume.casefs
place=$work/place
user=1001

main() {
    cd "$work"
    chmod 711 . # for other users
    compare_with_ntfs_3g
    make_volume "$device" 256M
    streams_as_attributes
    streams_as_paths
    streams_for_samba
    eas_for_users
    other_users
    owners_from_wsl
    times
    tar_and_cp
    echo "all views of attributes are as documented"
}

compare_with_ntfs_3g() {
    if ! command -v ntfs-3g >/dev/null || ! command -v mkntfs >/dev/null; then
        echo "not compared with ntfs-3g, which is not installed"
        return
    fi
    mkdir ntfs
    truncate -s 64M ntfs.image
    mkntfs --force --quick --quiet ntfs.image >mkntfs.log 2>&1
    ntfs-3g ntfs.image ntfs
    make_volume compared.casefs 64M
    # Of files the kernel keeps times itself, if it writes back.
    mount_volume "$work/compared.casefs" "$work/casefs" nowriteback
    "$python" "$top/tests/mount/xattrs.py" ntfs casefs "$seed" "$operations" ||
        fail "attributes should be those of ntfs-3g (seed $seed); see above"
    umount ntfs
    unmount "$work/casefs"
    "$fsck_program" -n compared.casefs >fsck.log || fail "after the comparison: $(cat fsck.log)"
}

# mounted OPTION,...: the volume is mounted so at $place.
mounted() {
    mount_volume "$device" "$place" "$1"
}

value() { # FILE NAME
    getfattr --absolute-names --only-values -h -n "$2" "$1" 2>/dev/null || :
}

names() { # FILE
    getfattr -h -m - "$1" 2>/dev/null | sed '/^#/d; /^$/d' | LC_ALL=C sort | tr '\n' ' '
}

expect() { # WHAT EXPECTED FOUND
    [ "$2" = "$3" ] || fail "$1 should be '$2': '$3'"
}

refused() { # ERROR COMMAND...
    local error=$1
    shift
    if "$@" 2>refused.err; then
        fail "should be refused with '$error': $*"
    fi
    grep -q "$error" refused.err || fail "should be refused with '$error': $*: $(cat refused.err)"
}

streams_as_attributes() {
    mounted allow_other
    echo data >"$place/file"
    mkdir "$place/directory"
    setfattr -n user.Zone -v internet "$place/file"
    setfattr -n user.a:b -v kept "$place/file"
    setfattr -n user.DosStream.dos:\$DATA -v 0x6100 "$place/file"
    setfattr -n trusted.t -v 1 "$place/file"
    setfattr -n security.s -v 2 "$place/file"
    setfattr -n user.empty "$place/directory"
    expect "the list" "security.s trusted.t user.Zone user.a:b user.dos " "$(names "$place/file")"
    expect "the list of a directory" "user.empty " "$(names "$place/directory")"
    expect "another spelling" internet "$(value "$place/file" user.ZONE)"
    expect "a kept one" kept "$(value "$place/file" user.a:b)"
    expect "another spelling of a kept one" "" "$(value "$place/file" user.A:b)"
    expect "a stream of Samba's" a "$(value "$place/file" user.dos)"
    refused "No such attribute" getfattr -n security.capability "$place/file"
    refused "Operation not supported" setfattr -n system.other -v x "$place/file"
    refused "Operation not supported" setfattr -n other -v x "$place/file"
    unmount "$place"
    expect "the stream" internet "$("$casefs_program" stream cat "$device:/file" zone)"
    mounted allow_other,list_system_xattrs
    expect "the full list" "security.s system.ntfs_attrib system.ntfs_attrib_be system.ntfs_crtime \
system.ntfs_crtime_be system.ntfs_object_id system.ntfs_times system.ntfs_times_be trusted.t \
user.DOSATTRIB user.Zone user.a:b user.dos " "$(names "$place/file")"
    unmount "$place"
}

# What is kept as an attribute is no stream for paths, whatever the spelling.
streams_as_paths() {
    local path
    mounted allow_other,streams=colon
    expect "a stream" internet "$(cat "$place/file:Zone")"
    printf more >>"$place/file:zone"
    expect "a stream that grew" internetmore "$(cat "$place/file:ZONE")"
    expect "the list of streams" "dos Zone" "$(value "$place/file" ntfs.streams.list | tr '\0' ' ')"
    for path in linux.xattr.trusted.t LINUX.XATTR.trusted.t linux.xattr.security.new; do
        refused "" cat "$place/file:$path"
        echo x >"$place/file:$path" # a file of that name, beside
    done
    expect "trusted.t" 1 "$(value "$place/file" trusted.t)"
    refused "No such attribute" getfattr -n security.new "$place/file"
    rm "$place"/file:[lL]*
    expect "the list" "security.s trusted.t user.a:b " "$(names "$place/file")"
    setfattr -n user.Zone -v "no stream here" "$place/file"
    expect "the stream" internetmore "$(cat "$place/file:zone")"
    expect "the attribute" "no stream here" "$(value "$place/file" user.Zone)"
    setfattr -x user.Zone "$place/file"
    refused "No such attribute" getfattr -n user.Zone "$place/file"
    printf internet >"$place/file:zone"
    unmount "$place"
}

streams_for_samba() {
    mounted allow_other,streams=samba
    expect "the list" "security.s trusted.t user.DosStream.Zone:\$DATA user.DosStream.dos:\$DATA user.a:b " \
        "$(names "$place/file")"
    expect "a stream and its NUL" 0x696e7465726e657400 \
        "$(getfattr --absolute-names --only-values -n "user.DosStream.ZONE:\$DATA" "$place/file" | xxd -p | sed 's/^/0x/')"
    setfattr -n "user.DosStream.new:\$DATA" -v 0x00 "$place/directory"
    setfattr -n user.DOSATTRIB -v 0x307834 "$place/file"
    setfattr -n user.DOSATTRIB -v 0x307832 "$place/directory"
    unmount "$place"
    [ "$("$casefs_program" stat --json "$device:/file" "$device:/directory" |
        jq -c '[.[].dos_attributes]')" = '[["system"],["hidden"]]' ] ||
        fail "attributes by Wine: $("$casefs_program" stat "$device:/file" "$device:/directory")"
    expect "an empty stream" "" "$("$casefs_program" stream cat "$device:/directory" new)"
}

eas_for_users() {
    mounted allow_other,streams=colon,ea=user
    setfattr -n user.Fruit -v apple "$place/file"
    setfattr -n user.none "$place/file"
    expect "the list" "security.s trusted.t user.Fruit user.a:b user.none " "$(names "$place/file")"
    expect "another spelling" apple "$(value "$place/file" user.FRUIT)"
    head -c 40000 /dev/zero | tr '\0' x >long
    setfattr -n user.long -v "$(cat long)" "$place/directory"
    refused "No space left" setfattr -n user.longer -v "$(cat long)" "$place/directory"
    unmount "$place"
    expect "the EA" apple "$("$casefs_program" ea get "$device:/file" fruit)"
    mounted allow_other,streams=none
    expect "the list without streams" "security.s trusted.t user.a:b user.none " "$(names "$place/file")"
    unmount "$place"
}

as_user() {
    setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
}

other_users() {
    mounted allow_other
    chmod 640 "$place/file"
    echo own >"$place/own"
    chown "$user:$user" "$place/own"
    as_user setfattr -n system.ntfs_attrib -v 0x22000000 "$place/own"
    expect "attributes by their owner" 0x22000000 \
        "$(as_user getfattr --absolute-names --only-values -n system.ntfs_attrib "$place/own" | xxd -p | sed 's/^/0x/')"
    refused "Permission denied" as_user getfattr -n system.ntfs_attrib "$place/file"
    refused "Operation not permitted" as_user setfattr -n system.ntfs_attrib -v 0x22000000 "$place/file"
    refused "Operation not permitted" as_user setfattr -x system.ntfs_ea "$place/file"
    refused "Operation not permitted" as_user setfattr -n security.NTACL -v x "$place/own"
    refused "Permission denied" as_user getfattr -n user.Zone "$place/file"
    expect "what a user sees listed" "security.s user.Zone user.a:b user.dos " \
        "$(chmod 644 "$place/file"; as_user getfattr -m - "$place/file" 2>/dev/null | sed '/^#/d; /^$/d' | LC_ALL=C sort | tr '\n' ' ')"
    unmount "$place"
    mounted "allow_other,uid=$user,gid=$user,umask=077"
    as_user setfattr -n system.ntfs_attrib -v 0x20000000 "$place/file" ||
        fail "who is shown as the owner may not change attributes"
    unmount "$place"
}

# $LXUID, $LXGID, $LXMOD as of a file that WSL has written; stat(1) tells it at once.
owners_from_wsl() {
    local list=0x
    list+=1400000000060400244c58554944000d04000000
    list+=1400000000060400244c58474944000e04000000
    list+=1400000000060400244c584d4f4400a481000000
    mounted allow_other
    echo wsl >"$place/wsl"
    stat "$place/wsl" >/dev/null
    chmod 600 "$place/wsl"
    setfattr -n system.ntfs_ea -v "$list" "$place/wsl"
    expect "owner, group and mode" "1037 1038 644" "$(stat -c '%u %g %a' "$place/wsl")"
    chown 5:6 "$place/wsl"
    chmod 751 "$place/wsl"
    expect "what WSL would read" \
        "1400000000060400244c58474944000600000000 1400000000060400244c584d4f4400e981000000 1400000000060400244c58554944000500000000 " \
        "$(getfattr --absolute-names --only-values -n system.ntfs_ea "$place/wsl" | xxd -p -c 20 | tr '\n' ' ')"
    refused "Operation not permitted" as_user setfattr -n system.ntfs_ea -v "$list" "$place/wsl"
    unmount "$place"
}

times() {
    local file
    # 2020-01-01, -02, -03
    local value=0x
    value+=0000056936c0d501
    value+=00c06e93ffc0d501
    value+=0080d8bdc8c1d501
    mounted allow_other
    mkdir "$place/old-directory"
    echo old >"$place/old-file"
    for file in old-directory old-file; do
        stat "$place/$file" >/dev/null
        setfattr -n system.ntfs_times -v "$value" "$place/$file"
        # shellcheck disable=SC2046
        expect "times of $file" "$(unix 132223104000000000 132223968000000000 132224832000000000)" \
            "$(unix $(getfattr --absolute-names --only-values -n system.ntfs_times "$place/$file" | od -An -t u8 -N 24))"
    done
    unmount "$place"
    mounted allow_other
    for file in old-directory old-file; do
        expect "times of $file after a remount" "$(unix 132223104000000000 132223968000000000)" \
            "$(stat -c '%W %Y' "$place/$file")"
    done
    unmount "$place"
}

unix() {
    local result=()
    while [ $# -gt 0 ]; do
        result+=($(($1 / 10000000 - 11644473600)))
        shift
    done
    echo "${result[*]}"
}

# What is listed goes through archives and copies, to another volume and view.
tar_and_cp() {
    make_volume second.casefs 64M
    mkdir second
    mounted allow_other
    mount_volume "$work/second.casefs" "$work/second" streams=samba
    tar -C "$place" --xattrs --xattrs-include='*' -cf - file directory | tar -C second --xattrs --xattrs-include='*' -xf -
    expect "attributes through tar" "security.s trusted.t user.Zone user.a:b user.dos " "$(names second/file)"
    expect "a value through tar" internet "$(value second/file user.Zone)"
    cp -a "$place/file" second/copy
    expect "attributes through cp" "security.s trusted.t user.Zone user.a:b user.dos " "$(names second/copy)"
    expect "a value through cp" 2 "$(value second/copy security.s)"
    unmount "$work/second"
    unmount "$place"
    "$fsck_program" -n "$device" >fsck.log || fail "after all: $(cat fsck.log)"
}

main "$@"
