#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every verb of casefs, on an image file and over NBD: what it does, what it
# prints, and one clear sentence for everything that is wrong.
#
# CASEFS_PROGRAMS names the folder of the programs, if it is not the build's.

# shellcheck source=tests/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"
requires jq nbdkit

unset CASEFS COLUMNS
export TZ=UTC LC_ALL=C.UTF-8
umask 022

# program NAME: its path; each may be in a folder of its own.
program() {
    local folder=${CASEFS_PROGRAMS:-$build/tools} path
    for path in "$folder/$1" "$folder/casefs/$1"; do
        if [ -f "$path" ] && [ -x "$path" ]; then
            echo "$path"
            return
        fi
    done
    skip "$1 was not built"
}

casefs=$(program casefs)
mkfs=$(program mkfs.casefs)

main() {
    test_help
    test_messages_without_device

    truncate -s 64M "$work/image"
    "$mkfs" --label=IMAGE --case=insensitive "$work/image" >"$work/mkfs.log"
    test_all_verbs "$work/image"
    test_refusals "$work/image"
    test_odd_names "$work/image"
    test_deep_paths "$work/image"
    test_default_device "$work/image"
    test_resize
    test_bad_devices
    test_interrupt "$work/image"
    is_clean "$work/image"

    start_server disk "$plugin" 64M
    "$mkfs" --label=SERVED --case=insensitive "$uri" >"$work/mkfs.log"
    test_all_verbs "$uri"
    is_clean "$uri"
}

# ---------------------------------------------------------------------- helpers

# does ARGUMENT...: casefs succeeds and says nothing on its standard error.
does() {
    local status=0
    "$casefs" "$@" 2>"$work/errors" || status=$?
    [ "$status" -eq 0 ] || fail "casefs $*: status $status, $(cat "$work/errors")"
    [ ! -s "$work/errors" ] || fail "casefs $* complained: $(cat "$work/errors")"
}

# prints EXPECTED ARGUMENT...: and its output is that.
prints() {
    local expected=$1 found
    shift
    found=$(does "$@") || exit 1
    [ "$found" = "$expected" ] || fail "casefs $* printed:
$found
and not:
$expected"
}

# tells FILTER EXPECTED ARGUMENT...: its JSON, through jq's filter, is that.
tells() {
    local filter=$1 expected=$2 found
    shift 2
    found=$(does "$@" | jq -cr "$filter") || fail "casefs $*: no JSON"
    [ "$found" = "$expected" ] || fail "casefs $* | jq '$filter' told $found, not $expected"
}

# refuses STATUS PATTERN ARGUMENT...: one line on the standard error that
# matches, and that status.
refuses() {
    local wanted=$1 pattern=$2 status=0
    shift 2
    "$casefs" "$@" >"$work/output" 2>"$work/errors" || status=$?
    [ "$status" -eq "$wanted" ] || fail "casefs $*: status $status, not $wanted: $(cat "$work/errors")"
    [ "$(wc -l <"$work/errors")" -eq 1 ] || fail "casefs $* did not say one thing: $(cat "$work/errors")"
    grep -qE -- "$pattern" "$work/errors" || fail "casefs $* said: $(cat "$work/errors")"
    ! grep -qE 'ERROR|runtime error' "$work/errors" || fail "casefs $*: $(cat "$work/errors")"
}

is_json() {
    "$python" -c 'import json, sys; json.load(open(sys.argv[1], encoding="utf-8"))' "$1"
}

is_clean() {
    does check --data "$1" >"$work/check.log"
    grep -q 'no problems' "$work/check.log" || fail "the volume is not clean: $(cat "$work/check.log")"
}

# ------------------------------------------------------------------------- help

