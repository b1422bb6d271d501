"""Checks for methods of other packages, as `optuna.testing` is for samplers."""
