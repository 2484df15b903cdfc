#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The manual pages of casefs name everything there is, and nothing else:
# functions, structures and their members, constants, options, verbs, problems.
# Their syntax is clean, and the code in them is that of the sources, or compiles.
#
# CASEFS_PROGRAMS names the folder of the programs, if it is not the build's.  The
# page of a program that is not there is left out.

# shellcheck source=tests/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"
requires podchecker perl cc

header=$top/fs/casefs.h
library_page=$top/fs/libcasefs.pod
mkfs_page=$top/tools/mkfs.casefs.pod
fsck_page=$top/tools/fsck.casefs.pod
casefs_page=$top/tools/casefs/casefs.pod
mount_page=$top/tools/mount/mount.casefs.pod

main() {
    for page in "$library_page" "$mkfs_page" "$fsck_page" "$casefs_page" "$mount_page"; do
        [ ! -e "$page" ] || syntax_is_clean "$page"
    done
    library_agrees
    program_agrees mkfs.casefs "$mkfs_page"
    program_agrees fsck.casefs "$fsck_page"
    program_agrees mount.casefs "$mount_page"
    [ ! -e "$fsck_page" ] || problems_agree
    verbs_agree
}

syntax_is_clean() {
    podchecker -warnings "$1" >"$work/podchecker.log" 2>&1 || fail "the syntax of $1 is wrong"
    ! grep -E 'WARNING|ERROR' "$work/podchecker.log" || fail "the syntax of $1 is not clean"
}

# agree WHAT IN_CODE IN_PAGE [ARGUMENT...]: both commands print the same lines, and some.
agree() {
    local what=$1 in_code=$2 in_page=$3
    shift 3
    "$in_code" "$@" >"$work/in-code"
    "$in_page" "$@" >"$work/in-page"
    [ -s "$work/in-code" ] || fail "no $what were found in the code"
    diff -u --label code --label page "$work/in-code" "$work/in-page" >&2 || fail "$what: code and page differ"
}

# section PAGE HEADING [LEVEL]: the text under that heading.
section() {
    awk -v heading="=head${3-1} $2" -v level="${3-1}" '
        /^=head/ && substr($0, 6, 1) <= level {inside = $0 == heading} inside' "$1"
}

# built NAME: the path of a program, if it is there.
built() {
    local folder=${CASEFS_PROGRAMS:-$build/tools} path
    for path in "$folder/$1" "$folder/casefs/$1" "$folder/mount/$1"; do
        if [ -f "$path" ] && [ -x "$path" ]; then
            echo "$path"
            return
        fi
    done
    echo "$1 was not built: its page is not compared" >&2
}

# ------------------------------------------------------------------ the library

library_agrees() {
    agree "functions" functions_in_header functions_in_page
    agree "members of structures" members_in_header members_in_page
    agree "constants" constants_in_header constants_in_page
    agree "lines of the example" example_in_code example_in_page
    agree "lines that the example prints" example_prints example_prints_in_page
    compiles_alone
}

functions_in_header() {
    grep -oE '\bcasefs_[a-z0-9_]+\(' "$header" | tr -d '(' | sort -u
}

functions_in_page() {
    section "$library_page" FUNCTIONS | sed -n 's/^=item B<\(casefs_[a-z0-9_]*\)>(.*/\1/p' | sort
}

# "structure member", for each member of each structure that is not opaque.
members_in_header() {
    perl -0777 -ne '
        s{/\*.*?\*/}{}gs;
        while (/^struct (casefs_\w+) \{(.*?)^\};/gsm) {
            my ($structure, $members) = ($1, $2);
            $members =~ s/\)\s*\(.*?\);/;/gs;     # the arguments of functions
            $members =~ s/\[.*?\]//g;
            for (split /;/, $members) {
                print "$structure $1\n" while /(\w+)\s*(?=,|$)/g;
            }
        }' "$header" | sort
}

members_in_page() {
    section "$library_page" FUNCTIONS | perl -ne '
        if (/^=item C<struct (casefs_\w+)>/) { ($structure, $depth) = ($1, 0) }
        elsif (/^=over/) { $depth++ }
        elsif (/^=back/) { undef $structure if --$depth < 0 }
        elsif (/^=item / && $structure && $depth == 1) {
            print "$structure $1\n" while /C<(\w+)>/g;
        }' | sort
}

constants_in_header() {
    grep -oE '\bCASEFS_[A-Z0-9_]+\b' "$header" | grep -vx CASEFS_H | sort -u
}

