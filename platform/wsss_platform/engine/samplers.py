"""Optuna's samplers by name: a fresh one for each trial, so that a draw depends on the seed, the trial's number and the
finished trials alone, and a study goes on after a crash as if there had been none.

    tpe      tree-structured Parzen estimators over all axes at once; running trials count as bad (the default)
    random   independent draws
    gp       Gaussian process with Optuna's log-EI; needs scipy
    cmaes    CMA-ES over the numbers, its state kept in the study; needs the package cmaes; words are drawn at random
"""

from __future__ import annotations

import hashlib
import importlib.util

import optuna
from optuna.samplers import BaseSampler

from wsss_platform.errors import InputError, unknown

SAMPLERS = {"tpe": "", "random": "", "gp": "scipy", "cmaes": "cmaes"}
"""Name -> the package that it needs besides Optuna's own, which is not among the platform's dependencies."""


def check_sampler(name: str) -> str:
    """The name, if the sampler can be used here.

    Raises:
        InputError: there is none of this name (with the nearest one), or its package is not installed.
    """
    if name not in SAMPLERS:
        raise unknown("sampler (--sampler)", name, SAMPLERS)
    package = SAMPLERS[name]
    if package and importlib.util.find_spec(package) is None:
        raise InputError(
            f"sampler (--sampler) {name!r} needs the package {package!r}, which is not installed: "
            f"pip install {package}; tpe and random need nothing more"
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
    return optuna.samplers.TPESampler(seed=own, multivariate=True, constant_liar=True, group=conditional)
