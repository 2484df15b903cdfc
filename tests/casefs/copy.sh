#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# casefs cp, export and import: a tree with every kind of node goes in, out, within, from volume to
# volume and through tar, and is compared; what must be refused is.

# shellcheck source=tests/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"
requires tar jq "$python"

PATH=${CASEFS_PROGRAMS:-$build/tools/casefs:$build/tools}:$PATH
for program in casefs mkfs.casefs; do
    command -v $program >/dev/null || skip "$program was not built"
done
unset CASEFS
umask 022
cd "$work"
as_root=$([ "$EUID" -eq 0 ] && echo yes || echo no)

# expect_failure STATUS TEXT COMMAND...: it must exit so, and say so.
expect_failure() {
    local status=$1 text=$2 found=0
    shift 2
    "$@" >said.out 2>said.err </dev/null || found=$?
    [ "$found" = "$status" ] || fail "'$*' exited with $found, not $status: $(cat said.err)"
    grep -qF -- "$text" said.err || fail "'$*' did not say '$text' but: $(cat said.err)"
}

# Quiet success.
run() {
    "$@" 2>said.err || fail "'$*' exited with $?: $(cat said.err)"
    [ ! -s said.err ] || fail "'$*' complained: $(cat said.err)"
}

# manifest DIRECTORY: all that a local tree is, a line to a node.
manifest() {
    "$python" - "$1" <<'END'
import hashlib, os, stat, sys
top = os.fsencode(sys.argv[1])
first = {}
def line(path, name):
    s = os.lstat(path)
    words = [repr(name), oct(s.st_mode), s.st_uid, s.st_gid, s.st_mtime_ns // 100, s.st_nlink]
    if not stat.S_ISDIR(s.st_mode):
        words.append(first.setdefault(s.st_ino, name))
    if stat.S_ISREG(s.st_mode):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOATIME)
        digest = hashlib.sha256()
        while block := os.read(descriptor, 1 << 20):
            digest.update(block)
        os.close(descriptor)
        words += [s.st_size, digest.hexdigest()[:16]]
    if stat.S_ISLNK(s.st_mode):
        words.append(os.readlink(path))
    if stat.S_ISCHR(s.st_mode) or stat.S_ISBLK(s.st_mode):
        words.append(s.st_rdev)
    print(*words, sep='\t')
for folder, folders, files in os.walk(top):
    folders.sort()
    line(folder, folder[len(top):])
    for name in sorted(files) + [f for f in folders if os.path.islink(os.path.join(folder, f))]:
        path = os.path.join(folder, name)
        line(path, path[len(top):])
END
}

same_trees() {
    manifest "$1" >first.manifest
    manifest "$2" >second.manifest
    diff first.manifest second.manifest >difference || fail "$1 and $2 differ:
$(head -n 20 difference)"
}

# same_volumes A B: all that two volumes hold, Windows metadata and every time included.
same_volumes() {
    run casefs export -o first.tar "$1"
    run casefs export -o second.tar "$2"
    cmp first.tar second.tar || fail "the archives of $1 and $2 differ"
}

blocks_of() {
    stat -c %b "$1"
}

