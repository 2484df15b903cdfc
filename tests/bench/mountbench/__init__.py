# SPDX-License-Identifier: BSD-3-Clause
"""The parts of the benchmark of mount.casefs: one module per section, run by ../mount."""
