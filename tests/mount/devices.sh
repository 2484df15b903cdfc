#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What mount.casefs does when its device fails, goes away or is full, and when it is told to end.

# shellcheck source=tests/mount/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"
requires_fuse
requires nbdkit "$python"
crash=$build/tests/mount/mount-crash
[ -x "$crash" ] || skip "$crash was not built"

directory=$work/mount
messages=$work/daemon.log
mkdir "$directory"

# serve DEVICE [OPTION,...]: a daemon in the foreground, $daemon, with its messages in $messages.
serve() {
    : >"$messages"
    "$mount_program" -f "$1" "$directory" ${2:+-o "$2"} 2>"$messages" &
    daemon=$!
    wait_for 30 mountpoint -q "$directory" || fail "'$1' was not mounted: $(cat "$messages")"
}

# ends STATUS...: the daemon must end by itself, with one of these.
ends() {
    local status=0
    wait_for 60 daemon_is_gone || fail "the daemon did not end"
    wait "$daemon" || status=$?
    [[ " $* " == *" $status "* ]] || fail "the daemon ended with $status, not $*: $(cat "$messages")"
    ! mountpoint -q "$directory" || fail "$directory is still mounted"
}

daemon_is_gone() {
    [ ! -d "/proc/$daemon" ] || grep -q '^State:.*Z' "/proc/$daemon/status" 2>/dev/null
}

alive() {
    ! daemon_is_gone || fail "the daemon has died: $(cat "$messages")"
}

# refused "REASON|REASON" COMMAND...: it must fail, in reasonable time, for one of these reasons.
refused() {
    local reason=$1 status=0
    shift
    timeout 60 "$@" >"$work/said" 2>&1 || status=$?
    [ "$status" != 0 ] || fail "'$*' succeeded: $(cat "$work/said")"
    [ "$status" != 124 ] || fail "'$*' did not come back"
    grep -qE "$reason" "$work/said" || fail "'$*' did not say '$reason' but: $(cat "$work/said")"
}

# said COUNT TEXT: so many messages, one of them with this text.
said() {
    grep -q "$2" "$messages" || fail "the daemon did not say '$2' but: $(cat "$messages")"
    [ "$(wc -l <"$messages")" -le "$1" ] || fail "the daemon said more than $1 lines: $(cat "$messages")"
}

bytes_of() { # SEED COUNT: the same each time
    "$python" -c 'import random, sys
random.seed(int(sys.argv[1])); sys.stdout.buffer.write(random.randbytes(int(sys.argv[2])))' "$1" "$2"
}

check_volume() {
    "$fsck_program" -n "$1" >"$work/fsck.log" 2>&1 || fail "$2: fsck.casefs ended with $?"
}

turned_read_only() {
    ! mkdir -p "$directory/turned/$RANDOM" 2>/dev/null
}

forget() {
    echo 3 >/proc/sys/vm/drop_caches
}

prepare_files() {
    bytes_of 1 300000 >"$work/expected"
    cp "$work/expected" "$directory/warm"
    cp "$work/expected" "$directory/cold"
    sync "$directory/warm" "$directory/cold"
    forget
    cmp "$work/expected" "$directory/warm" || fail "warm differs before anything happened"
}

# The device takes no more writes, or fails to flush: nothing is said to be safe that is not, what
# is there can be read, and the next mount has what was synced.
fails_to_write() {
    local what=$1
    echo dirty >"$directory/dirty"
    touch "$work/trigger"
    refused 'Input/output error|Read-only' dd if=/dev/zero of="$directory/new" bs=64k count=10 conv=fsync
    refused 'Input/output error|Read-only' touch "$directory/another"
    refused 'Input/output error|Read-only' rm "$directory/warm"
    alive
    cmp "$work/expected" "$directory/warm" || fail "$what: warm cannot be read"
    cmp "$work/expected" "$directory/cold" || fail "$what: cold cannot be read"
    ls -l "$directory" >/dev/null || fail "$what: no listing"
    timeout 60 umount "$directory" || fail "$what: cannot be unmounted"
    ends 1 2 32 && said 2 'device failed'
    rm "$work/trigger"
    check_volume "$uri" "$what"
    serve "$uri"
    cmp "$work/expected" "$directory/cold" || fail "$what: cold is lost"
    cmp "$work/expected" "$directory/warm" || fail "$what: warm is lost"
    echo again >"$directory/again"
    sync "$directory/again"
    umount "$directory"
    ends 0
}