make_tree() {
    mkdir -p "$1/sub/deeper" "$1/empty" "$1/many" "$1/closed"
    cd "$1"
    : >nothing
    printf x >one
    for size in 2047 2048 2049 4095 4096 4097 70000 1048576 1048577; do
        head -c "$size" /dev/urandom >"size-$size"
    done
    head -c $((9 << 20)) /dev/urandom >large
    printf 'e\314\201' >"$(printf 'nfd-e\314\201')"
    printf 'nfc' >"$(printf 'nfc-\303\251')"
    : >"$(printf 'astral-\360\237\230\200')"
    : >'with space' && : >$'with\nnewline' && : >'back\slash' && : >'a:colon' && : >'trailing. '
    : >"$(printf 'n%.0s' $(seq 255))"
    for i in $(seq 300); do echo "$i" >"many/file-$i"; done
    echo closed >closed/file
    ln -s nothing link-to-file
    ln -s sub link-to-directory
    ln -s /no/such/target dangling
    ln -s "$(printf 'long/%.0s' $(seq 800))" long-link
    ln one one-more-name
    ln one sub/deeper/third-name
    mkfifo fifo
    ln fifo fifo-again
    "$python" -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
    if [ "$as_root" = yes ]; then
        mknod character c 5 1
        mknod block b 259 70000
        chown 12345:54321 sub/deeper one
        chown -h 1:2 dangling
    fi
    # Holes: in the middle, at both ends, and nothing else.
    truncate -s 64M sparse
    for at in 3 17 40; do
        head -c 100000 /dev/urandom | dd of=sparse bs=1M seek=$at conv=notrunc status=none
    done
    truncate -s 10M hole
    truncate -s 300 small-hole
    chmod 0 nothing
    chmod 4755 size-2047
    chmod 2750 size-2048
    chmod 444 size-2049
    chmod 1777 empty
    [ "$as_root" = no ] || chown 7:8 size-2047
    [ "$as_root" = no ] || chmod 4755 size-2047
    touch -d '1970-01-01 00:00:00.0000001 UTC' size-4095
    touch -d '2262-04-11 12:13:14.7654321 UTC' size-4096
    touch -d '1965-05-06 07:08:09.1234567 UTC' size-4097
    touch -h -d '2001-02-03 04:05:06.7 UTC' dangling
    touch -d '1999-12-31 23:59:59.9999999 UTC' sub
    chmod 555 closed
    touch -d '2010-10-10 10:10:10.1010101 UTC' .
    cd "$work"
}

add_windows_metadata() {
    local volume=$1
    run casefs acl set "$volume:/one" 'O:BAG:BAD:P(A;;FA;;;SY)(A;;FA;;;BA)'
    run casefs acl set "$volume:/sub" "$volume:/many" 'O:BAG:SYD:(A;OICI;FA;;;WD)'
    run casefs attrib +RHS "$volume:/size-4096" "$volume:/sub/deeper"
    run casefs ea set "$volume:/sub" FIRST value
    run casefs ea set --need "$volume:/sub" Second 'other value'
    run casefs ea set --hex=00ff00 "$volume:/one" BINARY
    echo zone | run casefs stream put "$volume:/one" Zone.Identifier
    : | run casefs stream put "$volume:/one" empty
    head -c 300000 tree/large | run casefs stream put "$volume:/sub" long
    echo small | run casefs stream put "$volume:/sub" small
    run casefs reparse set '--symlink=..\other' "$volume:/size-2047"
    run casefs reparse set '--junction=C:\somewhere' "$volume:/empty"
    run casefs mkdir --case=insensitive "$volume:/folds"
    run casefs mkdir --case=sensitive "$volume:/folds/minds"
    echo a | run casefs cp - "$volume:/folds/minds/a"
    echo A | run casefs cp - "$volume:/folds/minds/A"
}

### In and out, all kinds of nodes.
make_tree tree
manifest tree >before
for case in sensitive insensitive; do
    for jobs in 1 4 13; do
        rm -rf out
        mkdir out
        run mkfs.casefs -q --force --size=256M --case=$case img
        run casefs cp -r -j $jobs tree img:/
        run casefs cp -r -j $jobs img:/tree out
        same_trees tree out/tree
    done
done
manifest tree | cmp - before || fail "the source was changed"
[ "$(blocks_of out/tree/sparse)" -le $((3 * 224 + 64)) ] || fail "the holes were lost"
[ "$(blocks_of out/tree/hole)" -le 16 ] || fail "the hole was filled"
[ "$(stat -c %a out/tree/closed)" = 555 ] || fail "the mode of a closed directory"
used=$(casefs df --json img | jq '.[0].used')
[ "$used" -lt $((20 << 20)) ] || fail "a sparse tree takes $used bytes in the volume"

