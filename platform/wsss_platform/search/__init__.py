"""What a search may try: spaces, costs, and the search over stored maps. No Ray, no Optuna."""
