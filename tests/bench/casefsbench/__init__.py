# SPDX-License-Identifier: BSD-3-Clause
"""The parts of the benchmark of casefs: one module per section, run by ../casefs."""