# Again over what is there: the same.
run casefs cp -a tree img:/
rm -rf out && mkdir out
run casefs cp -a img:/tree out
same_trees tree out/tree
run casefs cp -a img:/tree out
same_trees tree out/tree

### The verb's rules.
mkdir sources
echo one >sources/one && echo two >sources/two
run mkfs.casefs -q --force --size=16M img
run casefs mkdir img:/dir
run casefs cp sources/one img:/copy
[ "$(casefs cat img:/copy)" = one ] || fail "a file under another name"
run casefs cp sources/one img:/dir
[ "$(casefs cat img:/dir/one)" = one ] || fail "a file into a directory"
run casefs cp sources/one sources/two img:/dir/
[ "$(casefs cat img:/dir/two)" = two ] || fail "several files into a directory"
run casefs cp sources/two img:/dir/one
[ "$(casefs cat img:/dir/one)" = two ] || fail "overwriting"
run casefs cp -n sources/one img:/dir/one
[ "$(casefs cat img:/dir/one)" = two ] || fail "--no-clobber overwrote"
run casefs cp -r sources/. img:/
[ "$(casefs cat img:/two)" = two ] || fail "the contents of a directory"
run casefs cp -r sources img:/new
[ "$(casefs cat img:/new/two)" = two ] || fail "a directory under another name"
run casefs cp -r sources img:/new
[ "$(casefs cat img:/new/sources/two)" = two ] || fail "a directory into one that exists"
run casefs cp -rT sources img:/new
run casefs cp -r sources/ img:/slash/
[ "$(casefs cat img:/slash/two)" = two ] || fail "slashes at the ends"
run casefs cp 'img:\dir\one' windows-path
[ "$(cat windows-path)" = two ] || fail "a path with backslashes"
run casefs cp img:/../../copy dots
[ "$(cat dots)" = one ] || fail "a path above the root"
ln -s sources/one link
run casefs cp link img:/followed
[ "$(casefs cat img:/followed)" = one ] || fail "a link was not followed without -r"
run casefs cp -r link img:/kept
casefs stat --json img:/kept | jq -r '.[0].type' | grep -q link || fail "a link was followed with -r"
run casefs cp -v sources/one img:/verbose >list
grep -q sources/one list || fail "--verbose printed nothing"
run casefs cp --json -r sources img:/json >totals
[ "$(jq -c '[.files, .directories, .errors]' totals)" = '[2,1,0]' ] || fail "totals: $(cat totals)"

expect_failure 1 "only with -r" casefs cp sources img:/
expect_failure 1 "is not a directory that exists" casefs cp sources/one sources/two img:/copy
expect_failure 1 "is not a directory that exists" casefs cp sources/one img:/none/
expect_failure 1 "onto itself" casefs cp img:/copy img:/copy
expect_failure 1 "into itself" casefs cp -r img:/dir img:/dir/below
expect_failure 1 "into itself" casefs cp -r img:/ img:/dir
expect_failure 1 "there is a directory of that name" casefs cp -T sources/one img:/dir
expect_failure 1 "there is a file of that name" casefs cp -rT sources img:/copy
expect_failure 1 "no such file" casefs cp img:/none .
expect_failure 1 "No such file" casefs cp none img:/
expect_failure 2 "use cp(1)" casefs cp sources/one sources/three
expect_failure 2 "--jobs" casefs cp -j 0 sources/one img:/
expect_failure 2 "--metadata" casefs cp --metadata=xfs sources/one img:/
expect_failure 1 "just before" casefs cp sources/one out/tree/one img:/dir

