#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Wine with its prefix on a mount of casefs where case does not matter: the prefix is made there,
# programs open files under other spellings, and for that no directory is listed; which is counted,
# beside the same prefix on a file system where case matters.
#
# WINE_FILES files are opened (300).

# shellcheck source=tests/mount/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_fuse
requires wine wineboot wineserver strace jq

files=${WINE_FILES-300}
device=$work/prefix.casefs
here=$work/here
unset DISPLAY
export HOME=$work WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml=' # and without .NET and HTML

at_exit() {
    no_wine
    unmount_all
}

main() {
    cd "$work"
    make_volume "$device" 2G --case=insensitive
    mount_volume "$device" "$here"
    make_prefix "$here/prefix"
    spellings
    names_that_change
    attributes
    registry
    programs
    no_listings
    no_wine
    unmount "$here"
    on_the_volume
    "$fsck_program" -n "$device" >fsck.out || fail "the volume is damaged: $(cat fsck.out)"
}

# run_wine ARGUMENT...: its output in wine.out, without carriage returns.
run_wine() {
    timeout 120 wine "$@" </dev/null 2>wine.err | tr -d '\r' >wine.out
}

# dos COMMAND: of cmd.exe.
dos() {
    run_wine cmd /d /c "$1" || fail "'$1' exited with $?: $(cat wine.out wine.err)"
}

# it_prints COMMAND TEXT
it_prints() {
    dos "$1"
    [ "$(cat wine.out)" = "$2" ] || fail "'$1' printed '$(cat wine.out)' instead of '$2'"
}

no_wine() {
    [ -z "${WINEPREFIX-}" ] || timeout 60 wineserver -k || :
    [ -z "${WINEPREFIX-}" ] || timeout 60 wineserver -w || :
}

make_prefix() {
    export WINEPREFIX=$1
    timeout 300 wineboot --init </dev/null >boot.log 2>&1 || fail "wineboot failed: $(cat boot.log)"
    timeout 60 wineserver -w
    [ -s "$1/system.reg" ] || fail "wineboot wrote no registry: $(cat boot.log)"
    [ -s "$1/drive_c/WINDOWS/SYSTEM32/KERNEL32.DLL" ] || fail "wineboot installed no kernel32.dll"
    [ -s "$1/drive_c/windows/win.ini" ] || fail "wineboot made no win.ini"
}

spellings() {
    dos 'type C:\WINDOWS\WIN.INI'
    grep -q '^\[' wine.out || fail "WIN.INI is $(cat wine.out)"
    dos 'md C:\Games\Data'
    dos 'echo the text>C:\Games\Data\ReadMe.Text'
    it_prints 'type C:\GAMES\dATA\README.TEXT' "the text"
    it_prints 'cd /d C:\GAMES\dATA && type readme.text' "the text"
    [ "$(tr -d "\r" <"$WINEPREFIX/DRIVE_C/games/data/readme.text")" = "the text" ] ||
        fail "a Linux program does not read what Wine wrote"
    dos 'echo new>C:\games\data\README.text'
    [ "$(ls "$WINEPREFIX/drive_c/Games/Data")" = ReadMe.Text ] ||
        fail "a file written under another spelling is there twice: $(ls "$WINEPREFIX/drive_c/Games/Data")"
    ! run_wine cmd /d /c 'md C:\GAMES\DATA' || fail "md made a directory that is there in another spelling"
    ! run_wine cmd /d /c 'type C:\GAMES\DATA\README.TEXTS' || fail "type printed a file that is not there"
    echo linux >"$WINEPREFIX/drive_c/Games/FromLinux.cfg"
    it_prints 'type c:\games\fromLINUX.CFG' linux
    it_prints 'if exist C:\GAMES\FROMLINUX.CFG echo yes' yes
    it_prints 'dir /b C:\GAMES\*.CFG' FromLinux.cfg
    dos 'echo x>C:\Games\Grüße.Ä'
    it_prints 'type C:\Games\GRÜßE.ä' x
}

