"""Ways to the same numbers that are quicker on a CPU; README.md says what each one buys."""