# A name that is not UTF-8 is an error of one file; the others are copied.
mkdir names
: >"$(printf 'names/bad-\377')" && echo good >names/good
expect_failure 1 "UTF-8" casefs cp -r names img:/
[ "$(casefs cat img:/names/good)" = good ] || fail "the others were not copied"
# And one that is too long for the local file system.
wide=$(printf '\303\251%.0s' $(seq 200))
echo wide | run casefs cp - "img:/names/$wide"
rm -rf out && mkdir out
expect_failure 1 "File name too long" casefs cp -r img:/names out
[ "$(cat out/names/good)" = good ] || fail "the others were not copied out"

# The standard streams.
echo input | run casefs cp - img:/from-input
[ "$(casefs cp img:/from-input -)" = input ] || fail "the standard streams"
head -c 3000000 /dev/urandom >random
run casefs cp - img:/random <random
casefs cp img:/random - | cmp - random || fail "3 MB through the standard streams"

### The volume among the sources, and as the destination.
cp --sparse=always img sources/volume
expect_failure 1 "it is the volume itself" casefs cp -r sources sources/volume:/
[ "$(casefs cat sources/volume:/sources/one)" = one ] || fail "the rest was not copied"
expect_failure 1 "it would overwrite the volume" casefs cp -T sources/volume:/copy sources/volume
run casefs ls sources/volume:/copy >list

### Names that are one without case.
mkdir -p clash/Sub clash/sub
echo upper >clash/Name && echo lower >clash/name && echo other >clash/other
echo upper >clash/Sub/file && echo lower >clash/sub/file
run mkfs.casefs -q --force --size=16M --case=insensitive img
expect_failure 1 "without case the two names are one" casefs cp -r clash img:/
[ "$(grep -c 'was not copied' said.err)" = 2 ] || fail "two clashes were reported as: $(cat said.err)"
[ "$(casefs cat img:/clash/other)" = other ] || fail "the others were not copied"
[ "$(casefs ls img:/clash | wc -l)" = 3 ] || fail "what clashed was merged"
run mkfs.casefs -q --force --size=16M --case=sensitive img
run casefs cp -r clash img:/
[ "$(casefs ls img:/clash | wc -l)" = 5 ] || fail "case was not minded"
# Copied again over what is there, by another spelling, is no clash.
run mkfs.casefs -q --force --size=16M --case=insensitive img
run casefs cp sources/one img:/Spelling
run casefs cp -T sources/two img:/SPELLING
[ "$(casefs ls img:/)" = Spelling ] || fail "a second spelling made a second file"
[ "$(casefs cat img:/spelling)" = two ] || fail "a second spelling did not overwrite"

### 2,000 directories one in the other, with few descriptors.
"$python" - <<'END'
import os
descriptor = os.open(".", os.O_RDONLY)
for i in range(2000):
    os.mkdir("deep", dir_fd=descriptor)
    below = os.open("deep", os.O_RDONLY, dir_fd=descriptor)
    os.close(descriptor)
    descriptor = below
os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
END
run mkfs.casefs -q --force --size=64M img
rm -rf out && mkdir out
(ulimit -n 100 && run casefs cp -r deep img:/ && run casefs cp -r img:/deep out)
run casefs cp -r img:/deep img:/within
for place in img:/deep img:/within; do
    [ "$(casefs find --name=bottom $place | wc -l)" = 1 ] || fail "$place has no bottom"
done
[ "$(find out -name bottom | wc -l)" = 1 ] || fail "what came out has no bottom"
run casefs export -o deep.tar img:/deep
run casefs import deep.tar img:/imported
[ "$(casefs find --name=bottom img:/imported | wc -l)" = 1 ] || fail "what was imported has no bottom"
rm -rf deep out

### A hole of terabytes costs nothing.
truncate -s 8T vast
printf end | dd of=vast bs=1 seek=$((1 << 42)) conv=notrunc status=none
run mkfs.casefs -q --force --size=16M img
run casefs cp vast img:/
run casefs cp img:/vast out-vast
run casefs cp img:/vast img:/again
run casefs export -o vast.tar img:/
run casefs import vast.tar img:/imported
run casefs cp img:/imported/again out-again
for file in out-vast out-again; do
    [ "$(stat -c %s $file)" = $((1 << 43)) ] || fail "$file has $(stat -c %s $file) bytes"
    [ "$(blocks_of $file)" -le 64 ] || fail "$file is not sparse"
    [ "$(dd if=$file bs=1 skip=$((1 << 42)) count=3 status=none)" = end ] || fail "$file is not as vast"
