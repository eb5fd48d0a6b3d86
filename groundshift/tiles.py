"""The models' chain over one tile: cloud mask -> segmenter -> change classifier, with caches.

What the first two models say of a scene depends on that scene and the tile alone, so it is stored
under (model digest, compute signature, scene, tile) and never asked for twice.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geodata_etl.arrays import pack, unpack
from geodata_etl.bands import CLOUD_BANDS, NODATA, NOT_OBSERVED, Cover
from geodata_etl.composite import (
    Bool,
    Layer,
    UInt8,
    UInt16,
    blend_baseline,
    class_map,
    clear_mask,
)
from geodata_etl.grid import CORE_PX, HALO_PX, TILE_PX, Tile
from groundshift.errors import ModelRefused
from groundshift.ports import ModelClient, ModelRevision, ObjectStore

_SHAPE = (TILE_PX, TILE_PX)
_CORE = (slice(HALO_PX, HALO_PX + CORE_PX),) * 2


@dataclass(frozen=True)
class ModelSet:
    """The three revisions that answer for one run."""

    cloud_mask: ModelRevision
    segmenter: ModelRevision
    change_classifier: ModelRevision

    @property
    def revisions(self) -> tuple[ModelRevision, ...]:
        """All three, in the order of the chain."""
        return self.cloud_mask, self.segmenter, self.change_classifier


@dataclass(frozen=True)
class TileScene:
    """One scene over one tile, before any model saw it."""

    scene_id: str
    read: Callable[[], UInt16]
    """Gives [6, 512, 512] reflectance x 10000, 0 = nodata and outside the scene."""


@dataclass(frozen=True)
class TileResult:
    """What one tile adds to its block: the core's pixels, 448 x 448."""

    change: UInt8
    """Change probability x 254, 255 = not observed."""
    observed: UInt8
    """1 where both dates are clear, else 0."""
    before_class: UInt8
    """`Cover`, 255 where the baseline is not observed."""
    after_class: UInt8
    """`Cover`, 255 where the scene is not observed."""


class SingleFlight:
    """One worker computes a key; the others who want it wait for that one."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._flights: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def __call__(self, key: str) -> Iterator[None]:
        """Hold the key."""
        with self._guard:
            lock, users = self._flights.get(key, (threading.Lock(), 0))
            self._flights[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._flights.pop(key)
                if users > 1:
                    self._flights[key] = (lock, users - 1)


@dataclass(frozen=True)
class TileChain:
    """The three models over tiles, for one model set."""

    models: ModelClient
    model_set: ModelSet
    store: ObjectStore
    cloud_buffer_px: int
    flights: SingleFlight = field(default_factory=SingleFlight)

    def compare(self, tile: Tile, scene: TileScene, baseline: Sequence[TileScene]) -> TileResult:
        """Compare a scene with its baseline (most recent first; none for a prime run)."""
        after = self.layer(tile, scene)
        before = blend_baseline(self._layers(tile, baseline), shape=_SHAPE)
        observed = after.clear & before.observed
        return TileResult(
            change=self._change(after, before.bands, before.probabilities, observed),
            observed=np.ascontiguousarray(observed[_CORE]).view(np.uint8),
            before_class=class_map(before.probabilities[:, *_CORE], before.observed[_CORE]),
            after_class=class_map(after.probabilities[:, *_CORE], after.clear[_CORE]),
        )

    def layer(self, tile: Tile, scene: TileScene) -> Layer:
        """Cloud mask and class probabilities of one scene over one tile, cached."""
        bands = scene.read()
        if not (bands[0] != NODATA).any():
            return Layer(bands, np.zeros(_SHAPE, np.bool_), _unseen())
        cloud = self._cached(self.model_set.cloud_mask, tile, scene, lambda: self._cloud(bands))
        clear = clear_mask(bands, cloud, buffer_px=self.cloud_buffer_px)
        if not clear.any():
            return Layer(bands, clear, _unseen())
        probabilities = self._cached(
            self.model_set.segmenter, tile, scene, lambda: self._segment(bands)
        )
        return Layer(bands, clear, probabilities)

    def _layers(self, tile: Tile, scenes: Iterable[TileScene]) -> Iterator[Layer]:
        return (self.layer(tile, scene) for scene in scenes)

    def _cached(
        self,
        revision: ModelRevision,
        tile: Tile,
        scene: TileScene,
        compute: Callable[[], UInt8],
    ) -> UInt8:
        key = cache_key(revision, scene.scene_id, tile)
        with self.flights(key):
            if self.store.exists(key):
                return _only(unpack(self.store.get(key))["output"])
            output = compute()
            self.store.put_if_absent(key, pack({"output": output}))
            return output

    def _cloud(self, bands: UInt16) -> UInt8:
        image = np.ascontiguousarray(bands[None, : len(CLOUD_BANDS)])
        return _only(self.models.infer(self.model_set.cloud_mask, {"image": image})["mask"][0])

    def _segment(self, bands: UInt16) -> UInt8:
        answer = self.models.infer(self.model_set.segmenter, {"image": bands[None]})
        return _only(answer["probabilities"][0])

    def _change(
        self, after: Layer, before_bands: UInt16, before_probabilities: UInt8, observed: Bool
    ) -> UInt8:
        core = observed[_CORE]
        if not core.any():
            return np.full((CORE_PX, CORE_PX), NOT_OBSERVED, np.uint8)
        answer = self.models.infer(
            self.model_set.change_classifier,
            {
                "before": before_bands[None],
                "after": after.bands[None],
                "before_probabilities": before_probabilities[None],
                "after_probabilities": after.probabilities[None],
            },
        )
        return np.where(core, _only(answer["change"][0])[_CORE], np.uint8(NOT_OBSERVED))


def cache_key(revision: ModelRevision, scene_id: str, tile: Tile) -> str:
    """Where the answer of one model for one tile of one scene is kept."""
    digest = revision.digest.removeprefix("sha256:")[:16]
    signature = hashlib.sha256(revision.signature.encode()).hexdigest()[:8]
    return f"tiles/{revision.name}/{digest}-{signature}/{scene_id}/{tile}.gsa"


def _unseen() -> UInt8:
    return np.full((len(Cover), *_SHAPE), NOT_OBSERVED, np.uint8)


def _only(array: NDArray[np.generic]) -> UInt8:
    """An array that a model or a blob promises to be uint8, checked."""
    if array.dtype != np.uint8:
        raise ModelRefused(f"a model answered with {array.dtype} where the contract says uint8")
    return array.view(np.uint8)
