#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Everyday programs on a mount of casefs: tar, rsync, cp, git, a compiler, SQLite, chattr, flock,
# find and others do there what they do on any file system.  Each that is not installed is left out.
# Arguments: the tests to run, if not all.

# shellcheck source=tests/mount/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_fuse
PATH=$PATH:/usr/sbin:/sbin
requires "$python" cc setpriv getfattr setfattr getfacl setfacl lsattr chattr mkfs.ext4 jq

device=$work/volume.casefs
here=$work/here       # casefs
outside=$work/outside # ext4, to compare with and to copy from and to
user=65534

main() {
    umask 022
    cd "$work"
    make_volume "$device" 1G
    make_ext4 "$outside" 512M
    mount_volume "$device" "$here" allow_other,suid,dev
    make_tree "$outside/tree"
    local name tests
    tests=("$@")
    [ $# -gt 0 ] || mapfile -t tests < <(declare -F | sed -n 's/^declare -f \(with_.*\)/\1/p')
    [ ${#tests[@]} -gt 0 ] || fail "no tests were found"
    for name in "${tests[@]}"; do
        mkdir "$here/$name"
        (
            cd "$here/$name"
            "$name"
        )
        rm -rf "${here:?}/$name" || fail "what $name left cannot be removed"
    done
    local left
    left=$(find "$here" -mindepth 1)
    [ -z "$left" ] || fail "after all, there is still $left"
    unmount "$here"
    "$fsck_program" -n "$device" >fsck.out || fail "the volume is damaged: $(cat fsck.out)"
}

# has PROGRAM...: or says that what needs it is left out.
has() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null && continue
        echo "${FUNCNAME[1]}: left out, $program is not installed"
        return 1
    done
}

# run COMMAND...: quiet success.
run() {
    "$@" >"$work/run.out" 2>&1 || fail "'$*' exited with $?: $(tail -n 20 "$work/run.out")"
}

# refuses TEXT COMMAND...: it must fail and say so.
refuses() {
    local text=$1
    shift
    ! "$@" >"$work/run.out" 2>&1 || fail "'$*' succeeded, though '$text' was expected"
    grep -qF -- "$text" "$work/run.out" || fail "'$*' did not say '$text' but: $(cat "$work/run.out")"
}

# equals WHAT EXPECTED FOUND
equals() {
    [ "$3" = "$2" ] || fail "$1: $3 instead of $2"
}

# A tree with every kind of node, ACLs, attributes and links.
make_tree() {
    mkdir -p "$1"/{empty,acl/inner,deep/a/b/c}
    echo "plain" >"$1/plain"
    head -c 3000000 /dev/urandom >"$1/random"
    truncate -s 50M "$1/sparse"
    echo middle | dd of="$1/sparse" bs=1 seek=20000000 conv=notrunc status=none
    : >"$1/nothing"
    echo "of two names" >"$1/deep/first"
    ln "$1/deep/first" "$1/deep/a/second"
    ln -s ../plain "$1/deep/symbolic"
    ln -s nowhere "$1/dangling"
    mkfifo "$1/fifo"
    mknod "$1/null" c 1 3
    mknod "$1/block" b 7 200
    "$python" -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$1/socket"
    echo "named" >"$1/with  spaces
and a newline"
    printf 'x' >"$1/Grüße"
    setfattr -n user.comment -v "a comment" "$1/plain"
    setfattr -n user.binary -v 0x00ff00 "$1/deep"
    setfattr -n trusted.note -v "for root" "$1/plain"
    setfacl -m u:1:r-x,g:2:rw-,m::rw- "$1/plain"
    setfacl -m u:1:rwx "$1/acl"
    setfacl -d -m u:1:rwx,g:2:r-x "$1/acl"
    chown 1:2 "$1/random"
    chmod 4755 "$1/nothing"
    chmod 1777 "$1/empty"
    chown -h 3:4 "$1/dangling"
    touch -h -d '2001-02-03 04:05:06.1234567' "$1/dangling" "$1/plain" "$1/deep/a/b/c" "$1/fifo"
    touch -d '1960-01-01 00:00:00.5' "$1/random"
    touch -d '2040-06-07 08:09:10.0000001' "$1/acl"
}

# same_trees A B: in everything that rsync compares (a checksum, modes, owners, times, links, ACLs,
# attributes).
same_trees() {
    local found
    found=$(rsync -aXAHSn --checksum --delete --itemize-changes "$1/" "$2/" 2>&1) || fail "rsync: $found"
    [ -z "$found" ] || fail "$1 and $2 differ:
$found"
}

# ---------------------------------------------------------------- copies of trees

with_cp() {
    has rsync || return 0
    run cp -a "$outside/tree" in
    same_trees "$outside/tree" in
    run cp -a --reflink=auto --sparse=always in within
    same_trees in within
    run cp -a in "$outside/cp"
    same_trees "$outside/tree" "$outside/cp"
    [ "$(du -k in/sparse | cut -f1)" -lt 1000 ] || fail "cp -a wrote the holes of a sparse file: $(du -k in/sparse)"
    run diff -r --no-dereference "$outside/tree/deep" in/deep
}

with_tar() {
    has tar rsync || return 0
    local options=(--xattrs '--xattrs-include=*' --acls --numeric-owner --sparse --format=posix)
    run tar "${options[@]}" -C "$outside/tree" -cf first.tar .
    mkdir in
    run tar "${options[@]}" -C in -xpf first.tar
    rm in/socket 2>/dev/null || : # tar leaves sockets out
    cp -a "$outside/tree/socket" in/socket
    touch -r "$outside/tree" in
    same_trees "$outside/tree" in
    run tar "${options[@]}" -C in -cf second.tar .
    mkdir "$outside/tar"
    run tar "${options[@]}" -C "$outside/tar" -xpf second.tar
    cp -a "$outside/tree/socket" "$outside/tar/socket"
    touch -r "$outside/tree" "$outside/tar"
    same_trees "$outside/tree" "$outside/tar"
    run tar "${options[@]}" -C in --compare -f second.tar
}

# With -o list_system_xattrs tar takes along what Windows knows.
with_tar_and_windows_metadata() {
    has tar || return 0
    local options=(--xattrs '--xattrs-include=*' --acls) file
    mkdir first second
    run "$mount_program" -o list_system_xattrs,case=insensitive mem:64M first
    run "$mount_program" -o list_system_xattrs,case=insensitive mem:64M second
    echo text >first/File
    mkdir first/Directory
    setfattr -n user.stream -v "in a stream" first/File
    setfattr -n system.ntfs_attrib -v 0x06000000 first/File
    setfattr -n system.ntfs_acl -v 0x0100048014000000240000000000000034000000010200000000000520000000200200000102000000000005200000002002000002001c000100000000001400ff011f00010100000000000100000000 first/Directory
    setfattr -n system.ntfs_crtime -v 0x0080c2a9d6d1bf01 first/File
    run tar "${options[@]}" -C first -cf archive.tar .
    run tar "${options[@]}" --xattrs-exclude=system.ntfs_object_id -C second -xpf archive.tar
    for file in File Directory; do
        equals "what tar brought of $file" "$(windows_metadata "first/$file")" "$(windows_metadata "second/$file")"
    done
    windows_metadata first/File | grep -q 'system.ntfs_crtime=0x0080c2a9d6d1bf01' || fail "the time of creation is not listed: $(windows_metadata first/File)"
    umount first
    umount second
}

# The number differs, and when it was accessed and last changed.
windows_metadata() {
    (cd "${1%/*}" && getfattr -d -m - -e hex "${1##*/}") |
        grep -vE 'object_id' | sed -E '/ntfs_times=/s/.{32}$//; /ntfs_times_be=/s/.{32}$//; /DOSATTRIB/d'
}

with_rsync() {
    has rsync || return 0
    run rsync -aXAHS "$outside/tree/" in/
    same_trees "$outside/tree" in
    equals "what a second rsync copies" "" "$(rsync -aXAHS --itemize-changes "$outside/tree/" in/)"
    run rsync -aXAHS in/ "$outside/rsync/"
    same_trees "$outside/tree" "$outside/rsync"
    equals "what a second rsync copies out" "" "$(rsync -aXAHS --itemize-changes in/ "$outside/rsync/")"
    echo more >>in/plain
    touch -r "$outside/tree/plain" in/plain
    equals "what rsync finds changed" ">f.s....... plain" \
        "$(rsync -aXAHS --itemize-changes in/ "$outside/rsync/" | grep -v '^\.')"
    run rsync -a --inplace "$outside/tree/random" in/random
    cmp "$outside/tree/random" in/random || fail "rsync --inplace wrote something else"
}

# ------------------------------------------------------------------- developers

# A repository in which two names differ only in case.
make_repository() {
    run git init -q -b main "$outside/repository"
    (
        cd "$outside/repository"
        git config user.name Test
        git config user.email test@localhost
        mkdir fs
        cp "$top"/fs/*.[ch] fs/
        echo "large letters" >fs/README
        echo "small letters" >fs/readme
        mkdir Docs docs
        echo 1 >Docs/one
        echo 2 >docs/two
        run git add .
        run git commit -qm first
        echo more >>fs/README
        run git commit -qam second
    )
}

with_git() {
    has git || return 0
    export HOME=$work GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
    [ -d "$outside/repository" ] || make_repository
    run git clone "$outside/repository" clone
    equals "git status" "" "$(git -C clone status --porcelain 2>&1)"
    equals "core.ignorecase where case counts" "" "$(git -C clone config --bool core.ignorecase || :)"
    run git -C clone checkout -q HEAD~
    run git -C clone checkout -q main
    run git -C clone gc -q --prune=now
    run git -C clone fsck --strict
    run git -C clone stash list
    git -C clone mv fs/casefs.h fs/CASEFS.h
    equals "git status" "R  fs/casefs.h -> fs/CASEFS.h" "$(git -C clone status --porcelain)"
    run git clone -q clone again
    run git -C again fsck
    run git -C again worktree add -q ../worktree HEAD~
}

# Where case does not matter git warns and takes one of two such files.
with_git_and_names_that_collide() {
    has git || return 0
    export HOME=$work GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
    [ -d "$outside/repository" ] || make_repository
    mkdir nocase
    run chattr +F nocase
    run git clone "$outside/repository" nocase/clone
    grep -qF "the following paths have collided" "$work/run.out" ||
        fail "git clone did not warn of colliding names: $(cat "$work/run.out")"
    equals "core.ignorecase where case does not count" true "$(git -C nocase/clone config core.ignorecase)"
    equals "how many of README and readme there are" 1 "$(find nocase/clone/fs -iname readme | wc -l)"
    equals "files in Docs" "one two" "$(ls nocase/clone/DOCS | tr '\n' ' ' | sed 's/ $//')"
    equals "files that differ from those committed" 1 "$(git -C nocase/clone status --porcelain | wc -l)"
    run git -C nocase/clone fsck --strict
    # The same by hand: a clear EEXIST.
    : >nocase/one
    mkdir nocase/Two
    refuses "File exists" mkdir nocase/TWO
    refuses "File exists" mkdir nocase/ONE
    refuses "File exists" ln nocase/one nocase/One
    refuses "File exists" ln -s x nocase/ONE
    refuses "File exists" mkfifo nocase/ONE
    refuses "cannot overwrite existing file" bash -c 'set -C; : >nocase/ONE'
    refuses "are the same file" cp nocase/one nocase/ONE
    refuses "Directory not empty" chattr -F nocase
}

with_a_compiler() {
    has cmake ninja || return 0
    mkdir source
    cp -a "$top"/{CMakeLists.txt,LICENSE,README.md,fs,plugin,tools} source/
    run cmake -S source -B build -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS=-O0 -DBUILD_TESTING=OFF
    run ninja -C build mkfs.casefs
    equals "what a second build does" "ninja: no work to do." "$(ninja -C build mkfs.casefs | tail -n 1)"
    touch source/fs/format.c
    equals "how much is compiled after a change" 1 "$(ninja -C build mkfs.casefs | grep -c 'Building C')"
    run build/tools/mkfs.casefs -q --size=2M made.casefs
    local objects
    mapfile -t objects < <(find build -name '*.o')
    run ar crs libcopy.a "${objects[@]}"
    echo 'int main(void) { return 42; }' >program.c
    run cc -o program program.c -L. -lcopy
    local status=0
    ./program || status=$?
    equals "the exit status of what was compiled" 42 "$status"
}

with_make() {
    has make || return 0
    printf 'all: a b\na: source\n\tcp source a\nb: a\n\tcp a b\n' >Makefile
    echo 1 >source
    run make
    equals "what a second make does" "make: Nothing to be done for 'all'." "$(make)"
    echo 2 >source
    run make
    equals "what make made anew" 2 "$(cat b)"
}

# --------------------------------------------------------------------- databases

with_sqlite() {
    local mode
    for mode in delete truncate persist wal; do
        run "$python" - $mode <<'END'
import multiprocessing, sqlite3, sys
mode = sys.argv[1]
path = f'{mode}.db'
def connect():
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    return connection
def work(number):
    connection = connect()
    for i in range(50):
        connection.execute('BEGIN IMMEDIATE')
        count, = connection.execute('SELECT n FROM counter').fetchone()
        connection.execute('UPDATE counter SET n = ?', (count + 1,))
        connection.execute('INSERT INTO text VALUES (?, ?)', (number * 1000 + i, 'x' * i * 20))
        connection.execute('COMMIT')
    connection.close()
connection = connect()
assert connection.execute(f'PRAGMA journal_mode = {mode}').fetchone()[0] == mode
connection.execute('CREATE TABLE counter (n)')
connection.execute('CREATE TABLE text (id INTEGER PRIMARY KEY, value)')
connection.execute('INSERT INTO counter VALUES (0)')
processes = [multiprocessing.Process(target=work, args=(n,)) for n in range(4)]
for p in processes: p.start()
for p in processes: p.join()
assert all(p.exitcode == 0 for p in processes), [p.exitcode for p in processes]
n, = connection.execute('SELECT n FROM counter').fetchone()
assert n == 200, f'{mode}: the counter is {n}, not 200'
rows, = connection.execute('SELECT count(*) FROM text').fetchone()
assert rows == 200, f'{mode}: {rows} rows, not 200'
connection.execute('BEGIN'); connection.execute('DELETE FROM text'); connection.execute('ROLLBACK')
assert connection.execute('SELECT count(*) FROM text').fetchone()[0] == 200
connection.execute('VACUUM')
assert connection.execute('PRAGMA integrity_check').fetchone()[0] == 'ok'
connection.close()
END
    done
}

# ------------------------------------------------------------ single programs

with_chattr() {
    mkdir directory
    equals "lsattr of a new directory" "----------------------" "$(lsattr -d directory | cut -d' ' -f1)"
    run chattr +F directory
    lsattr -d directory | grep -q '^-*F-* ' || fail "chattr +F left $(lsattr -d directory)"
    mkdir directory/inner
    lsattr -d directory/inner | grep -q '^-*F-* ' || fail "the flag was not inherited: $(lsattr -d directory/inner)"
    : >directory/File
    [ -e directory/fILE ] || fail "another spelling was not found after chattr +F"
    refuses "Directory not empty" chattr -F directory
    rm directory/FILE
    rmdir directory/INNER
    run chattr -F directory
    : >directory/File
    [ ! -e directory/fILE ] || fail "another spelling was found after chattr -F"
    refuses "Operation not supported" chattr +i directory/File
}

with_setfattr_for_new_spellings() {
    mkdir nocase
    run chattr +F nocase
    echo text >nocase/readme.txt
    equals "the stored spelling" readme.txt "$(getfattr --only-values -n system.casefs_name nocase/README.TXT)"
    run setfattr -n system.casefs_name -v ReadMe.TXT nocase/readme.txt
    equals "the listing after the change" ReadMe.TXT "$(ls nocase)"
    equals "the contents" text "$(cat nocase/rEADME.txt)"
    refuses "nvalid argument" setfattr -n system.casefs_name -v other nocase/readme.txt
    mv nocase/README.TXT nocase/between
    mv nocase/Between nocase/Readme.txt
    equals "the listing after two moves" Readme.txt "$(ls nocase)"
}

with_flock() {
    has flock || return 0
    : >lock
    flock lock sleep 1000 &
    local holder=$!
    wait_for 5 locked || fail "flock did not lock"
    ! flock -n lock true || fail "a lock that is held was given again"
    run flock -n -s other true
    pkill -P $holder # the child, which holds the lock too
    wait $holder || :
    run flock -w 10 lock true
    run "$python" - <<'END'
import fcntl, os
descriptor = os.open('lock', os.O_RDWR)
fcntl.lockf(descriptor, fcntl.LOCK_EX, 10, 0)
if os.fork() == 0:
    other = os.open('lock', os.O_RDWR)
    try:
        fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)
        os._exit(1)
    except BlockingIOError:
        pass
    fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 10)
    os._exit(0)
assert os.wait()[1] == 0, 'record locks of two processes do not exclude each other'
END
}

locked() {
    ! flock -n lock true
}

with_find() {
    mkdir -p tree/{a,b}
    touch -d '2020-01-01 00:00:00.1' tree/a/older
    touch -d '2020-01-01 00:00:00.2' tree/reference
    touch -d '2020-01-01 00:00:00.2000001' tree/b/newer
    touch -d '2020-01-01' tree tree/a tree/b
    equals "find -newer" tree/b/newer "$(find tree -newer tree/reference)"
    equals "find -newermt" tree/b/newer "$(find tree -type f -newermt '2020-01-01 00:00:00.20000005')"
    equals "find -type d" "tree tree/a tree/b" "$(find tree -type d | sort | xargs)"
    equals "find -size" "" "$(find tree -type f -size +0)"
    run find tree -name older -delete
    [ ! -e tree/a/older ] || fail "find -delete left the file"
    (cd tree && seq 3000 | xargs touch)
    equals "files found" 3000 "$(find tree -name '[0-9]*' | wc -l)"
    run find tree -name '[0-9]*' -delete
    equals "files left" 0 "$(find tree -name '[0-9]*' | wc -l)"
}

with_touch_and_stat() {
    local before now
    before=$(date +%s)
    touch -d '2001-02-03 04:05:06.123456789' file
    now=$(date +%s)
    equals "touch -d, to 100 ns" "2001-02-03 04:05:06.123456700" "$(stat -c %y file | cut -d' ' -f1,2)"
    local birth
    birth=$(stat -c %W file)
    [ "$birth" -ge "$before" ] && [ "$birth" -le "$now" ] || fail "the time of birth is $birth, not from $before to $now"
    touch -d '1700-01-01' file
    equals "a year long ago" 1700 "$(stat -c %y file | cut -c1-4)"
    equals "the block size" 4096 "$(stat -c %o file)"
    equals "the type of file system" "fuseblk fuse" "$(stat -f -c %T . | sed 's/^fuse$/fuseblk fuse/;s/^fuseblk$/fuseblk fuse/')"
    mv file moved
    equals "the time of birth after mv" "$birth" "$(stat -c %W moved)"
}

with_links() {
    echo text >one
    run ln one two
    equals "the count of links" 2 "$(stat -c %h one)"
    equals "the node's number" "$(stat -c %i one)" "$(stat -c %i two)"
    echo more >>two
    equals "contents by the first name" "text more" "$(xargs <one)"
    rm one
    equals "the count of links after rm" 1 "$(stat -c %h two)"
    run ln -s two three
    equals "where a symbolic link leads" two "$(readlink three)"
    equals "what it reads" "text more" "$(xargs <three)"
    refuses "Operation not permitted" link . four
}

with_fifos_sockets_and_devices() {
    mkfifo fifo
    cat fifo >got &
    echo "through it" >fifo
    wait $!
    equals "what came through a FIFO" "through it" "$(cat got)"
    mknod zero c 1 5
    equals "bytes of a device" 10 "$(head -c 10 zero | wc -c)"
    run "$python" - <<'END'
import os, socket
server = socket.socket(socket.AF_UNIX)
server.bind('socket')
server.listen()
client = socket.socket(socket.AF_UNIX)
client.connect('socket')
client.send(b'text')
assert server.accept()[0].recv(10) == b'text'
END
}

with_programs_to_run() {
    cp "$(command -v id)" id
    equals "a program run from here" 0 "$(./id -u)"
    printf '#!/bin/sh\necho "$1"\n' >script
    refuses "Permission denied" ./script x
    chmod +x script
    equals "a script run from here" x "$(./script x)"
    chown 1 id
    chmod 4755 id
    chmod 755 .
    equals "a setuid program run by another user" 1 "$(setpriv --reuid $user --clear-groups ./id -u)"
    echo x >>id
    equals "its mode after root wrote to it" 4755 "$(stat -c %a id)"
    chmod 4777 id
    setpriv --reuid $user --regid $user --clear-groups bash -c 'echo x >>id'
    equals "its mode after a user wrote to it" 777 "$(stat -c %a id)"
    cp "$(command -v sleep)" busy
    ./busy 1000 &
    local pid=$!
    sleep 0.2
    refuses "Text file busy" bash -c 'echo x >>busy'
    kill $pid
}

with_mmap() {
    run "$python" - <<'END'
import mmap, os
descriptor = os.open('file', os.O_RDWR | os.O_CREAT)
os.ftruncate(descriptor, 100000)
shared = mmap.mmap(descriptor, 100000)
shared[50000:50005] = b'hello'
assert os.pread(descriptor, 5, 50000) == b'hello', 'what was mapped is not read'
os.pwrite(descriptor, b'world', 70000)
assert shared[70000:70005] == b'world', 'what was written is not mapped'
shared.flush()
private = mmap.mmap(descriptor, 100000, flags=mmap.MAP_PRIVATE)
private[0:1] = b'x'
assert os.pread(descriptor, 1, 0) == b'\0', 'a private mapping was written'
private.close()
shared.close()
os.close(descriptor)
with open('file', 'rb') as file:
    data = file.read()
assert len(data) == 100000 and data[50000:50005] == b'hello' and data[70000:70005] == b'world'
END
    cp "$(command -v id)" program # run, which maps it
    equals "a program" 0 "$(./program -u)"
}

with_unlinked_files() {
    local before after
    sync .
    before=$(df --output=used -k . | tail -n 1)
    exec 3<>temporary
    rm temporary
    head -c 20000000 /dev/zero | tr '\0' x >&3
    equals "the size of a file without a name" 20000000 "$(stat -Lc %s /proc/self/fd/3)"
    equals "its count of links" 0 "$(stat -Lc %h /proc/self/fd/3)"
    equals "its first byte" x "$(head -c 1 /proc/self/fd/3)"
    exec 3>&-
    "$python" -c 'import os; os.fsync(os.open(".", os.O_RDONLY))'
    after=$(df --output=used -k . | tail -n 1)
    [ $((after - before)) -lt 4000 ] || fail "the space of an unlinked file was not freed: $before KiB, then $after"
    run mktemp -p .
    "$python" -c 'import tempfile; f = tempfile.TemporaryFile(dir="."); f.write(b"x"); f.flush()' ||
        fail "Python's temporary files do not work"
}

with_df_and_du() {
    equals "the type in df" fuse.casefs "$(df --output=fstype . | tail -n 1)"
    equals "the size in df" $((1024 * 1024)) "$(($(df --output=size -k . | tail -n 1)))"
    head -c 10000000 /dev/urandom >file
    "$python" -c 'import os; os.fsync(os.open("file", os.O_RDONLY))'
    local kilobytes
    kilobytes=$(du -k file | cut -f1)
    [ "$kilobytes" -ge 9700 ] && [ "$kilobytes" -le 9900 ] || fail "du tells $kilobytes KiB of 10000000 bytes"
    [ "$(df --output=iavail . | tail -n 1)" -gt 1000 ] || fail "df -i tells $(df --output=iavail . | tail -n 1) free nodes"
}

with_dd_and_truncate() {
    head -c 1000000 /dev/urandom >original
    run dd if=original of=copy bs=4k oflag=sync
    run cmp original copy
    run dd if=original of=copy bs=64k conv=fsync,notrunc
    run cmp original copy
    truncate -s 5000 copy
    truncate -s 1M copy
    cmp -n 5000 original copy || fail "the beginning of a truncated file has changed"
    equals "bytes that are not zero behind it" 0 "$(tail -c +5001 copy | tr -d '\0' | wc -c)"
    run fallocate -l 2M allocated
    run fallocate -p -o 4096 -l 8192 original
    equals "bytes that are not zero in a hole" 0 "$(tail -c +4097 original | head -c 8192 | tr -d '\0' | wc -c)"
    run dd if=original of=direct bs=4k iflag=direct oflag=direct count=8
}

with_another_user() {
    mkdir shared
    chmod 1777 shared
    chmod 755 .
    local as=(setpriv --reuid "$user" --regid "$user" --clear-groups)
    run "${as[@]}" bash -c 'echo text >shared/mine'
    equals "the owner" "$user $user" "$(stat -c '%u %g' shared/mine)"
    echo secret >secret
    chmod 600 secret
    refuses "Permission denied" "${as[@]}" cat secret
    refuses "Permission denied" "${as[@]}" touch new
    : >shared/roots
    refuses "Operation not permitted" "${as[@]}" rm -f shared/roots
    setfacl -m u:$user:r secret
    equals "a file that an ACL lets read" secret "$("${as[@]}" cat secret)"
}

with_sort_grep_and_sed() {
    seq 200000 | shuf --random-source=<(yes) >numbers
    run sort -n -T . -S 1M -o sorted numbers
    seq 200000 | cmp - sorted || fail "sort -T . sorted wrongly"
    sed -i 's/^1$/one/' sorted
    equals "the first line after sed -i" one "$(head -n 1 sorted)"
    equals "lines with a 7" "$(seq 200000 | grep -c 7)" "$(grep -c 7 numbers)"
    run gzip -k sorted
    run gunzip -t sorted.gz
    run split -l 10000 numbers part.
    cat part.* | cmp - numbers || fail "the parts that split made are not the whole"
    run install -m 640 -o 1 -g 2 numbers installed
    equals "what install made" "640 1 2" "$(stat -c '%a %u %g' installed)"
}

main "$@"
