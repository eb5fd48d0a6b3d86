"""How many bytes of each scene the stages read, over the bytes that lie on the disk.

    python benchmarks/decoding.py --size 2240

A block of a TIFF is read where it is decoded, and not where GDAL still has it, so the ratio is that
of decoding. GDAL reads through a counting file; stages run one at a time, so that each read has
its stage. 1.0 for a source means that each of its bytes was decoded once; a COG holds overviews,
so that all its full pixels are three quarters of it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import rasterio
from end_to_end import SAID, make_scenes

from functions import local
from functions.commands.submit import scene_arrived
from groundshift.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2240)
    size = parser.parse_args().size
    with tempfile.TemporaryDirectory(prefix="groundshift-bench-") as name:
        paths = make_scenes(Path(name), size)
        print(json.dumps(decoded(paths, Path(name, "data")), indent=2))


def decoded(paths: list[Path], data: Path) -> dict[str, dict[str, float]]:
    """Bytes read over bytes on disk, by file and stage."""
    counts = _Counts()
    settings = Settings(data_dir=data, allowed_roots=(paths[0].parent,), backoff_scale=0.1)
    with counts.counting(), local.embedded(settings) as platform:
        platform.announce([scene_arrived(str(path), SAID.of_scene) for path in paths])
        platform.work()
    return counts.ratios(paths, data)


@dataclass
class _Counts:
    """Bytes read by file and stage."""

    stage: str = ""
    bytes: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _one: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what stages read through rasterio within this process."""
        with patch.object(rasterio, "open", self._open), self._serial():
            yield

    def ratios(self, paths: list[Path], data: Path) -> dict[str, dict[str, float]]:
        """Only scenes: what runs and polygons are made of is small."""
        scenes = [*paths, *sorted(data.glob("objects/scenes/*/*.tif"))]
        return {
            f"{path.parent.name}/{path.name}": {
                stage: round(count / path.stat().st_size, 3)
                for stage, count in self.bytes[str(path)].items()
            }
            for path in scenes
        }

    def _open(self, path: Any, mode: str = "r", **options: Any) -> Any:
        if mode != "r" or not Path(str(path)).is_file():
            return _RASTERIO_OPEN(path, mode, **options)
        return _RASTERIO_OPEN(str(path), mode, opener=self._file, **options)

    def _file(self, path: str, _mode: str = "rb") -> _CountedFile:
        return _CountedFile(path, lambda count: self._note(path, count))

    def _note(self, path: str, count: int) -> None:
        self.bytes[path][self.stage] += count

    def _serial(self) -> Any:
        def one_at_a_time(stage: str, *args: Any, **options: Any) -> Any:
            platform, handlers, *rest = args
            held = self._held(stage, handlers[stage])
            return create_app(stage, platform, {**handlers, stage: held}, *rest, **options)

        create_app = local.create_app
        return patch.object(local, "create_app", one_at_a_time)

    def _held(self, stage: str, handler: Callable[..., None]) -> Callable[..., None]:
        def handle(*args: Any) -> None:
            with self._one:
                self.stage = stage
                handler(*args)

        return handle


_RASTERIO_OPEN = rasterio.open


class _CountedFile:
    """What GDAL reads a file through."""

    def __init__(self, path: str, note: Callable[[int], None]) -> None:
        self._file = Path(path).open("rb")  # noqa: SIM115  # GDAL closes it
        self._note = note

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._note(len(data))
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


if __name__ == "__main__":
    main()
