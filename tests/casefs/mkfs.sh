#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# mkfs.casefs and fsck.casefs as programs: every option, every refusal, and their exit statuses.

# shellcheck source=tests/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"
requires jq nbdkit

PATH=${CASEFS_PROGRAMS:-$build/tools/casefs:$build/tools}:$PATH:/usr/sbin:/sbin
for program in casefs mkfs.casefs fsck.casefs; do
    command -v $program >/dev/null || skip "$program was not built"
done
unset CASEFS
umask 022
cd "$work"

# expect STATUS TEXT COMMAND...: it must exit so, and say so in one sentence.
expect() {
    local status=$1 text=$2 found=0
    shift 2
    "$@" >said.out 2>said.err </dev/null || found=$?
    [ "$found" = "$status" ] || fail "'$*' exited with $found, not $status: $(cat said.err)"
    grep -qF -- "$text" said.err || fail "'$*' did not say '$text' but: $(cat said.err)"
    [ "$(wc -l <said.err)" = 1 ] || fail "'$*' said more than one sentence: $(cat said.err)"
    ! grep -q '^usage' said.out || fail "'$*' printed its usage"
}

run() {
    "$@" 2>said.err || fail "'$*' exited with $?: $(cat said.err)"
    [ ! -s said.err ] || fail "'$*' complained: $(cat said.err)"
}

### What it makes and prints.
run mkfs.casefs --size=16M --label=GAMES --case=insensitive \
    --uuid=123e4567-e89b-42d3-a456-426614174000 img >made
for word in GAMES 123e4567-e89b-42d3-a456-426614174000 '4096 blocks' insensitive; do
    grep -q "$word" made || fail "it did not print $word: $(cat made)"
done
[ "$(stat -c %s img)" = $((16 << 20)) ] || fail "the file has $(stat -c %s img) bytes"
[ "$(casefs case img:/ | grep -c insensitive)" = 1 ] || fail "the root directory minds case"
run mkfs.casefs -f -q img >made
[ ! -s made ] || fail "--quiet printed: $(cat made)"
casefs case img:/ | grep -qw sensitive || fail "the root directory ignores case"
run mkfs.casefs -f --json -L "$(printf 'l\303\251%.0s' $(seq 16))" img >made
[ "$(jq -c '[.device, .size, .blocks, .case, .dry_run]' made)" = \
    '["img",16777216,4096,"sensitive",false]' ] || fail "--json printed: $(cat made)"
uuid=$(jq -r .uuid made)
run mkfs.casefs -f --json img >made
[ "$(jq -r .uuid made)" != "$uuid" ] || fail "two random UUIDs are the same"
run mkfs.casefs -f -q --security='O:BAG:BAD:P(A;;FA;;;SY)' img
[ "$(casefs acl get img:/ | grep -c 'O:BAG:BAD:P(A;;FA;;;SY)')" = 1 ] || fail "the root's descriptor"

# Only so much of what is there; more of what is not.
run mkfs.casefs -f -q --size=2M img
[ "$(stat -c %s img)" = $((16 << 20)) ] || fail "the file was cut"
casefs df --json img | jq -e ".[0].size == $((2 << 20))" >/dev/null || fail "it uses more than 2M"
run mkfs.casefs -f -q --size=20M img
casefs df --json img | jq -e ".[0].size == $((20 << 20))" >/dev/null || fail "it does not use 20M"
[ "$(stat -c %s img)" = $((20 << 20)) ] || fail "the file was not extended"
# An odd size is used as far as it goes.
rm img && truncate -s 5000001 img
run mkfs.casefs -q img
casefs df --json img | jq -e '.[0].size <= 5000001 and .[0].size >= 4980736' >/dev/null ||
    fail "of 5000001 bytes it uses $(casefs df --json img)"

# A petabyte costs nothing.
run mkfs.casefs -q --size=8T sparse
[ $(($(stat -c %b sparse) * 512)) -lt $((1 << 20)) ] || fail "an empty petabyte takes $(stat -c %b sparse) sectors"
rm sparse

# A dry run tells, checks, and touches nothing.
rm img && truncate -s 16M img
run mkfs.casefs -n -L DRY img >made
grep -q DRY made || fail "a dry run printed: $(cat made)"
[ "$(stat -c %b img)" = 0 ] || fail "a dry run wrote"
run mkfs.casefs -n --size=16M none >made
[ ! -e none ] || fail "a dry run made a file"
run mkfs.casefs -q img
expect 1 "holds a casefs volume" mkfs.casefs -n img

