"""wsss-platform: train, tune and honestly score weakly supervised semantic segmentation.

The rooms of the house from the ground up; a room imports rooms above it in this list only (tests/test_rooms.py).

    errors      the two errors that a user sees
    config      settings: sections with units and ranges, overrides, TOML
    method      what a method offers: `Method`, `Phase`, `TrainingModule`
    store       stage outputs by content key, and the disk they lie on
    data        images, image-level labels, ground truth; the built-in sample; converters of other data sets
    nets        backbones, heads, affinity networks, released checkpoints, tricks for CPUs
    plan        what is to be done, as plain data: an experiment, its stages with their keys, its protocol

    train       one training phase: loop, batches, optimiser, checkpoints
    maps        class activation maps: extraction, storage, maps of other code
    masks       pseudo masks: background rules, dense CRF
    scores      confusion, exact threshold sweeps, bootstrap intervals; arrays only

    run         doing a plan in one process: the pipeline, its chunks, records of runs. No Ray
    search      what a search may try: spaces, costs, and the search over stored maps. No Ray, no Optuna
    engine      Ray: clusters, Ray Train, the parallel producer of maps, masks and counts
    tracking    W&B
    sites       send a command to Slurm, Kubernetes or a Ray cluster
    upkeep      list, verify, clear and copy what is stored
    tune        a study on Ray Tune and Optuna
    report      tables, figures, comparisons, leaderboards
    exchange    maps in, masks and scores out, for and from other code
    api         what can be done from Python; puts the rooms together
    testing     checks that a method must pass, shipped for other packages
    cli         one file a verb; parses, calls `api`, prints

Importing this package imports neither torch nor ray.
"""

__version__ = "0.1.0"
