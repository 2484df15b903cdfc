#!/usr/bin/perl
# SPDX-License-Identifier: BSD-3-Clause
#
# Write fs/fold-table.h, the upcase table of Windows 7 to 10:
#
#     fs/fold-table.pl >fs/fold-table.h
#
# The rule, for a code point c of the BMP that Unicode 5.1 had: the simple
# uppercase u of c, if u is in the BMP and in Unicode 5.1 too, and c is the
# simple lowercase of u; else c itself.  The result is checked against what
# Windows is known to have, so a perl of any later Unicode gives the same
# table or none.

use strict;
use warnings;
use Digest::MD5 qw(md5_hex);
use Unicode::UCD qw(prop_invmap);

use constant MAPPINGS => 973;
use constant MD5 => '7ff498a44e45e77374cc7c962b1b92f2'; # of the 128 KiB of little-endian units
use constant PAGE => 64;                                # units; must be a power of two

# A property's value at each code point of the BMP.  With adjust, values are
# code points that count up within a range, and 0 stands for the code point itself.
sub property {
    my ($name, $adjust) = @_;
    my ($starts, $values, $format) = prop_invmap($name);
    die "$name: unexpected format $format\n" if $adjust ? $format !~ /^a/ : $format ne 's';
    my @of;
    for my $i (0 .. $#$starts) {
        my $end = $i < $#$starts ? $starts->[$i + 1] : 0x110000;
        for my $c ($starts->[$i] .. $end - 1) {
            last if $c > 0xffff;
            my $value = $values->[$i];
            $of[$c] = !$adjust ? $value : $value ? $value + $c - $starts->[$i] : $c;
        }
    }
    return \@of;
}

sub in_unicode_5_1 {
    my ($age) = @_;
    return $age =~ /^V?(\d+)[._](\d+)$/ && ($1 < 5 || ($1 == 5 && $2 <= 1));
}

my $ages = property('Age', 0);
my $uppers = property('Simple_Uppercase_Mapping', 1);
my $lowers = property('Simple_Lowercase_Mapping', 1);

my @table = map {
    my $upper = $uppers->[$_];
         $upper <= 0xffff
      && in_unicode_5_1($ages->[$_])
      && in_unicode_5_1($ages->[$upper])
      && $lowers->[$upper] == $_ ? $upper : $_;
} 0 .. 0xffff;

my @mapped = grep { $table[$_] != $_ } 0 .. 0xffff;
die scalar(@mapped), " mappings, not ", MAPPINGS, "\n" if @mapped != MAPPINGS;
my $md5 = md5_hex(pack 'v*', @table);
die "the table's MD5 is $md5, not ", MD5, "\n" if $md5 ne MD5;

sub delta {
    my ($c) = @_;
    return ($table[$c] - $c) & 0xffff;
}

# How many of the mapped units from $i on are one run: the same delta, the same step.
sub run_length {
    my ($i, $step) = @_;
    my $count = 1;
    $count++
      while $i + $count < @mapped
      && $mapped[$i + $count] == $mapped[$i] + $step * $count
      && delta($mapped[$i + $count]) == delta($mapped[$i]);
    return $count;
}

my @runs;
for (my $i = 0; $i < @mapped;) {
    my ($step, $count) = (1, 1);
    for my $s (1, 2) { # alphabets side by side, and letters in pairs
        my $n = run_length($i, $s);
        ($step, $count) = ($s, $n) if $n > $count;
    }
    push @runs, [$mapped[$i], $count, $step, delta($mapped[$i])];
    $i += $count;
}

my (@index, @pages, %page_numbers);
for (my $first = 0; $first < 0x10000; $first += PAGE) {
    my $page = join ', ', map { sprintf '0x%04x', delta($_) } $first .. $first + PAGE - 1;
    if (!exists $page_numbers{$page}) {
        $page_numbers{$page} = @pages;
        push @pages, $page;
    }
    push @index, $page_numbers{$page};
}

# Break a comma-separated list into lines that begin with so many spaces.
sub lines {
    my ($indent, $per_line, @items) = @_;
    my $text = '';
    while (my @line = splice @items, 0, $per_line) {
        $text .= ' ' x $indent . join(', ', @line) . ",\n";
    }
    return $text;
}

printf <<'HEAD', PAGE, scalar @runs, scalar @index, scalar @pages;
/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Written by fold-table.pl; do not edit.
 *
 * The upcase table of Windows 7 to 10: as runs of mappings, which a volume
 * keeps, and as pages of differences, for looking up.
 */

#ifndef CASEFS_FOLD_TABLE_H
#define CASEFS_FOLD_TABLE_H

#include <stdint.h>

#define FOLD_PAGE %uu /* units */
#define FOLD_RUNS %uu
#define FOLD_INDEX %uu
#define FOLD_PAGES %uu

/* count units from first on, step apart, each have the upper case unit + delta mod 65536. */
struct fold_run {
  uint16_t first, count, step, delta;
};

HEAD
print "/* clang-format off */\nstatic const struct fold_run fold_runs[FOLD_RUNS] = {\n";
print lines(2, 3, map { sprintf '{0x%04x, %u, %u, 0x%04x}', @$_ } @runs), "};\n\n";
print "/* Which page the unit's upper bits choose. */\n";
print "static const uint8_t fold_index[FOLD_INDEX] = {\n", lines(2, 24, @index), "};\n\n";
print "/* What to add to a unit, mod 65536. */\n";
print "static const uint16_t fold_pages[FOLD_PAGES][FOLD_PAGE] = {\n";
print "  {\n", lines(4, 8, split /, /), "  },\n" for @pages;
print "};\n/* clang-format on */\n\n#endif\n";