test_help() {
    local verb verbs option
    does --help >"$work/help"
    does -h >/dev/null
    does help >/dev/null
    prints "$("$casefs" -V)" --version
    verbs=$(sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p' "$work/help")
    [ "$(echo "$verbs" | wc -l)" -ge 28 ] || fail "casefs --help lists too few verbs: $verbs"
    for verb in $verbs; do
        does help "$verb" >"$work/help.$verb"
        prints "$(cat "$work/help.$verb")" "$verb" --help
        prints "$("$casefs" -V)" "$verb" --version
        grep -q "^=head2 $verb\$" "$top/tools/casefs/casefs.pod" || fail "casefs(1) does not have $verb"
        awk -v heading="=head2 $verb" '/^=head/ {inside = $0 == heading} inside' \
            "$top/tools/casefs/casefs.pod" >"$work/section"
        # Short and long options, as they stand before their descriptions.
        grep -oE '^ +-[^ =]+(, --[^ =]+)?' "$work/help.$verb" | grep -oE -e '--?[A-Za-z0-9][a-z0-9-]*' >"$work/options" || :
        while read -r option; do
            grep -qe "B<$option>" "$work/section" ||
                fail "casefs(1) does not have $option of $verb"
        done <"$work/options"
        refuses 2 'no-such-option' "$verb" --no-such-option
    done
    refuses 2 "'frobnicate' is not a verb" frobnicate
    refuses 2 "'frobnicate' is not a verb" help frobnicate
    local status=0
    "$casefs" >/dev/null 2>"$work/errors" || status=$?
    if [ "$status" -ne 2 ] || ! grep -q '^usage:' "$work/errors"; then
        fail "casefs without a verb"
    fi
}

test_messages_without_device() {
    local verb
    for verb in ls tree find stat df info check case attrib label resize "stream ls" "ea ls" "acl get" "reparse show"; do
        # shellcheck disable=SC2086
        refuses 2 'CASEFS' $verb
    done
    for verb in glob cat cp mv rm mkdir ln touch chmod chown truncate stream ea acl reparse; do
        refuses 2 '' "$verb"
    done
    refuses 1 "names no device" ls :/x
    refuses 1 "no-such-image" ls "$work/no-such-image:/"
    refuses 1 "empty argument" ls ''
}

# ------------------------------------------------------------------------ verbs

test_all_verbs() {
    does mkdir "$1:/d"
    test_ls "$1"
    test_tree "$1"
    test_find "$1"
    test_cat_and_truncate "$1"
    test_mv "$1"
    test_mkdir_and_case "$1"
    test_ln "$1"
    test_touch_and_stat "$1"
    test_chmod_and_chown "$1"
    test_attrib "$1"
    test_stream "$1"
    test_ea "$1"
    test_acl "$1"
    test_reparse "$1"
    test_volume "$1"
    test_rm "$1"
}

test_ls() {
    local d=$1
    does mkdir "$d:/d/ls" "$d:/d/ls/Dir"
    does touch -t 2024-05-01T12:34:56Z "$d:/d/ls/b" "$d:/d/ls/.hidden" "$d:/d/ls/Alpha"
    does truncate -s 5000 "$d:/d/ls/b"
    does touch -t 2024-05-01T12:34:56Z "$d:/d/ls/b"
    does ln -s "some where" "$d:/d/ls/link"
    does touch "$d:/d/ls/Dir/inner"
    prints $'Alpha\nb\nDir\nlink' ls "$d:/d/ls"
    prints $'Alpha\nb\nDir\nlink' ls "$d:\\D\\LS"
    prints $'Alpha\nb\nDir\nlink' ls "$d:C:\\D\\LS\\"
    prints $'Alpha\nb\nDir\nlink' ls "$d:/../../d/./ls/Dir/.."
    prints $'.hidden\nAlpha\nb\nDir\nlink' ls -a "$d:/d/ls"
    prints "$d:/d/ls" ls -d "$d:/d/ls"
    prints "$d:/d/ls/B" ls "$d:/d/ls/B"
    COLUMNS=16 prints $'Alpha  Dir\nb      link' ls -C "$d:/d/ls"
    COLUMNS=80 prints 'Alpha  b  Dir  link' ls -C "$d:/d/ls"
    prints "$d:/d/ls:"$'\nAlpha\nb\nDir\nlink\n\n'"$d:/d/ls/Dir:"$'\ninner' ls -R "$d:/d/ls"
    does ls -l "$d:/d/ls" >"$work/long"
    grep -qE "^-rw-r--r-- +1 +$(id -u) +$(id -g) +5000 2024-05-01 12:34 +- +b$" "$work/long" || fail "ls -l: $(cat "$work/long")"
    grep -qE "^lrwxrwxrwx .* link -> some where$" "$work/long" || fail "ls -l: $(cat "$work/long")"
    [ "$(awk '{print length($0) - length($NF)}' "$work/long" | head -n 3 | sort -u | wc -l)" = 1 ] || fail "ls -l is not aligned"
    does ls -lh "$d:/d/ls/b" | grep -q ' 4.9K ' || fail "ls -lh"
    does ls -i "$d:/d/ls" | grep -qE '^ *[0-9]+ Alpha$' || fail "ls -i"
    tells '[.[] | .name] | join(" ")' 'Alpha b Dir link' ls --json "$d:/d/ls"
    tells '.[1] | [.path, .type, .size, .mode, .links, .modified] | @csv' \
        "\"$d:/d/ls/b\",\"file\",5000,\"0644\",1,\"2024-05-01T12:34:56.0000000Z\"" ls --json "$d:/d/ls"
    tells '.[3].target' 'some where' ls --json "$d:/d/ls"
    tells '.[] | select(.type == "directory") | .case' insensitive ls --json "$d:/d/ls"
    tells '[.[].path] | length' 5 ls -R --json "$d:/d/ls"
    refuses 1 "nowhere'" ls "$d:/d/nowhere"
    refuses 1 "a directory is needed|no such" ls "$d:/d/ls/b/x"
    does rm -r "$d:/d/ls"
}

test_tree() {
    local d=$1
    does mkdir -p "$d:/d/tree/one/two" "$d:/d/tree/three"
    does touch "$d:/d/tree/one/two/deep" "$d:/d/tree/zfile" "$d:/d/tree/.dot"
    prints "$d:/d/tree
├── one
│   └── two
│       └── deep
├── three
└── zfile

3 directories, 2 files" tree "$d:/d/tree"
    prints "$d:/d/tree
├── one
└── three

2 directories, 0 files" tree -d -L1 "$d:/d/tree"
    LC_ALL=C prints "$d:/d/tree
|-- .dot
|-- one
|-- three
\`-- zfile

2 directories, 2 files" tree -a --depth=1 "$d:/d/tree"
    tells '[.. | .name? // empty] | join(" ")' "$d:/d/tree one two deep three zfile" tree --json "$d:/d/tree"
    tells '.entries[1].entries | length' 0 tree --json --depth=1 "$d:/d/tree"
    refuses 1 'not a directory' tree "$d:/d/tree/zfile"
    refuses 2 'not a number of levels' tree --depth=0 "$d:/d/tree"
    refuses 2 'one tree' tree --json "$d:/d" "$d:/d"
    does rm -r "$d:/d/tree"
}

test_find() {
    local d=$1 base=$1:/d/find
    does mkdir "$base" "$base/Sub" "$base/Sub/deeper"
    does mkdir --case=sensitive "$base/Exact"
    does touch "$base/a.TXT" "$base/Sub/b.txt" "$base/Sub/deeper/c.Txt" "$base/Exact/d.TXT" "$base/Exact/e.txt"
    does truncate -s 10K "$base/Sub/b.txt"
    does ln -s Sub "$base/link"
    prints "$base
$base/a.TXT
$base/Exact
$base/Exact/d.TXT
$base/Exact/e.txt
$base/link
$base/Sub
$base/Sub/b.txt
$base/Sub/deeper
$base/Sub/deeper/c.Txt" find "$base"
    # Case counts where the directory says so.
    prints "$base/a.TXT
$base/Exact/e.txt
$base/Sub/b.txt
$base/Sub/deeper/c.Txt" find --name='*.txt' "$base"
    prints "$base/a.TXT
$base/Exact/d.TXT
$base/Exact/e.txt
$base/Sub/b.txt
$base/Sub/deeper/c.Txt" find --iname='*.TxT' "$base"
    prints "$base
$base/Exact
$base/Sub
$base/Sub/deeper" find --type=d "$base"
    prints "$base/link" find --type=symlink "$base"
    prints "$base/Sub/b.txt" find --size=10K "$base"
    prints "$base/Sub/b.txt" find --size=+1 "$base"
    prints "" find --type=f --size=+10K "$base"
    [ "$(does find --type=f --size=-1 "$base" | wc -l)" = 4 ] || fail "find --size=-1"
    [ "$(does find --max-depth=1 "$base" | wc -l)" = 5 ] || fail "find --max-depth=1"
    prints "$base" find --max-depth=0 "$base"
    [ "$(does find -print0 "$base" | tr -cd '\0' | wc -c)" = 10 ] || fail "find -print0"
    [ "$(does find -0 "$base" | tr -cd '\0' | wc -c)" = 10 ] || fail "find -0"
    tells '[.[] | select(.type == "file")] | length' 5 find --json "$base"

    prints "$base/a.TXT" glob "$base/*.txt"
    prints "$base/Sub/b.txt" glob "$base/s?b/*.TXT"
    prints "$base/Exact/d.TXT" glob "$base/Exact/*.TXT"
    prints "$base/a.TXT
$base/Exact/e.txt
$base/Sub/b.txt
$base/Sub/deeper/c.Txt" glob "$base/**/*.txt"
    prints "$base/Sub/deeper/c.Txt" glob "$base/**/DEEPER/*"
    prints "$base/Sub/b.txt" glob "$base/[q-t]ub/[!a].txt"
    prints "$base\\Sub/b.txt" glob "$base\\Sub\\B.*"
    prints "$base/link/b.txt" glob "$base/link/*.txt"
    prints "$base/a.txt" glob "$base/a.txt"
    prints "" glob "$base/*.nothing"
    [ "$(does glob "$base/**" | wc -l)" = 9 ] || fail "glob **"
    tells '.[0].name' b.txt glob --json --type=file "$base/*/b*"
    refuses 1 'no such' glob "$base/none"
    refuses 1 'parts behind the first pattern' glob "$base/*$(printf '/x%.0s' $(seq 70))"
    refuses 2 'not a type' find --type=q "$base"
    refuses 2 'not a size' find --size=big "$base"
    refuses 2 'not a number' find --max-depth=-1 "$base"
    refuses 1 'no such' find "$d:/d/nowhere"
    does rm -r "$base"
}

test_cat_and_truncate() {
    local d=$1 file=$1:/d/data
    seq 100000 >"$work/numbers"
    does touch "$file"
    prints '' cat "$file"
    does stream put "$file" s "$work/numbers"
    does cat "$file:s" | cmp - "$work/numbers"
    does cat "$file:S" "$file:s" | cmp - <(cat "$work/numbers" "$work/numbers")
    does truncate -s 1M "$file"
    [ "$(does cat "$file" | tr -d '\0' | wc -c)" = 0 ] || fail "what truncate adds is not zeros"
    tells '.[0] | [.size, .allocated] | @csv' 1048576,0 stat --json "$file"
    does truncate -s +1K "$file"
    tells '.[0].size' 1049600 stat --json "$file"
    does truncate -s -1K "$file"
    does truncate --allocate=0:64K "$file"
    tells '.[0].allocated' 65536 stat --json "$file"
    does truncate --punch=0:64K "$file"
    tells '.[0].allocated' 0 stat --json "$file"
    does truncate --allocate=1M:64K --keep-size "$file"
    tells '.[0].size' 1048576 stat --json "$file"
    does truncate -s 100 "$file:S"
    does cat "$file:s" | cmp - <(head -c 100 "$work/numbers")
    does truncate -s 7 "$file:other"
    tells '[.[0].streams[].name] | join(" ")' 'other s' stat --json "$file"
    does truncate -s 1.5K "$d:/d/made"
    tells '.[0].size' 1536 stat --json "$d:/d/made"
    does truncate -c -s 1K "$d:/d/not-made"
    refuses 1 'no such' cat "$d:/d/not-made"
    refuses 1 'is a directory' cat "$d:/d"
    refuses 1 'no such' cat "$file:none"
    refuses 1 '' truncate -s 1K "$d:/d"
    refuses 1 '' truncate -s +9223372036854775807 "$file"
    refuses 2 'not a size' truncate -s 1Q "$file"
    refuses 2 'not a size' truncate -s 1.5 "$file"
    refuses 2 'not a range' truncate --punch=1 "$file"
    refuses 2 'not a range' truncate --punch=1:0 "$file"
    refuses 2 'give one of' truncate --punch=1:1 -s 1 "$file"
    refuses 2 'new size' truncate "$file"
    does rm "$file" "$d:/d/made"
}

test_mv() {
    local d=$1 base=$1:/d/mv
    does mkdir "$base" "$base/dir"
    does touch "$base/File" "$base/other"
    does mv "$base/File" "$base/fILE"
    prints $'dir\nfILE\nother' ls "$base"
    does mv "$base/dir" "$base/DIR"
    prints $'DIR\nfILE\nother' ls "$base"
    does mv "$base/FILE" "$base/other" "$base/dir"
    prints $'FILE\nother' ls "$base/dir"
    does touch "$base/x"
    refuses 1 'the new name is taken' mv -nT "$base/x" "$base/dir/FILE"
    does mv "$base/x" "$base/dir/file"
    prints $'file\nother' ls "$base/dir"
    does mv --exchange "$base/dir/other" "$base/dir/FILE"
    does mkdir "$base/empty"
    refuses 1 'no directory' mv -T "$base/dir/other" "$base/empty"
    refuses 1 'not empty' mv -T "$base/empty" "$base/dir"
    does mkdir "$base/empty2"
    does mv -T "$base/empty" "$base/empty2"
    prints $'DIR\nempty2' ls "$base"
    refuses 1 'into itself' mv "$base/DIR" "$base/dir/inside"
    refuses 1 'is a directory' mv -T "$base/empty2" "$base/dir/file"
    refuses 1 'both must exist' mv --exchange "$base/dir" "$base/none"
    refuses 1 'no such' mv "$base/none" "$base/other"
    refuses 1 'root directory' mv "$d:/" "$base/other"
    refuses 1 "ends with '\.\.'" mv "$base/dir/.." "$base/other"
    refuses 1 'not a directory, and several' mv "$base/dir" "$base/empty2" "$base/dir/file"
    refuses 2 'where to' mv "$base/dir"
    refuses 2 'exclude' mv -n --exchange "$base/dir" "$base/empty2"
    refuses 2 'take two names' mv -T "$base/dir" "$base/dir" "$base/dir"
    does rm -r "$base"
}

test_mkdir_and_case() {
    local d=$1 base=$1:/d/case
    prints insensitive case "$d:/"
    does mkdir -p "$base/a/b/c" "$base/a/b/c"
    does mkdir -p "$d:\\d\\case\\A\\w\\x"
    does mkdir -p -m 700 "$base/A/B/private"
    tells '.[0].mode' 0700 stat --json "$base/a/b/private"
    refuses 1 'taken' mkdir "$base/A"
    refuses 1 'no such' mkdir "$base/x/y"
    refuses 1 'root directory' mkdir "$d:/"
    refuses 2 'neither sensitive' mkdir --case=strange "$base/x"
    refuses 2 'not a mode' mkdir -m 9 "$base/x"
    does mkdir --case=sensitive "$base/exact"
    prints sensitive case "$base/exact"
    does mkdir "$base/exact/inherits"
    prints sensitive case "$base/exact/inherits"
    does touch "$base/exact/Same" "$base/exact/sAME"
    refuses 1 "'(Same|sAME)' and '(Same|sAME)' in it" case "$base/exact" insensitive
    prints sensitive case "$base/exact"
    does rm "$base/exact/Same"
    does case "$base/exact" insensitive
    refuses 1 'taken' mkdir "$base/exact/SAME"
    does case -R "$base" sensitive
    [ "$(does case -R "$base" | grep -c '^sensitive ')" = "$(does case -R "$base" | wc -l)" ] || fail "case -R sensitive"
    refuses 1 'no such' ls "$base/A"
    does case -R "$base" insensitive
    tells '[.[].case] | unique | join(" ")' insensitive case -R --json "$base"
    does touch "$base/file"
    refuses 1 'not a directory' case "$base/file"
    refuses 1 'not a directory' case "$base/file" sensitive
    refuses 2 'showing' case --json "$base" sensitive
    does rm -r "$base"
}

test_ln() {
    local d=$1 base=$1:/d/ln
    does mkdir "$base" "$base/dir"
    does touch "$base/file"
    does ln "$base/file" "$base/again"
    does ln "$base/file" "$base/dir"
    tells '.[0].links' 3 stat --json "$base/dir/FILE"
    does ln -s ../ln/file "$base/symbolic"
    tells '.[0] | [.type, .target] | @csv' '"symlink","../ln/file"' stat --json "$base/symbolic"
    tells '.[0].type' file stat -L --json "$base/symbolic"
    does ln -s /d/ln/dir "$base/todir"
    prints file ls "$base/todir"
    does ln -s ../../../../../../etc/passwd "$base/out"
    refuses 1 'no such' cat "$base/out"
    does ln -s loop "$base/loop"
    refuses 1 'too many symbolic links' cat "$base/loop"
    refuses 1 'one name only' ln "$base/dir" "$base/dir2"
    refuses 1 'taken' ln -s x "$base/FILE"
    refuses 1 'no such' ln "$base/none" "$base/n"
    refuses 1 '4095 bytes' ln -s "$(printf 'x%.0s' $(seq 4096))" "$base/long"
    refuses 2 'empty' ln -s '' "$base/e"
    refuses 2 'two names' ln "$base/file"
    does rm -r "$base"
}

test_touch_and_stat() {
    local d=$1 file=$1:/d/Touched
    does touch --created=2001-02-03T04:05:06.7890123Z --changed=@0 -t '2024-05-01 12:34:56.1234567 +0200' -a "$file"
    tells '.[0] | [.created, .accessed, .changed] | join(" ")' \
        '2001-02-03T04:05:06.7890123Z 2024-05-01T10:34:56.1234567Z 1970-01-01T00:00:00.0000000Z' stat --json "$file"
    does touch -m -t @-1.5 "$file"
    tells '.[0].modified' 1969-12-31T23:59:58.5000000Z stat --json "$file"
    does stat "$d:/d/TOUCHED" >"$work/stat"
    for line in 'path: +/d/Touched' 'type: +file' 'size: +0' 'links: +1' 'mode: +-rw-r--r-- \(0644\)' \
        "owner: +$(id -u):$(id -g)" 'created: +2001-02-03 04:05:06.7890123 \+0000'; do
        grep -qE "^$line\$" "$work/stat" || fail "stat: no $line in $(cat "$work/stat")"
    done
    does touch "$d:/"
    does touch -c "$d:/d/not-made"
    refuses 1 'no such' stat "$d:/d/not-made"
    refuses 1 'no such' touch "$d:/none/file"
    refuses 2 'not a time' touch -t yesterday "$file"
    refuses 2 'not a time' touch -t 2024-02-30 "$file"
    refuses 2 'not a time' touch --created=1600-01-01 "$file"
    does rm "$file"
}

test_chmod_and_chown() {
    local d=$1 base=$1:/d/mode
    does mkdir -p "$base/sub"
    does touch "$base/file" "$base/sub/file"
    does chmod 4751 "$base/file"
    does ls -l "$base/file" | grep -q '^-rwsr-x--x ' || fail "chmod 4751"
    does chmod u=rw,go=,o+t "$base/file"
    tells '.[0].mode' 1600 stat --json "$base/file"
    does chmod -- -t "$base/file"
    does chmod -R go-rwx "$base"
    does chmod -R a+rX "$base"
    tells '[.[].mode] | join(" ")' '0755 0644 0755 0644' find --json "$base"
    does chown 12:34 "$base/file"
    does chown :56 "$base/file"
    tells '.[0] | [.uid, .gid] | @csv' 12,56 stat --json "$base/file"
    does chown -R 4294967295 "$base"
    tells '[.[].uid] | unique | @csv' 4294967295 find --json "$base"
    refuses 2 'not a mode' chmod u+q "$base/file"
    refuses 2 'not a mode' chmod 888 "$base/file"
    refuses 2 'not an owner' chown root "$base/file"
    refuses 2 'not an owner' chown 4294967296 "$base/file"
    refuses 2 'what to change' chmod 755
    refuses 1 'no such' chmod 755 "$base/none"
    refuses 1 'no such' chown 1 "$base/none"
    does rm -r "$base"
}

test_attrib() {
    local d=$1 base=$1:/d/attrib
    does mkdir -p "$base/sub"
    does touch "$base/file"
    does attrib +rhsatoi "$base/FILE"
    prints "RHSATOI  $base/file" attrib "$base/file"
    does attrib -RHS -a "$base/file"
    tells '.[0].dos_attributes | join(" ")' 'temporary offline not-indexed' attrib --json "$base/file"
    does attrib --recursive +H -TOI "$base"
    tells '[.[] | .dos_attributes[]] | join(" ")' 'hidden hidden hidden' attrib --recursive --json "$base"
    refuses 2 'neither an option' attrib +Q "$base/file"
    refuses 2 'both set and cleared' attrib +R -R "$base/file"
    refuses 2 'what to change' attrib +R
    refuses 2 'showing' attrib --json +R "$base/file"
    refuses 1 'no such' attrib +R "$base/none"
    does rm -r "$base"
}

test_stream() {
    local d=$1 file=$1:/d/streamed
    does touch "$file"
    echo hello | does stream put "$file" Greeting
    echo "a longer one" | does stream put "$file" greeting -
    prints 'a longer one' stream cat "$file" GREETING
    prints 'a longer one' cat "$file:gREETING"
    printf '' | does stream put "$file" empty
    tells '[.[] | "\(.name) \(.size)"] | join(", ")' 'empty 0, Greeting 13' stream ls --json "$file"
    does stream mv "$file" greeting Farewell
    does stream mv "$file" FAREWELL FareWell
    refuses 1 "another stream" stream mv "$file" farewell EMPTY
    does stream put "$d:/d" ofdirectory "$work/numbers"
    does cat "$d:/d:ofdirectory" | cmp - "$work/numbers"
    does stream rm "$d:/d" ofdirectory
    does stream rm "$file" EMPTY
    prints '          13  FareWell' stream ls "$file"
    does stream ls "$file" "$d:/d" | grep -qF "13  $file:FareWell" || fail "stream ls of several"
    refuses 1 "no stream 'none'" stream cat "$file" none
    refuses 1 "no stream 'none'" stream rm "$file" none
    refuses 1 "no stream 'none'" stream mv "$file" none some
    refuses 1 'not allowed' stream put "$file" 'a:b' "$work/numbers"
    refuses 1 'not allowed' stream put "$file" '' "$work/numbers"
    refuses 1 'no-such-file' stream put "$file" s "$work/no-such-file"
    refuses 2 'none of its actions' stream frob "$file"
    refuses 2 'give what to do' stream
    refuses 2 'name of one' stream cat "$file"
    does rm "$file"
}

test_ea() {
    local d=$1 file=$1:/d/ea
    does touch "$file"
    does ea set "$file" Comment 'some täxt'
    prints 'some täxt' ea get "$file" COMMENT
    does ea set --hex='00 ff 0A' --need "$file" bytes
    prints 0x00ff0a ea get "$file" bytes
    prints 00ff0a ea get --hex "$file" BYTES
    [ "$(does ea get --raw "$file" bytes | od -An -tx1 | tr -d ' ')" = 00ff0a ] || fail "ea get --raw"
    head -c 60000 /dev/urandom >"$work/value"
    does ea set --file="$work/value" "$file" large
    does ea get --raw "$file" large | cmp - "$work/value"
    tells '.[] | select(.need) | [.name, .size, .value] | join(" ") | ascii_downcase' 'bytes 3 00ff0a' ea ls --json "$file"
    tells '.[] | select(.text) | .text' 'some täxt' ea ls --json "$file"
    does ea ls "$file" | grep -qiE '^ +3 need  bytes$' || fail "ea ls"
    refuses 1 'too large' ea set --file="$work/value" "$file" larger
    does ea rm "$file" LARGE
    refuses 1 "no extended attribute 'large'" ea get "$file" large
    refuses 1 "no extended attribute 'large'" ea rm "$file" large
    refuses 1 'cannot name' ea set "$file" 'a:b' value
    refuses 1 'cannot name' ea set "$file" '' value
    refuses 1 'too long' ea set "$file" "$(printf 'x%.0s' $(seq 256))" value
    head -c 65536 /dev/zero >"$work/too-long"
    refuses 1 'too long' ea set --file="$work/too-long" "$file" x
    refuses 2 'empty value' ea set "$file" x ''
    refuses 2 'hexadecimal' ea set --hex=0x "$file" x
    refuses 2 'one value' ea set "$file" x
    refuses 2 'one value' ea set --hex=00 "$file" x y
    refuses 2 'none of its actions' ea frob "$file"
    does rm "$file"
}

test_acl() {
    local d=$1 file=$1:/d/secured sddl='O:BAG:SYD:P(A;;FA;;;SY)(A;;FR;;;WD)'
    does touch "$file" "$file.2"
    refuses 1 'no security descriptor' acl get "$file"
    does acl set "$file" "$sddl"
    prints "$sddl" acl get "$file"
    does acl get --file="$work/descriptor" "$file"
    does acl set --file="$work/descriptor" "$file.2"
    tells '[.[].sddl] | unique | length' 1 acl get --json "$file" "$file.2"
    prints "$file: $sddl
$file.2: $sddl" acl get "$file" "$file.2"
    does stat "$file" | grep -qE "^security: +$(stat -c %s "$work/descriptor") bytes" || fail "stat: security"
    does acl rm "$file"
    refuses 1 'no security descriptor' acl rm "$file"
    refuses 1 'not a security descriptor' acl set "$file" 'O:XYZ'
    refuses 1 'not a security descriptor' acl set "$file" 'D:(A;;FA;;;'
    printf 'nonsense' >"$work/nonsense"
    refuses 1 'well-formed' acl set --file="$work/nonsense" "$file"
    head -c 70000 /dev/zero >"$work/too-long"
    refuses 1 'too long' acl set --file="$work/too-long" "$file"
    refuses 1 'no-such-file' acl set --file="$work/no-such-file" "$file"
    refuses 2 'descriptor' acl set "$file"
    refuses 2 'one node' acl get --file=x "$file" "$file.2"
    refuses 2 'none of its actions' acl frob "$file"
    does rm "$file" "$file.2"
}

test_reparse() {
    local d=$1 base=$1:/d/reparse
    does mkdir "$base" "$base/junction"
    does touch "$base/file"
    does reparse set --symlink='..\other\täst' "$base/file"
    tells '.[0] | [.name, .target, .relative] | @csv' '"symlink","..\other\täst",true' reparse show --json "$base/file"
    does reparse set --symlink='C:\elsewhere' "$base/file"
    tells '.[0] | [.target, .shown_as, .relative] | @csv' '"\??\C:\elsewhere","C:\elsewhere",false' reparse show --json "$base/file"
    does reparse set --junction='C:\dir' "$base/junction"
    does reparse show "$base/junction" >"$work/reparse"
    grep -qE '^tag: +0xA0000003 junction$' "$work/reparse" || fail "reparse show: $(cat "$work/reparse")"
    grep -qE '^target: +\\\?\?\\C:\\dir$' "$work/reparse" || fail "reparse show: $(cat "$work/reparse")"
    does stat "$base/junction" | grep -qE '^reparse: +0xA0000003 junction' || fail "stat: reparse"
    does reparse show --file="$work/buffer" "$base/junction"
    does reparse rm "$base/junction"
    does reparse set --file="$work/buffer" "$base/junction"
    refuses 1 'another tag' reparse set --symlink=x "$base/junction"
    # A tag that is not Microsoft's, with a GUID.
    { printf '\x34\x12\x00\x00\x03\x00\x00\x00'; printf '0123456789abcdef'; printf 'xyz'; } >"$work/guid"
    does touch "$base/guid"
    does reparse set --file="$work/guid" "$base/guid"
    tells '.[0] | [.tag, .guid, .data] | @csv' '4660,"33323130-3534-3736-3839-616263646566","78797a"' reparse show --json "$base/guid"
    does reparse rm "$base/guid"
    does touch "$base/plain"
    refuses 1 'malformed' reparse set --junction='C:\x' "$base/plain"
    refuses 1 'no reparse point' reparse show "$base/plain"
    refuses 1 'no reparse point' reparse rm "$base/plain"
    refuses 1 'with entries' reparse set --junction='C:\x' "$base"
    refuses 1 'malformed' reparse set --file="$work/nonsense" "$base/plain"
    refuses 1 'begins with a drive' reparse set --junction='x' "$base/plain"
    refuses 1 'empty' reparse set --symlink= "$base/plain"
    refuses 1 'too long' reparse set --symlink="$(printf 'x%.0s' $(seq 9000))" "$base/plain"
    refuses 2 'give one of' reparse set "$base/plain"
    refuses 2 'give one of' reparse set --symlink=a --junction=b "$base/plain"
    refuses 2 'none of its actions' reparse frob "$base/plain"
    does rm -r "$base"
}

test_volume() {
    local d=$1
    does label "$d" 'Ein Näme'
    prints 'Ein Näme' label "$d"
    tells '.[0].label' 'Ein Näme' df --json "$d"
    tells '.[0] | .size == .used + .free + .reserved' true df --json "$d:/d"
    does df -h "$d" | grep -qE '^ +64M +' || fail "df -h"
    does label "$d" ''
    prints '' label "$d"
    refuses 1 'too long' label "$d" "$(printf 'x%.0s' $(seq 33))"
    refuses 2 'a device' label "$d" x y
    tells '.[0] | [.size, .root_case, (.uuid | length)] | @csv' '67108864,"insensitive",36' info --json "$d"
    does info "$d" | grep -qE '^uuid: +[0-9a-f-]{36}$' || fail "info"
    does stream put "$d:/d" extents "$work/numbers"
    tells '.[0].extents | map(select(.kind != "hole") | .count) | add >= 588895' true info --json "$d:/d:extents"
    does info "$d:/d:extents" | grep -qE ' data |inline' || fail "info of a stream"
    does stream rm "$d:/d" extents
    refuses 1 'no extents' info "$d:/d"
    tells '[.problems | length] | @csv' 0 check --json "$d"
    refuses 2 'one device' check "$d" "$d"
    refuses 2 'not a size' resize "$d" huge
    refuses 1 'cannot become smaller' resize "$d" 1M
}

test_rm() {
    local d=$1
    does mkdir -p "$d:/d/rm/a/b"
    does touch "$d:/d/rm/x" "$d:/d/rm/a/y" "$d:/d/rm/a/b/z"
    refuses 1 'rm -r removes' rm "$d:/d/rm"
    refuses 1 'no such' rm "$d:/d/rm/none"
    refuses 1 'root directory' rm -r "$d:/"
    refuses 1 "ends with '\.'" rm -r "$d:/d/rm/."
    does rm -f "$d:/d/rm/none" "$d:/d/none/none"
    does rm -f
    does rm "$d:/d/rm/X"
    # One that fails keeps the others from nothing.
    refuses 1 'no such' rm "$d:/d/rm/none" "$d:/d/rm/a/y"
    refuses 1 'no such' ls "$d:/d/rm/a/y"
    does rm -rf "$d:/d"
    prints '' ls "$d"
}

# ------------------------------------------------------------------- bad input

test_refusals() {
    local d=$1 name
    does mkdir "$d:/d"
    does touch "$d:/d/$(printf 'x%.0s' $(seq 255))"
    for name in "$(printf 'x%.0s' $(seq 256))" "$(printf '😀%.0s' $(seq 128))"; do
        refuses 1 '255 UTF-16 units' touch "$d:/d/$name"
        refuses 1 '255 UTF-16 units' mkdir "$d:/d/$name"
        refuses 1 '255 UTF-16 units' mkdir -p "$d:/d/$name/x"
        refuses 1 '255 UTF-16 units' ln -s x "$d:/d/$name"
        refuses 1 '255 UTF-16 units' ls "$d:/d/$name"
    done
    does touch "$d:/d/$(printf '😀%.0s' $(seq 127))"
    for name in $'\xff' $'a\xc3' $'\xc0\xaf' $'\xf5\x80\x80\x80'; do
        refuses 1 'UTF-8' touch "$d:/d/$name"
        refuses 1 'UTF-8' mkdir "$d:/d/$name"
        refuses 1 'UTF-8' cat "$d:/d/$name"
        refuses 1 'UTF-8' stream put "$d:/d" "$name" "$work/numbers"
        refuses 1 'UTF-8' label "$d" "$name"
    done
    does rm -r "$d:/d"
    # A full output and a closed one.
    local status=0
    "$casefs" help ls >/dev/full 2>"$work/errors" || status=$?
    if [ "$status" -ne 1 ] || ! grep -q 'could not be written' "$work/errors"; then
        fail "a full output was not reported"
    fi
}

test_odd_names() {
    local d=$1
    does mkdir "$d:/d"
    # Unpaired surrogates, and characters that a terminal would obey.
    does touch "$d:/d/"$'half\xed\xa0\x80' "$d:/d/"$'\e[31mred\n' "$d:/d/quote\"s"
    does ls --json "$d:/d" >"$work/json"
    # The jq of Debian 12 does not know the escape of half a pair, which RFC 8259 allows.
    is_json "$work/json" || fail "odd names are not JSON: $(cat "$work/json")"
    grep -qF '"half\uD800"' "$work/json" || fail "a surrogate is not escaped: $(cat "$work/json")"
    does find --json "$d:/d" >"$work/json"
    is_json "$work/json" || fail "find --json with odd names"
    does tree --json "$d:/d" >"$work/json"
    is_json "$work/json" || fail "tree --json with odd names"
    prints "$d:/d/"$'half\xed\xa0\x80' ls "$d:/d/"$'half\xed\xa0\x80'
    does stat "$d:/d/"$'\e[31mred\n' | grep -qF '\x1B[31mred\n' || fail "stat does not escape"
    refuses 1 '\\x1B\[32m' cat "$d:/d/"$'\e[32m'
    if command -v script >/dev/null; then
        script -qec "'$casefs' ls -1 '$d:/d'" /dev/null </dev/null >"$work/terminal"
        grep -qF '\x1B[31mred\n' "$work/terminal" || fail "ls does not escape on a terminal"
        grep -qF '\uD800' "$work/terminal" || fail "ls does not escape a surrogate on a terminal"
    fi
    does find -print0 --type=f "$d:/d" | xargs -0 "$casefs" rm
    prints '' ls "$d:/d"
    does rm -r "$d:/d"
}

# Ten thousand directories, one in the other.
test_deep_paths() {
    local d=$1 part path=/deep
    part=$(printf '/d%.0s' $(seq 1000))
    does mkdir "$d:/deep"
    for _ in $(seq 10); do
        path=$path$part
        does mkdir -p "$d:$path"
    done
    does touch "$d:$path/bottom"
    [ "$(does find --name=bottom "$d" | wc -c)" -gt 20000 ] || fail "find does not reach the bottom"
    [ "$(does glob "$d:/**/BOTTOM" | wc -l)" = 1 ] || fail "glob does not reach the bottom"
    does ls -R "$d:/deep" | tail -n 1 | grep -qx bottom || fail "ls -R does not reach the bottom"
    does tree "$d:/deep" | grep -q '10000 directories, 1 files' || fail "tree does not reach the bottom"
    does stat "$d:$path/bottom" | grep -q '^type: *file' || fail "stat at the bottom"
    does chmod -R go= "$d:/deep"
    does rm -r "$d:/deep"
    prints '' ls "$d"
}

test_default_device() {
    export CASEFS=$1
    does mkdir :/d
    prints d ls
    prints d ls :/
    does touch ':\d\x'
    prints x ls :/D
    prints "$(does df "$1")" df
    tells 'length' 3 find --json
    does check >/dev/null
    does rm -r :/d
    unset CASEFS
    refuses 2 'CASEFS' ls
}

test_resize() {
    truncate -s 16M "$work/small"
    "$mkfs" "$work/small" >"$work/mkfs.log"
    does touch "$work/small:/kept"
    does resize "$work/small" 32M >/dev/null
    tells '.[0].size' 33554432 df --json "$work/small"
    truncate -s 48M "$work/small"
    does resize "$work/small" >/dev/null
    tells '.[0].size' 50331648 df --json "$work/small"
    prints kept ls "$work/small"
    refuses 1 'two devices' mv "$work/small:/kept" "$work/image:/kept"
    refuses 1 'two devices' ln "$work/small:/kept" "$work/image:/kept"
    is_clean "$work/small"
    printf 'x' >"$work/no-volume"
    refuses 1 '' resize "$work/no-volume" 32M
    [ "$(stat -c %s "$work/no-volume")" = 1 ] || fail "resize extended what is no volume"
}

test_bad_devices() {
    truncate -s 1M "$work/zeros"
    refuses 1 'does not hold a casefs volume' ls "$work/zeros"
    refuses 1 'does not hold a casefs volume' check "$work/zeros"
    refuses 1 '' ls "$work"
    refuses 1 '' ls nbd+unix:///?socket="$work/none.sock"
    refuses 1 '' ls nbd://
    truncate -s 16M "$work/cut"
    "$mkfs" "$work/cut" >"$work/mkfs.log"
    truncate -s 8M "$work/cut"
    refuses 1 'cut short|smaller' ls "$work/cut"
    # Busy: another has it open for writing.
    mkfifo "$work/fifo"
    "$casefs" stream put "$work/image:/" busy <"$work/fifo" 2>"$work/busy.log" &
    local writer=$!
    exec 9>"$work/fifo"
    echo begin >&9
    let_in "$writer"
    wait_for 10 is_busy "$work/image" || fail "a second writer was let in"
    does ls "$work/image" >/dev/null
    exec 9>&-
    wait "$writer" || fail "the writer: $(cat "$work/busy.log")"
    prints begin stream cat "$work/image:/" busy
    does stream rm "$work/image:/" busy
    if [ "$(id -u)" -ne 0 ]; then
        chmod 444 "$work/small"
        refuses 1 '' touch "$work/small:/x"
        does ls "$work/small" >/dev/null
        chmod 644 "$work/small"
    fi
}

# Let a process open its volume: who asks too early whether it is busy takes it away.
let_in() {
    wait_for 10 has_device "$1" || fail "the first writer has not opened its device"
    sleep 0.5
}

has_device() {
    ls -l "/proc/$1/fd" 2>/dev/null | grep -E 'image|socket:' >/dev/null
}

is_busy() {
    ! "$casefs" label "$1" '' 2>"$work/errors" && grep -qE 'open for writing|in use|busy|lock' "$work/errors"
}

# Ctrl-C closes the volume well: nobody has to wait for the next one.
test_interrupt() {
    local d=$1 status=0
    mkfifo "$work/interrupt"
    "$casefs" stream put "$d:/" interrupted <"$work/interrupt" 2>"$work/interrupt.log" &
    local writer=$!
    exec 9>"$work/interrupt"
    echo begin >&9
    let_in "$writer"
    wait_for 10 is_busy "$d" || fail "a second writer was let in"
    kill -TERM "$writer"
    wait "$writer" || status=$?
    exec 9>&-
    [ "$status" -eq 143 ] || fail "an interrupted verb ended with $status: $(cat "$work/interrupt.log")"
    prints '' stream ls "$d:/"
}

main