for error in EIO ENOSPC; do
    start_server "write-$error" --filter=error "$plugin" 256M error-pwrite=$error \
        error-pwrite-rate=100% error-pwrite-file="$work/trigger"
    "$mkfs_program" -q "$uri"
    serve "$uri" commit=3600
    prepare_files
    fails_to_write "a write that gives $error"
done

truncate -s 64M "$work/image"
# (Not our plugin: no sanitizer in it, nor in what it runs.)
# shellcheck disable=SC2016
SECTORS_PRELOAD='' start_server flush eval get_size='echo 64M' can_write='exit 0' can_flush='exit 0' can_fua='echo none' \
    pread="dd if=$work/image skip=\$4 count=\$3 iflag=count_bytes,skip_bytes status=none" \
    pwrite="dd of=$work/image seek=\$4 conv=notrunc oflag=seek_bytes status=none" \
    flush="[ ! -e $work/trigger ] || { echo EIO no flush >&2; exit 1; }"
"$mkfs_program" -q "$uri"
serve "$uri" commit=3600
prepare_files
fails_to_write "a flush that fails"
rm "$work/image"

# The volume's own commits find the error too, without anybody who asks for a sync.
start_server quiet --filter=error "$plugin" 256M error-pwrite=EIO error-pwrite-rate=100% \
    error-pwrite-file="$work/trigger"
"$mkfs_program" -q "$uri"
serve "$uri" commit=1
prepare_files
touch "$work/trigger"
echo more >"$directory/more"
wait_for 30 turned_read_only ||
    fail "a second after the device failed things can still be made"
umount "$directory"
ends 1 2 32 && said 2 'device failed'
rm "$work/trigger"

# Reads that fail: EIO for that read only; nothing turns read-only, and later the same can be read.
start_server read --filter=error "$plugin" 256M error-pread=EIO error-pread-rate=100% \
    error-pread-file="$work/trigger"
"$mkfs_program" -q "$uri"
serve "$uri" commit=3600
prepare_files
umount "$directory"
ends 0
serve "$uri" commit=3600
ls -l "$directory" >/dev/null
cmp "$work/expected" "$directory/warm"
touch "$work/trigger"
refused 'Input/output error' cat "$directory/cold"
cmp "$work/expected" "$directory/warm" || fail "what is in the cache cannot be read"
alive
rm "$work/trigger"
forget
cmp "$work/expected" "$directory/cold" || fail "cold cannot be read though the device works again"
echo more >"$directory/more"
sync "$directory/more"
umount "$directory"
ends 0
check_volume "$uri" "after reads that failed"

# The server is killed: programs get errors and do not hang; what is cached can be read.
start_server killed "$plugin" 256M
"$mkfs_program" -q "$uri"
serve "$uri" commit=3600
prepare_files
echo dirty >"$directory/dirty"
kill -9 "$server_pid"
cmp "$work/expected" "$directory/warm" || fail "what is in the cache cannot be read"
refused 'Input/output error' cat "$directory/cold"
refused 'Input/output error|Read-only' dd if=/dev/zero of="$directory/new" bs=64k count=10 conv=fsync
refused 'Input/output error|Read-only' mkdir "$directory/new-directory"
alive
timeout 60 umount "$directory" || fail "cannot be unmounted after the server's death"
ends 1 2 32 && said 2 'device failed'

# The same under load: no program may hang.
start_server loaded "$plugin" 256M
"$mkfs_program" -q --case=insensitive "$uri"
serve "$uri" commit=1
"$crash" run "$work/record.loaded" "$directory" &
load=$!
sleep 2
kill -9 "$server_pid"
wait_for 60 eval "! kill -0 $load 2>/dev/null" || fail "the programs hang after the server's death"
wait "$load" || fail "the writers found more than the device's death ($?)"
alive
timeout 60 fusermount3 -u "$directory" || fail "cannot be unmounted after the server's death"
ends 1 2 32 && said 2 'device failed'

