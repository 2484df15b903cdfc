#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# fs/fold-table.h is what its generator writes, which checks the table's MD5.

. "$(dirname "$0")/../functions.sh"

perl=/usr/bin/perl
"$perl" -MDigest::MD5 -MUnicode::UCD -e1 2>/dev/null || skip "perl has no Unicode::UCD"

"$perl" "$top/fs/fold-table.pl" >"$work/fold-table.h" || fail "the generator refused"
diff -u "$top/fs/fold-table.h" "$work/fold-table.h" || fail "fs/fold-table.h is not what fold-table.pl writes"