done
rm vast out-vast out-again

### Interrupted: the volume is a good one, and says nothing.
head -c 64M /dev/urandom >random
run mkfs.casefs -q --force --size=1G img
mkfifo input
casefs cp - img:/interrupted <input 2>said.err &
copier=$!
exec 3>input
head -c 1M random >&3
sleep 0.2
kill -INT $copier
exec 3>&-
found=0
wait $copier || found=$?
[ $found = 130 ] || fail "interrupted, it exits with $found"
run casefs ls img:/ >list

### No space: one message, and all goes on.
run mkfs.casefs -q --force --size=8M img
expect_failure 1 "the volume is full" casefs cp -r tree img:/
[ "$(wc -l <said.err)" = 1 ] || fail "no space was reported more than once: $(cat said.err)"
run casefs rm -r img:/tree
run casefs cp -r sources/one img:/

### Windows metadata, from volume to volume and within.
run mkfs.casefs -q --force --size=256M a
run mkfs.casefs -q --force --size=256M b
run casefs cp -a tree/. a:/
add_windows_metadata a
run casefs cp -a a:/. b:/
same_volumes a:/ b:/
run casefs mkdir a:/copy
run casefs cp -r a:/sub a:/one a:/size-2047 a:/size-4096 a:/empty a:/folds a:/copy
for name in sub one size-2047 size-4096 empty folds; do
    same_volumes "a:/$name" "a:/copy/$name"
done
# Over something else: nothing of it is left.
run casefs mkdir b:/over
for name in sub/deeper size-4096 size-2047; do
    run casefs cp -rT "b:/$name" b:/over/one
    run casefs stream put b:/over/one other sources/one
    [ "$name" = sub/deeper ] && run casefs rm -r b:/over/one
    run casefs cp a:/one b:/over
    same_volumes a:/one b:/over/one
done

### tar: GNU tar can list and extract it, and it comes back as it was.
run mkfs.casefs -q --force --size=256M b
run casefs cp -a tree/. b:/
run casefs export -o plain.tar b:/
LC_ALL=C.UTF-8 run tar tvf plain.tar >list
[ "$(wc -l <list)" -ge 330 ] || fail "tar listed $(wc -l <list) entries"
rm -rf out && mkdir out
run tar --warning=no-timestamp -xpf plain.tar -C out
# tar knows no sockets: an empty file stands for one.
[ -f out/socket ] || fail "a socket became something else"
rm out/socket
cp -a tree tree-without-socket
rm tree-without-socket/socket
touch -r tree tree-without-socket
touch -r tree out
same_trees tree-without-socket out
[ "$(stat -c %b out/sparse)" -le $((3 * 224 + 64)) ] || fail "GNU tar did not keep the holes"

run casefs export -o a.tar a:/
LC_ALL=C.UTF-8 run tar tf a.tar >list
for case in sensitive insensitive; do
    run mkfs.casefs -q --force --size=256M --case=$case b
    run casefs import a.tar b:/
    same_volumes a:/ b:/
done
casefs export a:/ | gzip | casefs import - b:/again || fail "through a pipe, compressed"
same_volumes a:/ b:/again
run casefs import a.tar b:/again # over what is there
same_volumes a:/ b:/again

