"""Handle what was announced, then stop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from functions.commands.common import platform_settings
from functions.commands.up import sole_owner
from functions.local import embedded
from functions.platform import Platform
from functions.progress import watching


@contextmanager
def work(
    *,
    data_dir: Path | None,
    roots: Sequence[Path] | None,
    hosts: Sequence[str] | None,
    quiet: bool = False,
) -> Iterator[Platform]:
    """Work off a data folder's events; the platform, once nothing waits."""
    settings = platform_settings(data_dir, roots, hosts)
    with sole_owner(settings.data_dir), embedded(settings) as platform:
        with watching(platform.platform, quiet=quiet) as watch:
            platform.work(watch=watch)
        yield platform.platform
