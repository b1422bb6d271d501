"""What a search may try, and what it came to: spaces, costs, the search over stored maps. No Ray, no Optuna."""
