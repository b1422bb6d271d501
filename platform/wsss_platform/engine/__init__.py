"""Ray: clusters, training workers, the parallel producer. Only engine and tune import ray."""

import os

# Ray prints "(raylet) A worker died ..." on a driver's standard output, which is ours for results; it reads
# this when it is imported. Every such loss reaches the user as an error or in Ray's own logs.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
