# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark's parts: one module per idea, run by ../run."""
