"""What the template tests run on: simulated ground, and the platform's own tile function."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from geodata_etl.bands import REFLECTANCE_SCALE, Cover
from geodata_etl.grid import Extent, Tile
from geodata_etl.simulate import ChangeCounts, SimulatedScene, Site, SiteSpec, simulate_site
from geodata_etl.simulate.materials import LOOKS, ROOFS
from geodata_etl.simulate.sensor import CLOUD_TONE, PATH, THROUGH
from groundshift.adapters.files import FileObjectStore
from groundshift.adapters.inprocess import InProcessClient
from groundshift.tiles import ModelSet as Revisions
from groundshift.tiles import TileChain, TileResult, TileScene
from training.corpus import HELD_OUT_SEED
from training.evaluate import ModelSet, load_models
from training.evaluation.predict import BUFFER_PX

Stack = NDArray[np.uint16]
Bool = NDArray[np.bool_]
_FIRST_SEED: Final = HELD_OUT_SEED + 900_000
_DAY: Final = date(2023, 6, 5)
_PSF_PX: Final = 0.6
"""Blur of a pasted edge: between the simulator's 0.4 px in the visible and 1.2 px in the SWIR."""
_CONTRAST: Final = 0.08
"""Reflectance by which a roof differs from the ground in some band: what nobody overlooks."""


@dataclass(frozen=True)
class Bench:
    """A model set, alone and inside the platform's chain."""

    models: ModelSet
    chain: TileChain

    def compare(self, before: Stack, after: Stack, tile: Tile | None = None) -> TileResult:
        """One tile as the platform computes it; the stacks [6,H,W] begin at lattice pixel (0, 0)
        and are nodata outside. Without `tile` it is the one that begins there."""
        tile = tile or Tile(0, 0)
        one, two = (
            TileScene(f"{name}-{_fingerprint(stack)}", _reader(stack, tile))
            for name, stack in (("before", before), ("after", after))
        )
        return self.chain.compare(tile, two, [one])

    def called(self, before: Stack, after: Stack) -> Bool:
        """[H,W] over the threshold, by the classifier alone."""
        return self.models.changed(before, after)


@contextmanager
def open_bench(store: Path) -> Iterator[Bench]:
    """A bench on the model set in `store`; its tile cache goes with it."""
    client = InProcessClient(store)
    names = ("cloud-mask", "segmenter", "change-classifier")
    with tempfile.TemporaryDirectory() as cache:
        chain = TileChain(
            models=client,
            model_set=Revisions(*(client.resolve(name) for name in names)),
            store=FileObjectStore(Path(cache)),
            cloud_buffer_px=BUFFER_PX,
        )
        yield Bench(load_models(store), chain)


def _fingerprint(stack: Stack) -> str:
    return f"{hash(stack.tobytes()) & (1 << 64) - 1:016x}"


def _reader(stack: Stack, tile: Tile) -> Callable[[], Stack]:
    def read() -> Stack:
        whole = Extent(0, 0, stack.shape[1], stack.shape[2])
        shared = tile.extent & whole
        out = np.zeros((stack.shape[0], tile.extent.height, tile.extent.width), np.uint16)
        if not shared.empty:
            out[:, *shared.slices_in(tile.extent)] = stack[:, *shared.slices_in(whole)]
        return out

    return read


@dataclass(frozen=True)
class Ground:
    """A site without a change, seen twice within days."""

    site: Site
    before: SimulatedScene
    after: SimulatedScene
    rng: np.random.Generator


def ground(number: int, *, size: int, changes: ChangeCounts | None = None) -> Ground:
    """The test site of a number: clear, aligned within 0.2 px; always the same.

    Given `changes`, they lie between the dates, which are then a year apart.
    """
    seed = _FIRST_SEED + number
    rng = np.random.default_rng(seed)
    apart = 10 if changes is None else 365
    spec = SiteSpec(
        seed=seed,
        size_px=size,
        toa=bool(number % 2),
        changes=changes or ChangeCounts(),
        start=_DAY + timedelta(days=1),
        days=apart - 2,
    )
    site = simulate_site(spec)
    shift = tuple(float(v) for v in rng.uniform(-0.2, 0.2, 2))
    before = site.scene(_DAY, cloud_fraction=0.0, shift=(0.0, 0.0), haze=1.0)
    after = site.scene(
        _DAY + timedelta(days=apart), cloud_fraction=0.0, shift=(shift[0], shift[1]), haze=1.1
    )
    return Ground(site, before, after, rng)


def open_places(on: Ground, *, edge: int, count: int) -> list[tuple[int, int]]:
    """Corners (row, column) of up to `count` squares of open ground, none over another.

    Open is low vegetation or soil at both dates, so that a roof there is a change to anyone.
    """
    wanted = (Cover.LOW_VEGETATION, Cover.BARE)
    free = np.isin(on.before.cover, wanted) & np.isin(on.after.cover, wanted)
    found: list[tuple[int, int]] = []
    for _ in range(400):
        top, left = (int(on.rng.integers(8, side - edge - 8)) for side in free.shape)
        at = (slice(top, top + edge), slice(left, left + edge))
        if free[at].all():
            found.append((top, left))
            free[top - edge : top + 2 * edge, max(0, left - edge) : left + 2 * edge] = False
        if len(found) == count:
            break
    return found


def paste_roof(on: Ground, stack: Stack, mask: Bool) -> Stack:
    """`stack` with a roof where `mask` [H,W] is: one of the simulator's materials that stands out
    of the ground there by `_CONTRAST` in some band."""
    below = stack[:, mask].mean(axis=1) / np.float32(REFLECTANCE_SCALE)
    roofs = [np.array(LOOKS[material].spectrum, np.float32) for material in ROOFS]
    if on.after.toa:
        roofs = [THROUGH * roof + PATH for roof in roofs]
    plain = [roof for roof in roofs if np.abs(roof - below).max() >= _CONTRAST] or roofs
    roof = plain[int(on.rng.integers(len(plain)))]
    grain = 1 + 0.05 * on.rng.standard_normal(mask.shape).astype(np.float32)
    alpha = gaussian_filter(mask.astype(np.float32), _PSF_PX)
    return blend(stack, roof[:, None, None] * grain, alpha)


def cloud_bank(on: Ground, opacity: NDArray[np.float32], stack: Stack) -> Stack:
    """`stack` under a thick cloud of `opacity` [H,W] 0..1."""
    lumps = gaussian_filter(on.rng.standard_normal(opacity.shape), 6)
    tone = 1 + 0.1 * (lumps / lumps.std()).astype(np.float32)
    return blend(stack, CLOUD_TONE[:, None, None] * tone, opacity)


def blend(stack: Stack, over: NDArray[np.float32], alpha: NDArray[np.float32]) -> Stack:
    """Reflectance `over` [6,H,W] laid on a stack by `alpha` [H,W]; nodata stays nodata."""
    mixed = stack / np.float32(REFLECTANCE_SCALE) * (1 - alpha) + over * alpha
    out = np.clip(np.rint(mixed * REFLECTANCE_SCALE), 1, 65535).astype(np.uint16)
    return np.where(stack > 0, out, 0).astype(np.uint16)


def gained(stack: Stack, gain: NDArray[np.float64] | float) -> Stack:
    """A stack [6,H,W] times `gain` (one number, or one per band); nodata stays nodata."""
    factor = np.broadcast_to(np.asarray(gain, np.float64), (stack.shape[0],))[:, None, None]
    out = np.clip(np.rint(stack * factor), 1, 65535).astype(np.uint16)
    return np.where(stack > 0, out, 0).astype(np.uint16)
