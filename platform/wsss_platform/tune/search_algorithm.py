"""What Optuna decides in a study: which trial comes next (its samplers by name), and which one stops early (a pruner).

A sampler is made anew for each trial, so that a draw depends on the seed, the trial's number and the finished trials
alone, and a study continues after a crash as if there had been none.

    tpe      tree-structured Parzen estimators over all axes at once; running trials count as bad (the default)
    random   independent draws
    gp       Gaussian process with Optuna's log-EI; needs scipy
    cmaes    CMA-ES over the numbers, its state kept in the study; needs the package cmaes; words are drawn at random
    nsgaii   NSGA-II, generations of 20 trials; the first is random. Mostly for several objectives

Several objectives at once: all but cmaes.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from wsss_platform.errors import InputError, unknown

SAMPLERS = {"tpe": "", "random": "", "gp": "scipy", "cmaes": "cmaes", "nsgaii": ""}
"""Name -> the package that it needs besides Optuna's own, which is not among the platform's dependencies."""
POPULATION = 20
"""Trials of a generation of NSGA-II; Optuna's own 50 is more than most studies have. [ours]"""


def check_sampler(name: str, objectives: int = 1) -> str:
    """The name, if the sampler can be used here.

    Raises:
        InputError: there is none of this name (with the nearest one), its package is not installed, or it cannot search
            for so many objectives.
    """
    if name not in SAMPLERS:
        raise unknown("sampler (--sampler)", name, SAMPLERS, "--sampler")
    if objectives > 1 and name == "cmaes":
        raise InputError(
            f"sampler (--sampler) {name!r} searches for one objective, and this study has {objectives}; expected tpe, "
            "random, nsgaii or gp"
        )
    package = SAMPLERS[name]
    if package and importlib.util.find_spec(package) is None:
        raise InputError(
            f"sampler (--sampler) {name!r} needs the package {package!r}, which is not installed: "
            f"pip install {package}; tpe, random and nsgaii need nothing more"
        )
    return name


def make_sampler(name: str, seed: int, number: int, *, conditional: bool = False) -> BaseSampler:
    """The sampler of one trial.

    Args:
        name: one of `SAMPLERS`.
        seed: of the study.
        number: of the trial.
        conditional: whether some axes exist only beside certain values of others.
    """
    digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
    own = int.from_bytes(digest[:4], "big")
    match check_sampler(name):
        case "random":
            return optuna.samplers.RandomSampler(seed=own)
        case "gp":
            return optuna.samplers.GPSampler(seed=own)
        case "cmaes":
            return optuna.samplers.CmaEsSampler(seed=own, warn_independent_sampling=False)
        case "nsgaii":
            return optuna.samplers.NSGAIISampler(seed=own, population_size=POPULATION)
    return optuna.samplers.TPESampler(seed=own, multivariate=True, constant_liar=True, group=conditional)


def make_pruner(rungs: Sequence[int], reduction: int) -> BasePruner | None:
    """The pruner of a study; None when no trial is stopped early.

    Args:
        rungs: finished epochs at which trials are compared, each `reduction` times the one before.
        reduction: of the trials at a rung about one in this many continues.
    """
    if not rungs:
        return None
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=rungs[0], reduction_factor=reduction)
