"""What a reader sees: tables, figures, comparisons, leaderboards."""
