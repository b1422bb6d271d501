"""Both sides of a comparison in one process, alternating: `python -m benchmarks [--json] [--only WORD]`.

Nothing here is a test: a slow machine gives other times, never a failure. Results are compared for
equality before anything is timed.
"""
