"""How a process on a CPU treats memory: what the C library keeps of what is freed, which decides a tenth to a half of
the time, and how much of what oneDNN compiles for each size of a picture stays."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h
_NEVER = 2**31 - 1
_CAPACITY = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY")  # its present name and its former


def keep_freed_memory() -> bool:
    """Let this process keep what it frees and use it again, if its C library is glibc.

    By default glibc maps each block above 32 MB anew and gives it back when it is freed, so that the kernel clears it
    page by page for every tensor. The process then holds its peak until it ends.

    Returns:
        Whether it could be asked for.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))


def bound_compiled(convolutions: int = 256) -> None:
    """Let this process keep the compiled form of so many convolutions; a value that the user has set stays.

    oneDNN compiles each convolution for each size and keeps 1024 by default. Over a list of many sizes that fills with
    what is not met again. One picture's views, four scales of a network of 53 convolutions, need less than 256, so that
    the next picture of the same size compiles nothing.

    To be called before the first convolution of the process.
    """
    if not any(name in os.environ for name in _CAPACITY):
        os.environ[_CAPACITY[0]] = str(convolutions)
