"""Confusion, exact threshold sweeps, per-image counts, scores and paired bootstrap. No torch."""
