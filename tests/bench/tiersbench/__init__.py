# SPDX-License-Identifier: BSD-3-Clause
"""The parts of the benchmark of tiers: one module per section, run by ../tiers."""
