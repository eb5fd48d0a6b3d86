"""What each model is trained on: endless batches, drawn from real backgrounds and the simulator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from geodata_etl.bands import CLOUD_BANDS, Cloud, Cover
from training import clouds, nuisance, pastes
from training.classical import cva, fused_rank
from training.cloudteacher import SIZE, CloudTeacher, Opinion
from training.corpus import SimPair
from training.realdata import UNLABELLED, Pair, read_pair
from training.rules import IGNORE, cover_labels, cropland, suspected
from training.spectra import as_reflectance, as_stack

Arrays = dict[str, NDArray[np.generic]]
_THIN, _SHADOW = 2.0, 4.0
"""Weights of the rare classes of the cloud mask."""
_BURNT = 10.0
"""Weight of burnt ground, the rarest of all."""
_SUSPECTED = 0.96
"""Quantile of the pooled change-vector length over which a pixel may be a pseudo-label."""
_PATCHWORK, _CLOUDED, _SHADED = 0.35, 0.3, 0.25
"""Chance that a baseline is of more than one date, that a date has clouds put over it, and that it
has shadows whose clouds are cut out or out of the picture."""
_WINTER, _SITES = 0.25, 0.5
"""Chance that a low sun lights a crop for the cloud mask, and that construction stands in it."""
_PASTED = 0.02
"""Reflectance by which ground differs where something was put onto it."""
_LEFT = 0.5
"""A sample of which less is left below its clouds keeps its clear sky."""
_DOUBTFUL = 0.94
"""Rank of the fused classical score from which an unlabelled real pixel is left out."""


@dataclass(frozen=True)
class Background:
    """One unlabelled real pair, ready to be cut."""

    pair: Pair
    covers: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    built: NDArray[np.bool_]
    doubtful: NDArray[np.bool_]
    """Pixels that may have really changed."""
    suspected: NDArray[np.bool_]
    """Pixels that probably have: pseudo-labels."""
    belief: NDArray[np.float32] | None = None
    """Probability of change by a teacher (training.teacher), in place of the three above."""


def backgrounds(data: Path) -> list[Background]:
    """The ten unlabelled pairs of the development data."""
    pairs = [read_pair(data / "oscd_unlabelled" / name) for name in UNLABELLED]
    # One threshold for all pairs, so that a quiet pair may hold nothing.
    scores = [cva(pair.before, pair.after, pair.valid) for pair in pairs]
    pooled = np.concatenate([s[p.valid] for s, p in zip(scores, pairs, strict=True)])
    threshold = float(np.quantile(pooled, _SUSPECTED))
    return [_background(p, s, threshold) for p, s in zip(pairs, scores, strict=True)]


def _background(pair: Pair, score: NDArray[np.float32], threshold: float) -> Background:
    covers = cover_labels(pair)
    built = (covers[0] == Cover.BUILT) | (covers[1] == Cover.BUILT)
    doubtful = fused_rank(pair.before, pair.after, pair.valid) > _DOUBTFUL
    doubtful |= score > 0.7 * threshold
    doubtful &= ~cropland(pair)
    return Background(pair, covers, built, doubtful, suspected(pair, score, threshold))


@dataclass(frozen=True)
class Taught:
    """A crop with clouds put over it, and what a teacher and the clouds' own mask make of it."""

    image: NDArray[np.uint16]
    """[4,S,S] reflectance x 10000."""
    label: NDArray[np.uint8]
    """[S,S] bands.Cloud or clouds.UNSURE."""


def taught_clouds(
    grounds: list[Background], teacher: CloudTeacher, *, count: int = 600, seed: int = 0
) -> tuple[Taught, ...]:
    """`count` crops for the cloud mask; takes about a fifth of a second each."""
    rng = np.random.default_rng(seed)
    large = [g.pair for g in grounds if min(g.built.shape) >= SIZE]
    return tuple(_taught(rng, large[int(rng.integers(len(large)))], teacher) for _ in range(count))


def _taught(rng: np.random.Generator, pair: Pair, teacher: CloudTeacher) -> Taught:
    stack = pair.before if rng.random() < 0.5 else pair.after
    at = window(rng, stack.shape, SIZE)
    seen = stack[:, *at].min(0) > 0
    ground, built = _bright_sites(rng, as_reflectance(stack[:, *at]))
    ground = nuisance.low_sun(rng, ground) if rng.random() < _WINTER else ground
    if rng.random() < 0.25:  # as it is: nearly clear, and where the teacher doubts it, left out
        ground = np.clip(_level(rng, ground), 0, None)
        label = _doubted(teacher.opinion(ground))
        return Taught(as_stack(ground, seen), np.where(built, Cloud.CLEAR, label).astype(np.uint8))
    ground, own = clouds.add_clouds(rng, ground)
    ground = np.clip(_level(rng, ground), 0, None)
    opinion = teacher.opinion(ground)
    label = clouds.advised(own, opinion.cloud, opinion.shadow)
    label[built & (own == Cloud.CLEAR)] = Cloud.CLEAR  # of what was built here no teacher knows
    return Taught(as_stack(ground, seen), label)


