"""Backbones with named taps."""
