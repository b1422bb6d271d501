"""Affinity networks (PSA, IRN) and the walk over affinities."""