# A full volume says so, at the write, the sync or the end of the file; what was said to be written
# is there; and everything can be removed.
cat >"$work/fill.py" <<'END'
import errno, os, random, sys
directory, expected = sys.argv[1], sys.argv[2]
kept, refused = {}, 0
random.seed(1)
def fill(name, size, sync):
    """Whether everything was said to be good."""
    global refused
    content = random.randbytes(size)
    fd = None
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600)
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view[:65536]):]
        if sync:
            os.fsync(fd)
        closing, fd = fd, None
        os.close(closing)
        kept[name] = content
        return True
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        refused += 1
        if fd is not None:
            try:
                os.close(fd)
            except OSError:
                pass
        return False
for size, sync in (3000000, True), (3000000, False), (100000, True), (5000, False), (10, True), (0, False):
    wrong = 0
    for i in range(20000):
        wrong += not fill(f"{directory}/{size}-{sync}-{i}", size, sync)
        if wrong > 3:
            break
    else:
        sys.exit(f"the volume did not get full with files of {size} bytes")
for name, content in kept.items():
    with open(name, "rb") as file:
        if file.read() != content:
            sys.exit(f"{name} was said to be written, but is not")
os.makedirs(expected)
for name, content in kept.items():
    with open(f"{expected}/{os.path.basename(name)}", "wb") as file:
        file.write(content)
print(f"{len(kept)} files were written, {refused} refused")
END
make_volume "$work/volume" 16M
serve "$work/volume"
mkdir "$directory/full"
timeout 300 "$python" "$work/fill.py" "$directory/full" "$work/kept" || fail "filling the volume"
umount "$directory"
ends 0
check_volume "$work/volume" "a full volume"
serve "$work/volume"
for name in "$work"/kept/*; do
    cmp "$name" "$directory/full/$(basename "$name")" || fail "$name is not what was written"
done
rm -r "$directory/full" || fail "a full volume could not be emptied"
dd if=/dev/zero of="$directory/again" bs=64k count=100 conv=fsync status=none ||
    fail "nothing can be written after emptying"
umount "$directory"
ends 0
check_volume "$work/volume" "an emptied volume"
[ ! -s "$messages" ] || fail "a full volume is no reason for messages: $(cat "$messages")"

# Told to end while nothing goes on: everything is there afterwards, synced or not.
make_volume "$work/signalled" 512M --case=insensitive
for how in TERM INT HUP umount fusermount3; do
    serve "$work/signalled" commit=3600
    "$crash" run --seconds 1 --seed $RANDOM "$work/record" "$directory" || fail "the load before $how"
    case $how in
    umount) umount "$directory" ;;
    fusermount3) fusermount3 -u "$directory" ;;
    *) kill "-$how" "$daemon" ;;
    esac
    ends 0
    check_volume "$work/signalled" "after $how"
    serve "$work/signalled"
    "$crash" verify --exact "$work/record" "$directory" || fail "something is missing after $how"
    umount "$directory"
    ends 0
done

# Told to end under load: in reasonable time, cleanly, and what was synced or finished is there.
for round in 1 2 3; do
    serve "$work/signalled" commit=3600
    bytes_of "$round" 5000000 >"$work/finished"
    cp "$work/finished" "$directory/finished"
    "$crash" run --seed $RANDOM "$work/record" "$directory" &
    load=$!
    sleep 1
    kill "$daemon"
    ends 0
    wait "$load" || fail "the writers found more than the end of the mount ($?)"
    check_volume "$work/signalled" "after a signal under load"
    serve "$work/signalled"
    "$crash" verify "$work/record" "$directory" || fail "what was synced is missing"
    cmp "$work/finished" "$directory/finished" || fail "a finished file is not there"
    umount "$directory"
    ends 0
done

# A second daemon is told that the volume is in use, and does no harm.
serve "$work/signalled"
mkdir "$work/second"
refused 'open for writing elsewhere' "$mount_program" "$work/signalled" "$work/second"
! mountpoint -q "$work/second" || fail "the volume was mounted twice"
umount "$directory"
ends 0