def _bright_sites(
    rng: np.random.Generator, ground: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(ground [4,S,S], where construction was put onto it): fresh concrete and bright roofs,
    which a cloud mask must not hide.
    """
    if rng.random() > _SITES:
        return ground[: len(CLOUD_BANDS)], np.zeros(ground.shape[1:], np.bool_)
    dates = [ground.copy(), ground.copy()]
    nowhere = np.zeros(ground.shape[1:], np.bool_)
    pastes.place(rng, dates, [pastes.Crop(ground, nowhere)] * 2)
    built = np.abs(dates[1] - ground).max(axis=0) > _PASTED
    lit = np.where(built, dates[1] * rng.uniform(1.0, 1.8), dates[1])
    return lit[: len(CLOUD_BANDS)].astype(np.float32), built


def _doubted(opinion: Opinion) -> NDArray[np.uint8]:
    return np.where(opinion.clear, Cloud.CLEAR, clouds.UNSURE).astype(np.uint8)


def window(rng: np.random.Generator, shape: tuple[int, ...], size: int) -> tuple[slice, slice]:
    """A random square of `size` px within the last two axes of `shape`."""
    top, left = (int(rng.integers(0, edge - size + 1)) for edge in shape[-2:])
    return slice(top, top + size), slice(left, left + size)


def turn(rng: np.random.Generator, sample: Arrays) -> Arrays:
    """Quarter turns and a flip, the same for every array of a sample ([...,S,S])."""
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    turned = {}
    for name, array in sample.items():
        spun = np.rot90(array, turns, axes=(-2, -1))
        turned[name] = np.ascontiguousarray(spun[..., ::-1] if flip else spun)
    return turned


def swap(rng: np.random.Generator, sample: Arrays) -> Arrays:
    """Half of the pairs back to front: the land has changed whichever date comes first.

    Else receding water, or a building gone, would hardly ever be shown.
    """
    if "after" not in sample or rng.random() < 0.5:
        return sample
    return {**sample, "before": sample["after"], "after": sample["before"]}


def blank(rng: np.random.Generator, sample: Arrays, *, chance: float = 0.25) -> Arrays:
    """At times cut the sample off along a slanted edge, as the end of a swath does."""
    if rng.random() > chance:
        return sample
    size = sample["weight"].shape[-1]
    y, x = np.mgrid[:size, :size] - size / 2
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.4 else rng.integers(4) * np.pi / 2
    outside = x * np.cos(angle) + y * np.sin(angle) > rng.uniform(-0.1, 0.5) * size
    return {name: np.where(outside, 0, array).astype(array.dtype) for name, array in sample.items()}


@dataclass(frozen=True)
class Source:
    """Everything that samples are drawn from."""

    real: list[Background]
    simulated: list[SimPair]
    size: int = 128
    real_share: float = 0.6
    paste_share: float = 0.5
    """Of the crops of real pairs, those with construction pasted in."""
    taught: tuple[Taught, ...] = ()
    """Clouded crops of real scenes that a teacher looked at: most of the cloud mask's real ones."""

    def draw(self, name: str, rng: np.random.Generator) -> Arrays:
        """One sample of a model: inputs by name, ``target`` and ``weight`` [S,S]."""
        real = rng.random() < self.real_share
        maker = {
            "cloud-mask": (self._cloud_real, self._cloud_sim),
            "segmenter": (self._cover_real, self._cover_sim),
            "change-classifier": (self._change_real, self._change_sim),
        }[name][0 if real else 1]
        return turn(rng, swap(rng, blank(rng, maker(rng))))

    def batch(self, name: str, rng: np.random.Generator, count: int) -> Arrays:
        """`count` samples, stacked."""
        samples = [self.draw(name, rng) for _ in range(count)]
        return {key: np.stack([s[key] for s in samples]) for key in samples[0]}

    def _real(self, rng: np.random.Generator) -> Background:
        chosen: Background = self.real[int(rng.integers(len(self.real)))]
        return chosen

    def _sim(self, rng: np.random.Generator) -> SimPair:
        chosen: SimPair = self.simulated[int(rng.integers(len(self.simulated)))]
        return chosen

    def _cloud_real(self, rng: np.random.Generator) -> Arrays:
        if self.taught:
            one = self.taught[int(rng.integers(len(self.taught)))]
            at = window(rng, one.label.shape, self.size)
            ground = as_reflectance(one.image[:, *at])
            seen = one.image[:, *at].min(0) > 0
            return _cloud_sample(_level(rng, ground), one.label[at], seen)
        pair = self._real(rng).pair
        stack = pair.before if rng.random() < 0.5 else pair.after
        at = window(rng, stack.shape, self.size)
        ground = as_reflectance(stack[:4, *at])
        seen = stack[:, *at].min(0) > 0
        mask = np.zeros(seen.shape, np.uint8)
        if rng.random() < 0.65:
            ground, mask = clouds.add_clouds(rng, ground)
        ground = _level(rng, ground)
        return _cloud_sample(ground, mask, seen)

    def _cloud_sim(self, rng: np.random.Generator) -> Arrays:
        pair = self._sim(rng)
        first = rng.random() < 0.5
        stack, mask = (pair.before, pair.before_cloud) if first else (pair.after, pair.after_cloud)
        # The window with most shadow of three: there is little of it.
        windows = [window(rng, stack.shape, self.size) for _ in range(3)]
        at = max(windows, key=lambda w: int((mask[w] == Cloud.SHADOW).sum()))
        ground = as_reflectance(stack[: len(CLOUD_BANDS), *at])
        seen = stack[:, *at].min(0) > 0
        label = mask[at].copy()
        if rng.random() < 0.4 and not label[seen].any():
            ground, label = clouds.add_clouds(rng, ground)
        return _cloud_sample(_level(rng, ground), label, seen)

    def _cover_real(self, rng: np.random.Generator) -> Arrays:
        ground = self._real(rng)
        date = int(rng.integers(2))
        stack = (ground.pair.before, ground.pair.after)[date]
        at = window(rng, stack.shape, self.size)
        return self._cover(rng, stack[:, *at], ground.covers[date][at])

    @cached_property
    def _burnt(self) -> list[SimPair]:
        """The simulated pairs in which something burnt: few enough to need asking for."""
        return [p for p in self.simulated if (p.after_cover == Cover.BURNT).sum() > 200]

    def _cover_sim(self, rng: np.random.Generator) -> Arrays:
        pair = self._sim(rng)
        if self._burnt and rng.random() < 0.25:
            pair = self._burnt[int(rng.integers(len(self._burnt)))]
        first = rng.random() < 0.5
        stack, cloud, cover = (
            (pair.before, pair.before_cloud, pair.before_cover)
            if first
            else (pair.after, pair.after_cloud, pair.after_cover)
        )
        windows = [window(rng, stack.shape, self.size) for _ in range(2)]
        at = max(windows, key=lambda w: int((cover[w] == Cover.BURNT).sum()))
        label = np.where(cloud[at] == 0, cover[at], IGNORE).astype(np.uint8)
        return self._cover(rng, stack[:, *at], label)

    def _cover(
        self, rng: np.random.Generator, stack: NDArray[np.uint16], label: NDArray[np.uint8]
    ) -> Arrays:
        seen = stack.min(0) > 0
        r = nuisance.sensor_noise(rng, nuisance.light(rng, as_reflectance(stack)))
        known = seen & (label < len(Cover))
        target = np.where(known, label, 0).astype(np.uint8)
        weight = known * np.where(target == Cover.BURNT, _BURNT, 1)
        return {"image": as_stack(r, seen), "target": target, "weight": weight.astype(np.float32)}

    def _change_real(self, rng: np.random.Generator) -> Arrays:
        ground = self._real(rng)
        stacks = [ground.pair.before, ground.pair.after]
        at = window(rng, ground.built.shape, self.size)
        change, sure = _believed(ground, at)
        if rng.random() < 0.15:  # one date against itself: every pixel is known not to change
            stacks = [stacks[int(rng.integers(2))]] * 2
            change = np.zeros_like(change)
            sure = ground.pair.valid[at]
        other = self._built_window(rng, ground)
        sources = [pastes.crop(s, ground.built, *other, self.size) for s in stacks]
        dates = [as_reflectance(s[:, *at]).copy() for s in stacks]
        if rng.random() < self.paste_share:
            change = np.maximum(change, pastes.place(rng, dates, sources))
        before, after = nuisance.disturb(rng, *dates)
        seen = ground.pair.valid[at]
        return _change_sample(*_weather(rng, before, after, seen), change, sure | (change > 0.5))

    def _built_window(self, rng: np.random.Generator, ground: Background) -> tuple[int, int]:
        """Upper left of the most built of a few windows."""
        windows = [window(rng, ground.built.shape, self.size) for _ in range(4)]
        rows, columns = max(windows, key=lambda w: float(ground.built[w].mean()))
        return rows.start, columns.start

    def _change_sim(self, rng: np.random.Generator) -> Arrays:
        pair = self._sim(rng)
        # The busiest of three windows: most windows of most pairs hold no change at all.
        windows = [window(rng, pair.change.shape, self.size) for _ in range(3)]
        at = max(windows, key=lambda w: int(pair.change[w].sum()))
        before, after = (as_reflectance(s[:, *at]) for s in (pair.before, pair.after))
        if rng.random() < 0.5:
            before, after = nuisance.disturb(rng, before, after)
        change = pair.change[at] > 0
        known = pair.lit[at] & (pair.clear[at] | ~change)
        weather = _weather(rng, before, after, pair.seen[at])
        return _change_sample(*weather, change.astype(np.float32), known)


def _believed(
    ground: Background, at: tuple[slice, slice]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(probability of change, where it is known): by the teacher, else by rule."""
    valid = ground.pair.valid[at]
    if ground.belief is not None:
        return ground.belief[at].copy(), valid
    change = ground.suspected[at]
    return change.astype(np.float32), valid & (change | ~ground.doubtful[at])


def _cloud_sample(
    ground: NDArray[np.float32], label: NDArray[np.uint8], seen: NDArray[np.bool_]
) -> Arrays:
    label = clouds.rimmed(label)
    known = seen & (label != clouds.UNSURE)
    rarity = np.select([label == Cloud.SHADOW, label == Cloud.THIN], [_SHADOW, _THIN], 1.0)
    return {
        "image": as_stack(ground, seen),
        "target": np.where(known, label, Cloud.CLEAR).astype(np.uint8),
        "weight": (known * rarity).astype(np.float32),
    }


def _level(rng: np.random.Generator, r: NDArray[np.float32]) -> NDArray[np.float32]:
    """Other sensors and processing levels: gain per band and an offset."""
    gain = rng.uniform(0.9, 1.1) * rng.uniform(0.97, 1.03, (len(r), 1, 1))
    offset = rng.normal(0, 0.01, (len(r), 1, 1)) - (0.03 if rng.random() < 0.3 else 0.0)
    noisy = r * gain + offset + rng.normal(0, 0.003, r.shape)
    out: NDArray[np.float32] = noisy.astype(np.float32)
    return out


def _weather(
    rng: np.random.Generator,
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    seen: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """(before, after, seen) as the platform hands them on: the clouds cut out, what the mask
    overlooks left in (shadows, veils, rims), and a baseline of more than one date.
    """
    before, after = (
        nuisance.cloud_shadow(rng, r) if rng.random() < _SHADED else r for r in (before, after)
    )
    if rng.random() < _PATCHWORK:
        before = nuisance.patchwork(rng, before)
    if rng.random() < _CLOUDED:
        after, clear = _clouded(rng, after)
        seen = seen & clear
    if rng.random() < _CLOUDED:
        clouded, clear = _clouded(rng, before)
        if rng.random() < 0.5:  # an older date fills the holes
            before = np.where(clear, clouded, nuisance.patchwork(rng, before))
        else:
            before, seen = clouded, seen & clear
    return before, after, seen


def _clouded(
    rng: np.random.Generator, r: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(reflectance with clouds, where a cloud mask lets it through)."""
    clouded, label = clouds.add_clouds(rng, r)
    hidden = label == Cloud.CLOUD
    for kind, caught in ((Cloud.THIN, 0.7), (Cloud.SHADOW, 0.5)):
        if rng.random() < caught:
            hidden |= label == kind
    grow = int(rng.integers(0, 4))
    clear = ~(binary_dilation(hidden, iterations=grow) if grow else hidden)
    return (clouded, clear) if clear.mean() > _LEFT else (r, np.ones_like(clear))


def _change_sample(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    seen: NDArray[np.bool_],
    change: NDArray[np.float32],
    known: NDArray[np.bool_],
) -> Arrays:
    return {
        "before": as_stack(before, seen),
        "after": as_stack(after, seen),
        "target": change.astype(np.float32),
        "weight": (known & seen).astype(np.float32),
    }