# Filled at once.
mkdir -p tree/sub
echo contents >tree/sub/file && chmod 700 tree
touch -d '2001-02-03 04:05:06.7 UTC' tree
rm img
run mkfs.casefs --size=16M -d tree img >made
grep -q '1 files, 1 directories' made || fail "it printed: $(cat made)"
[ "$(casefs cat img:/sub/file)" = contents ] || fail "the volume was not filled"
[ "$(casefs stat --json img:/ | jq -r '.[0] | .mode + " " + .modified')" = \
    '0700 2001-02-03T04:05:06.7000000Z' ] || fail "the root is not like the directory"
run mkfs.casefs -f -v -d tree img >made
grep -q tree/sub/file made || fail "--verbose printed: $(cat made)"
expect 1 "cannot open the directory 'none'" mkfs.casefs -f -d none img
head -c 3M /dev/urandom >tree/large
expect 1 "the volume is full" mkfs.casefs -f -q --size=2M -d tree img
rm tree/large

### Refusals.
foreign() {
    local what=$1
    shift
    expect 1 "holds $what" mkfs.casefs img
    expect 1 "holds $what" mkfs.casefs -n img
    stat -c '%y %b' img >after
    cmp before after || fail "a refused $what was written to"
    run mkfs.casefs -q --force img
    run mkfs.casefs -q --force img
}
# prepare COMMAND...: a file of 400M with something on it; false if that program is not here.
prepare() {
    rm -f img && truncate -s 400M img
    command -v "$1" >/dev/null || return 1
    "$@" >/dev/null 2>&1 </dev/null || fail "$*"
    stat -c '%y %b' img >before
}
expect 1 "holds a casefs volume" mkfs.casefs img
run mkfs.casefs -q -f -L OLD img
expect 1 "labelled 'OLD'" mkfs.casefs img
if prepare mkfs.ext4 -q -L home img; then foreign "ext4, labelled 'home'"; fi
if prepare mkfs.xfs -q img; then foreign xfs; fi
if prepare mkfs.btrfs -q img; then foreign btrfs; fi
if prepare mkswap img; then foreign swap; fi
if prepare mkfs.vfat img; then foreign vfat; fi
if prepare sfdisk img; then foreign "a partition table (dos)"; fi
rm -f img && truncate -s 64M img
printf '\x80\0\0\0\x83\0\0\0\0\x08\0\0\0\x10\0\0' | dd of=img bs=1 seek=446 conv=notrunc status=none
printf '\x55\xaa' | dd of=img bs=1 seek=510 conv=notrunc status=none
stat -c '%y %b' img >before
foreign "a partition table (dos)"
# Half a volume is one too.
dd if=/dev/urandom of=img bs=4096 count=8 conv=notrunc status=none
found=0
mkfs.casefs img >made 2>said.err || found=$?
[ $found = 1 ] || [ $found = 0 ] || fail "a damaged volume"

truncate -s 1048575 small
expect 1 "needs at least 1048576" mkfs.casefs small
expect 1 "needs at least 1048576" mkfs.casefs --size=1000K none
[ ! -e none ] || fail "a file was made"
truncate -s 1M small
run mkfs.casefs -q small
echo x | run casefs cp - small:/file
expect 1 "does not exist" mkfs.casefs none
expect 1 "none/none" mkfs.casefs --size=2M none/none
expect 1 "is a directory" mkfs.casefs -f tree
expect 1 "character device" mkfs.casefs -f /dev/null
mkfifo fifo
expect 1 "FIFO" mkfs.casefs -f fifo
expect 1 "none.sock" mkfs.casefs 'nbd+unix:///?socket=none.sock'

