"""Processes that train together in a test."""

from __future__ import annotations

import os
from typing import NoReturn

from torch import distributed


def leave() -> NoReturn:
    """End a worker that is done, when all are: gloo's own threads may abort a process that tears its group down."""
    distributed.barrier()
    os._exit(0)
