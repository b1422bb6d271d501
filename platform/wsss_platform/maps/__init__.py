"""Class activation maps: multi-scale extraction (`extract`), refinement of stored maps (`refine`; both need torch) and
the compact store (`storage`)."""