# Another process has it.
rm -f img
run mkfs.casefs -q --size=16M img
"$python" -c '
import fcntl, struct, sys, time
file = open("img", "r+b")
fcntl.fcntl(file, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
print("locked", flush=True)
time.sleep(30)' >locked &
server_pids+=($!)
wait_for 10 grep -q locked locked
expect 1 "img" mkfs.casefs -f img
kill $!

# Over NBD: the same, and no local file of that name.
start_server disk "$plugin" 64M
run mkfs.casefs -q "$uri"
expect 1 "holds a casefs volume" mkfs.casefs "$uri"
run mkfs.casefs -q -f --size=32M "$uri"
casefs df --json "$uri" | jq -e ".[0].size == $((32 << 20))" >/dev/null || fail "it does not use 32M"
expect 1 "less than the" mkfs.casefs -f --size=65M "$uri"
start_server fixed -r "$plugin" 64M
expect 1 "read-only" mkfs.casefs "$uri"

# Wrong usage.
expect 2 "give a device" mkfs.casefs
expect 2 "give one device" mkfs.casefs img small
expect 2 "--uuid" mkfs.casefs --uuid=123 img
expect 2 "--uuid" mkfs.casefs --uuid=00000000-0000-0000-0000-000000000000 img
expect 2 "--case" mkfs.casefs --case=maybe img
expect 2 "--size" mkfs.casefs --size=-1 img
expect 2 "--size" mkfs.casefs --size=8E1 img
expect 2 "--security" mkfs.casefs --security='O:XX' img
expect 2 "--jobs" mkfs.casefs --jobs=none img
expect 2 "unrecognized option" mkfs.casefs --none img
expect 1 "more than 32 UTF-16 units" mkfs.casefs -f -L "$(printf 'l%.0s' $(seq 33))" img
expect 1 "not valid UTF-8" mkfs.casefs -f -L "$(printf '\377')" img
for program in mkfs.casefs fsck.casefs; do
    run $program --help >said
    grep -q '^usage: ' said || fail "$program --help"
    [ "$(run $program --version | cut -d' ' -f1)" = $program ] || fail "$program --version"
done

### fsck.casefs.
rm -f img
run mkfs.casefs -q --size=1M -L GAMES -d tree img
run fsck.casefs -n img >said
grep -q '^GAMES: 1 files, 2 directories, [0-9]*/256 blocks$' said || fail "fsck said: $(cat said)"
run fsck.casefs -p img >said
run fsck.casefs -y -f -v --data img >said
grep -q 'blocks of data' said || fail "-v printed: $(cat said)"
run fsck.casefs -n --json img >said
[ "$(jq -c '[.label, .found, .files, .status]' said)" = '["GAMES",0,1,0]' ] || fail "--json: $(cat said)"
run fsck.casefs -n -C3 img 3>progress >said
expect 8 "no terminal" fsck.casefs img
expect 16 "give one of them" fsck.casefs -n -y img
expect 16 "asks no questions" fsck.casefs --json img
expect 16 "give a device" fsck.casefs
expect 16 "give one device" fsck.casefs -n img img
expect 16 "--size" fsck.casefs -n --size=x img
expect 16 "-C" fsck.casefs -n -Cx img
expect 8 "none" fsck.casefs -n none
truncate -s 16M zeros
expect 8 "does not hold a casefs volume" fsck.casefs -n zeros

# A superblock slot that does not match: mended, and clean afterwards.
cp img copy
dd if=/dev/urandom of=copy bs=4096 seek=2 count=1 conv=notrunc status=none
found=0
fsck.casefs -n copy >said 2>said.err || found=$?
[ $found = 4 ] || fail "with a bad slot -n exits with $found: $(cat said said.err)"
grep -q ' left ' said || fail "-n printed: $(cat said)"
found=0
fsck.casefs -p copy >said 2>said.err || found=$?
[ $found = 1 ] || fail "with a bad slot -p exits with $found: $(cat said said.err)"
grep -q ' mended ' said || fail "-p printed: $(cat said)"
run fsck.casefs -n copy >said
[ "$(casefs cat copy:/sub/file)" = contents ] || fail "the file was lost"
if command -v script >/dev/null; then
    cp img copy
    dd if=/dev/urandom of=copy bs=4096 seek=2 count=1 conv=notrunc status=none
    found=0
    echo n | script -qec 'fsck.casefs copy' /dev/null >said 2>&1 || found=$?
    [ $found = 4 ] || fail "'no' exits with $found: $(cat said)"
    grep -q 'Mend it?' said || fail "it did not ask: $(cat said)"
    found=0
    echo y | script -qec 'fsck.casefs copy' /dev/null >said 2>&1 || found=$?
    [ $found = 1 ] || fail "'yes' exits with $found: $(cat said)"
fi
