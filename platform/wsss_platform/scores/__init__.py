"""Confusion, exact threshold sweeps, per-picture counts, scores and paired bootstrap. No torch."""