constants_in_page() {
    grep -oE '\bCASEFS_[A-Z0-9_]+\b' "$library_page" | sort -u
}

example_in_code() {
    sed -n '/^#include/,$ p' "$top/fs/example.c"
}

# Up to the end of main, which is not the first function.
example_in_page() {
    section "$library_page" EXAMPLE | sed -n '/^ #include/,$ s/^ \{0,1\}//p' |
        awk '{print} /^int main/ {inside = 1} inside && /^}$/ {exit}'
}

example_prints() {
    local program=$build/fs/casefs-example
    if [ ! -x "$program" ]; then
        echo "casefs-example was not built: what it prints is not compared" >&2
        example_prints_in_page
        return
    fi
    "$program"
}

example_prints_in_page() {
    section "$library_page" EXAMPLE | sed -n '/^It prints/,$ s/^ //p'
}

# The device in the page is whole, and without a warning.
compiles_alone() {
    section "$library_page" "A DEVICE OF ONE'S OWN" | sed -n 's/^ //p; s/^$//p' >"$work/device.c"
    grep -q '#include <casefs.h>' "$work/device.c" || fail "there is no device in the page"
    cc -std=c17 -Wall -Wextra -Werror -fsyntax-only -I "$top/fs" "$work/device.c" || fail "the device in the page does not compile"
}

# ----------------------------------------------------------------- the programs

program_agrees() {
    local program
    program=$(built "$1")
    if [ -n "$program" ] && [ -e "$2" ]; then
        agree "options of $1" options_in_help options_in_page "$program" "$2"
    fi
}

# options: those that lines of a help text begin with, short and long.
options() {
    perl -ne '
        next unless /^ +(-[^\s,]+(?:, -[^\s,]+)*)/;
        for (split /, /, $1) { print "$1\n" if /^(--?[A-Za-z0-9][a-z-]*)/ }' | sort -u
}

# options_of_items: those that items of a page introduce.
options_of_items() {
    grep '^=item' | grep -oE -e 'B<--?[A-Za-z0-9][a-z-]*' | sed 's/^B<//' | sort -u
}

options_in_help() {
    "$1" --help | options
}

options_in_page() {
    section "$2" OPTIONS | options_of_items
}

# The number and the sentence of each problem; N stands for a number there.
problems_agree() {
    agree "problems" problems_in_code problems_in_page
}

problems_in_code() {
    perl -0777 -ne '
        if ($ARGV =~ /check\.h$/) { $number{$1} = $2 while /^\s*(PROBLEM_\w+) = (\d+),/gm; next }
        while (/^\s*\{(PROBLEM_\w+), \w+,\s*(.*?)\},$/gsm) {
            my ($name, $text) = ($1, $2);
            $text =~ s/" NAME "/NAME/g;
            $text =~ s/%" PRI\w+( "|)/%u/g;
            $text =~ s/"//g;
            $text =~ s/%[uox]/N/g;
            print $number{$name} // $name, " ", ucfirst $text, ".\n";
        }' "$top/fs/check.h" "$top/fs/check-problems.c" | sort
}

problems_in_page() {
    section "$fsck_page" PROBLEMS | perl -00 -ne '
        s/\s+/ /g; s/ $//;
        if (/^=item B<(\d+)>$/) { $number = $1 }
        elsif (!/^=/ && $number) { print "$number $_\n"; undef $number }' | sort
}

verbs_agree() {
    local verb
    casefs=$(built casefs)
    if [ -z "$casefs" ] || [ ! -e "$casefs_page" ]; then
        return
    fi
    agree "verbs" verbs_in_help verbs_in_page
    for verb in $(verbs_in_help); do
        if verb_has_options "$verb"; then
            agree "options of casefs $verb" verb_options_in_help verb_options_in_page "$verb"
        fi
    done
}

verbs_in_help() {
    "$casefs" help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p' | sort
}

verbs_in_page() {
    section "$casefs_page" VERBS | sed -n 's/^=head2 //p' | sort
}

verb_has_options() {
    [ -n "$(verb_options_in_help "$1"; verb_options_in_page "$1")" ]
}

# Every verb has --help: the page tells that once.
verb_options_in_help() {
    "$casefs" help "$1" | options | sed '/^--help$/d'
}

verb_options_in_page() {
    section "$casefs_page" VERBS | section /dev/stdin "$1" 2 | options_of_items
}

main
