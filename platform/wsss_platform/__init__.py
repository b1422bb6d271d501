"""wsss-platform: train, tune and honestly score weakly supervised semantic segmentation.

The rooms of the house, in the order in which a picture walks through them:

    data      pictures and image-level labels (`Split`), pixel truth (`Truth`), training views
    nets      backbones with named taps and a chosen output stride
    method    what a method offers: `Method`, `Phase`, `Objective`
    train     one-process training loop, optimiser groups, checkpoints with all state
    maps      class activation maps: extraction, compact storage
    masks     background rules, dense CRF, palette PNG
    metrics   confusion, exact threshold sweeps, paired bootstrap
    store, experiment, pipeline    content-addressed stages, and the plan that runs them
    engine    Ray Train, Ray Tune with Optuna, the parallel producer (the only importer of ray)
    tracking  W&B (its only importer), local records, the leaderboard

Importing this package imports neither torch nor ray.
"""

__version__ = "0.1.0"
