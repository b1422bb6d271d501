"""W&B: the only importer of wandb."""
