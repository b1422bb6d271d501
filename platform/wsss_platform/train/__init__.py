"""Training of one phase: the loop, optimiser groups, checkpoints with all state. No Ray here."""
