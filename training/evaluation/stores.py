"""Model sets by name: a folder, the package's, or one that the registry knows by an alias."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from groundshift.opening import open_registry, settings_of
from groundshift.registry import CHALLENGER, CHAMPION, PACKAGE


@contextmanager
def opened(name: str) -> Iterator[Path]:
    """The folder of a set: a path, ``package``, ``champion`` or ``challenger``.

    A folder of that name comes first. Raises NotFound where the registry has no such alias.
    """
    if name == PACKAGE and not Path(name).is_dir():
        with as_file(files("groundshift") / "model_store") as store:
            yield store
    elif name in (CHAMPION, CHALLENGER) and not Path(name).is_dir():
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / name
            open_registry(settings_of()).fetch(name, store)
            yield store
    else:
        yield Path(name)
