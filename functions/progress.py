"""Progress bars, on standard error; nothing where standard error is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from functions import reports
from functions.platform import Platform

T = TypeVar("T")
_screen = Console(stderr=True)


def bars(*, quiet: bool) -> Progress:
    """A group of progress bars, to be used as a context."""
    return Progress(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=_screen,
        disable=quiet or not _screen.is_terminal,
        transient=True,
    )


def steps(*, quiet: bool) -> Callable[[Iterable[T], str], Iterator[T]]:
    """What walks an iterable behind a progress bar."""

    def walk(items: Iterable[T], title: str) -> Iterator[T]:
        total = len(items) if isinstance(items, Sized) else None
        with bars(quiet=quiet) as progress:
            yield from progress.track(items, total=total, description=title)

    return walk


@contextmanager
def watching(platform: Platform, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Bars of scenes and blocks; what it yields looks at the ledger and moves them."""
    with bars(quiet=quiet) as progress:
        tasks = {name: progress.add_task(name, total=None) for name in ("scenes", "blocks")}

        def look() -> None:
            for name, (done, total) in reports.progress(platform.ledger).items():
                progress.update(tasks[name], completed=done, total=total or None)

        yield look
