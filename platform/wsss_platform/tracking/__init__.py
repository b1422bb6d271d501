"""What a run leaves behind for people: local records, the leaderboard, and W&B (its only importer)."""
