"""Doing a plan: the pipeline, its chunks, this process as a runner, records of runs. No Ray."""