names_that_change() {
    dos 'copy C:\GAMES\data\readme.text C:\games\Copy.txt'
    dos 'ren C:\GAMES\COPY.TXT Renamed.txt'
    dos 'move C:\GAMES\RENAMED.TXT C:\GAMES\DATA\Moved.txt'
    [ "$(ls "$WINEPREFIX/drive_c/games/data")" = "Moved.txt
ReadMe.Text" ] || fail "after ren and move there is $(ls "$WINEPREFIX/drive_c/games/data")"
    dos 'del C:\GAMES\DATA\MOVED.TXT'
    [ ! -e "$WINEPREFIX/drive_c/games/data/moved.txt" ] || fail "del left the file"
    dos 'md C:\Games\Empty'
    dos 'rd C:\GAMES\EMPTY'
    dos 'xcopy /e /i C:\GAMES\DATA C:\GAMES\MORE'
    it_prints 'type C:\Games\More\README.text' new
}

attributes() {
    dos 'attrib +h C:\GAMES\FROMLINUX.CFG'
    dos 'attrib C:\games\fromlinux.cfg'
    grep -q '^[A ]*H' wine.out || fail "attrib +h left '$(cat wine.out)'"
    dos 'attrib +r C:\GAMES\DATA\README.TEXT'
    dos 'attrib C:\games\data\readme.text'
    grep -q '^[A ]*R' wine.out || fail "attrib +r left '$(cat wine.out)'"
    [ "$(stat -c %a "$WINEPREFIX/drive_c/games/data/README.text")" = 444 ] ||
        fail "the mode after attrib +r is $(stat -c %a "$WINEPREFIX/drive_c/games/data/README.text")"
    dos 'attrib -r C:\GAMES\DATA\README.TEXT'
}

registry() {
    run_wine reg add 'HKCU\Software\Casefs' /v Name /d 'a value' /f || fail "reg add failed: $(cat wine.out)"
    no_wine # which writes the registry to its files
    grep -q '"Name"="a value"' "$WINEPREFIX/user.reg" || fail "the registry was not written"
    run_wine reg query 'HKCU\Software\Casefs' || fail "reg query failed"
    grep -q 'Name *REG_SZ *a value' wine.out || fail "reg query printed $(cat wine.out)"
}

# A program on the volume itself, run by another spelling.
programs() {
    local program
    program=$(find /usr/lib -path '*x86_64-windows/hostname.exe' 2>/dev/null | head -n 1)
    [ -n "$program" ] || fail "Wine has no hostname.exe"
    cp "$program" "$WINEPREFIX/drive_c/Games/Tool.exe"
    run_wine 'C:\GAMES\TOOL.EXE' || fail "C:\\GAMES\\TOOL.EXE exited with $?"
    [ "$(tr '[:upper:]' '[:lower:]' <wine.out)" = "$(hostname | cut -d. -f1 | tr '[:upper:]' '[:lower:]')" ] ||
        fail "C:\\GAMES\\TOOL.EXE printed $(cat wine.out)"
}

# ------------------------------------------------------------------- listings

no_listings() {
    local i other=$work/prefix
    mkdir "$WINEPREFIX/drive_c/Games/Levels"
    for i in $(seq "$files"); do
        echo "$i" >"$WINEPREFIX/drive_c/Games/Levels/LevelNumber$i.data"
    done
    printf '%s\r\n' '@echo off' \
        "for /L %%i in (1,1,$files) do type C:\\GAMES\\levels\\LEVELnumber%%i.DATA >>C:\\out.txt" \
        "for /L %%i in (1,1,$files) do type C:\\GAMES\\levels\\MISSINGnumber%%i.DATA 2>>C:\\errors.txt" \
        >"$WINEPREFIX/drive_c/run.bat"
    no_wine
    cp -a "$WINEPREFIX" "$other"
    count_listings casefs
    [ "$listings" -eq 0 ] || fail "Wine listed the directory: getdents64 was called $listings times"
    [ "$flags" -gt 0 ] || fail "Wine never asked whether case matters (FS_IOC_GETFLAGS)"
    no_wine
    WINEPREFIX=$other count_listings "$(stat -f -c %T "$work")"
    WINEPREFIX=$other timeout 60 wineserver -k || :
    [ "$listings" -ge "$files" ] ||
        fail "the count is not to be trusted: getdents64 was called $listings times where case matters"
}

# count_listings WHERE: of C:\Games and below, in $listings; of FS_IOC_GETFLAGS in $flags.
count_listings() {
    local started milliseconds
    rm -f "$WINEPREFIX/drive_c/out.txt"
    started=$(date +%s%N)
    timeout 300 strace -f --seccomp-bpf -y -o "$work/calls" -e trace=getdents64,ioctl \
        wine cmd /d /c 'C:\RUN.BAT' </dev/null >run.out 2>&1 || : # the last file is missing
    milliseconds=$((($(date +%s%N) - started) / 1000000))
    [ "$(tr -d '\r' <"$WINEPREFIX/drive_c/out.txt")" = "$(seq "$files")" ] ||
        fail "what was read by other spellings is wrong: $(head -c 200 "$WINEPREFIX/drive_c/out.txt")"
    listings=$(grep -ic 'getdents64([0-9]*<[^>]*/drive_c/Games' calls || :)
    flags=$(grep -ic 'ioctl([0-9]*<[^>]*/drive_c/Games[^>]*>, FS_IOC_GETFLAGS' calls || :)
    echo "$1: $listings calls of getdents64 and $flags of FS_IOC_GETFLAGS for $files files opened by" \
        "other spellings and $files that are missing, $milliseconds ms under strace"
}

on_the_volume() {
    "$casefs_program" attrib "$device:/prefix/drive_c/games/fromlinux.cfg" | grep -q '^[A ]*H' ||
        fail "what attrib +h set is not on the volume: $("$casefs_program" attrib "$device:/prefix/drive_c/games/fromlinux.cfg")"
    "$casefs_program" case "$device:/prefix/drive_c/Games/Data" | grep -q insensitive ||
        fail "a directory that Wine made is not insensitive"
}

main
