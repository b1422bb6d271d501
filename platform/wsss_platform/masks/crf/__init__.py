"""The dense CRF: pydensecrf, and our lattice for many settings at once."""
