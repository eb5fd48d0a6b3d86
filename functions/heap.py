"""The C heap of a process that moves many arrays of a few MiB between threads."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Final

_ARENA_MAX: Final = -8
_MMAP_THRESHOLD: Final = -3
"""Parameters of glibc's mallopt (malloc.h)."""
_THRESHOLD_BYTES: Final = 1 << 20


def bound_heap() -> None:
    """Give arrays over 1 MiB back to the system as soon as they are freed.

    glibc raises its mmap threshold to 32 MiB by itself and keeps an arena per thread; tiles of 3
    MiB then stay in fragmented arenas, which was measured to treble the resident set of `detect`.
    Elsewhere than on glibc nothing happens.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(_ARENA_MAX, 2)
        mallopt(_MMAP_THRESHOLD, _THRESHOLD_BYTES)


def trim_heap() -> None:
    """Give what a stage has freed back to the system.

    GDAL's blocks are of half a MiB and come from the arenas: after the ingest of a 10980 px scene
    half a GiB of them was measured to stay there. A lower mmap threshold cures it too, at a
    quarter more time.
    """
    malloc_trim = _glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _glibc(name: str) -> Callable[..., int] | None:
    """A function of glibc; None elsewhere (musl has neither)."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)