# What GNU tar made.
tar cSf gnu.tar -C tree --format=gnu --exclude=socket .
tar cSf pax.tar -C tree --format=pax --exclude=socket .
for format in gnu pax; do
    run mkfs.casefs -q --force --size=256M b
    run casefs import $format.tar b:/
    rm -rf out && mkdir out
    run casefs cp -a b:/. out
    # Whole seconds are all that the older format has; tar does not link FIFOs.
    diff <(manifest tree-without-socket | cut -f1-4,6- | grep -v fifo) \
        <(manifest out | cut -f1-4,6- | grep -v fifo) >difference ||
        fail "a $format archive: $(head difference)"
    [ "$(blocks_of out/sparse)" -le $((3 * 224 + 64)) ] || fail "import did not keep the holes"
done

# Archives that mean ill.
mkdir -p evil/dir
echo evil >evil/file
tar cPf evil.tar -C evil --transform='s,^file,../../up,' file 2>/dev/null
expect_failure 1 "leads upwards" casefs import evil.tar b:/
ln -s /tree evil/dir/link
tar cf evil.tar -C evil/dir link
tar rf evil.tar -C evil --transform='s,^file,link/file,' file
expect_failure 1 "a directory is needed" casefs import evil.tar b:/
head -c 100000 random >evil/not-tar
expect_failure 1 "archive format" casefs import evil/not-tar b:/
head -c 1000000 a.tar >evil/cut.tar
expect_failure 1 "" casefs import evil/cut.tar b:/
expect_failure 1 "cannot read" casefs import none.tar b:/
expect_failure 1 "is the volume itself" casefs export -o b b:/
: >evil/empty.tar
run casefs import evil/empty.tar b:/

### Windows metadata in local files, as Samba has it.
if "$python" -c 'import os; os.setxattr("random", "user.test", b"x")' 2>/dev/null; then
    mkdir samba
    echo contents >samba/file
    "$python" - samba/file <<'END'
import os, struct, sys
path = sys.argv[1]
# As in a file that Samba 4 wrote.
os.setxattr(path, "user.DOSATTRIB", bytes.fromhex("00000500050000001100000022040000999c19ae54aadc01"))
os.setxattr(path, "user.DosStream.Zone.Identifier:$DATA", b"zone\0")
os.setxattr(path, "user.DosStream.empty:$DATA", b"\0")
os.setxattr(path, "user.PLAIN", b"value")
END
    run mkfs.casefs -q --force --size=16M b
    run casefs cp -r samba b:/
    [ "$(casefs stat --json b:/samba/file | jq -c '.[0] | [.created, .dos_attributes]')" = \
        '["2026-03-02T14:55:58.9161113Z",["hidden","archive"]]' ] ||
        fail "attributes of Samba's: $(casefs stat b:/samba/file)"
    [ "$(casefs stream cat b:/samba/file Zone.Identifier)" = zone ] || fail "a stream of Samba's"
    [ "$(casefs ea get b:/samba/file PLAIN)" = value ] || fail "an attribute of Samba's"
    rm -rf out && mkdir out
    run casefs cp -r --metadata=samba b:/samba out
    "$python" - samba/file out/samba/file <<'END' || fail "what was read is not what was written"
import os, sys
first, second = ({n: os.getxattr(p, n) for n in os.listxattr(p)} for p in sys.argv[1:])
first["user.DOSATTRIB"] = first["user.DOSATTRIB"][:12] + b"\x22\0\0\0" + first["user.DOSATTRIB"][16:]
sys.exit(f"{first} {second}" if first != second else 0)
END
    rm -rf out && mkdir out
    run casefs cp -r --metadata=none b:/samba out
    [ "$("$python" -c 'import os; print(os.listxattr("out/samba/file"))')" = '[]' ] ||
        fail "--metadata=none wrote something"
    # What no local file can hold is told in one sentence, and is no error.
    head -c 100000 random | run casefs stream put b:/samba/file long
    rm -rf out && mkdir out
    casefs cp -r b:/samba out 2>said.err || fail "a long stream is an error"
    grep -q "left out: 1 named stream" said.err || fail "a long stream: $(cat said.err)"
    expect_failure 1 "left out: 1 named stream" casefs cp -r --metadata=samba b:/samba/file out/again
fi
