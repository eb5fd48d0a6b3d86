"""Pictures of what the shipped models make of real scenes, good and bad, for docs/models.md.

``python -m training.pictures`` writes ``docs/images/models-*.png`` and the section of
docs/models.md between its two marks. The labels choose the windows and count; no label is drawn
(OSCD's are not free).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

from geodata_etl import render
from geodata_etl.bands import NOT_OBSERVED, Cloud
from groundshift.errors import Misconfigured
from training import measure, realdata
from training.evaluate import Measured, ModelSet, Scores, load_models, score

BEGIN, END = "<!-- pictures:begin -->", "<!-- pictures:end -->"
_WINDOW, _STRIDE, _GAP = 224, 32, 6
_COLOURS: Final = 160
"""Of a picture's palette: keeps a file under 300 kB."""
_OUTLINE: Final = np.array([230, 0, 126], np.uint8)
_SKY: Final = np.array([[0, 0, 0], [255, 255, 255], [120, 170, 255], [120, 60, 160]], np.uint8)
"""Colours of cloud, thin cloud and shadow over the ground."""
_EACH: Final = 2
"""Good and bad scenes, each."""

Picture = NDArray[np.uint8]
At = tuple[slice, slice]


@dataclass(frozen=True)
class Scene:
    """One window of one place."""

    name: str
    at: At
    counted: Scores
    picture: Picture
    """[rows, columns, 3]: before, after, after with what was called."""

    def caption(self) -> str:
        """What is to be seen, in numbers."""
        s = self.counted
        return (
            f"{self.name.replace('_', ' ')}: F1 {s.f1:.2f} in this window"
            f" (precision {s.precision:.2f}, recall {s.recall:.2f})"
        )


def scene(models: ModelSet, pair: Measured, *, good: bool) -> Scene:
    """The window of a place where the models find most (good), or err most."""
    level = models.change(pair.before, pair.after)
    called = (level >= models.threshold) & (level != NOT_OBSERVED) & pair.valid
    wanted = called & pair.truth if good else called ^ (pair.truth & pair.valid)
    at = _busiest(wanted)
    panels = [render.true_color(s[:, *at])[..., :3] for s in (pair.before, pair.after)]
    counted = score(called[at], pair.truth[at], pair.valid[at])
    return Scene(pair.name, at, counted, _beside([*panels, _outlined(panels[1], called[at])]))


def _busiest(wanted: NDArray[np.bool_]) -> At:
    windows = [
        (slice(top, top + _WINDOW), slice(left, left + _WINDOW))
        for top in range(0, max(1, wanted.shape[0] - _WINDOW), _STRIDE)
        for left in range(0, max(1, wanted.shape[1] - _WINDOW), _STRIDE)
    ]
    return max(windows, key=lambda at: int(wanted[at].sum()))


def _outlined(ground: Picture, called: NDArray[np.bool_]) -> Picture:
    drawn = (ground * 0.65 + 80).astype(np.uint8)
    edge = called & ~binary_erosion(called)
    drawn[called] = (0.65 * drawn[called] + 0.35 * _OUTLINE).astype(np.uint8)
    drawn[edge] = _OUTLINE
    return drawn


def clouds(models: ModelSet, stack: NDArray[np.uint16]) -> Picture:
    """A scene [4 or 6,H,W] and its cloud mask beside it."""
    mask = models.clouds(stack)
    six = np.concatenate([stack[:4], stack[3:4], stack[3:4]]) if len(stack) == 4 else stack
    ground = render.true_color(six)[..., :3]
    masked = ground.copy()
    for kind in (Cloud.CLOUD, Cloud.THIN, Cloud.SHADOW):
        here = mask == kind
        masked[here] = (0.35 * masked[here] + 0.65 * _SKY[kind]).astype(np.uint8)
    return _beside([ground, masked])


def _beside(panels: list[Picture]) -> Picture:
    gap = np.full((panels[0].shape[0], _GAP, 3), 255, np.uint8)
    parts = [part for panel in panels for part in (panel, gap)][:-1]
    return np.concatenate(parts, axis=1)


def _save(path: Path, picture: Picture, *, enlarge: float) -> None:
    image = Image.fromarray(picture)
    size = (round(image.width * enlarge), round(image.height * enlarge))
    small = image.resize(size, Image.Resampling.LANCZOS).quantize(_COLOURS)
    path.parent.mkdir(parents=True, exist_ok=True)
    small.save(path, optimize=True)


def draw(store: Path, data: Path, docs: Path) -> str:
    """Write the pictures below `docs`; gives the Markdown that shows them."""
    models = load_models(store)
    pairs = {pair.name: pair for pair in measure.cities(data)}
    worth = {
        name: score(models.changed(p.before, p.after), p.truth, p.valid).f1
        for name, p in pairs.items()
    }
    ranked = sorted(worth, key=lambda name: -worth[name])
    lines = ["Before, after, and what was called (red), 2.2 km wide.", ""]
    for good, title, names in (
        (True, "Where it does well", ranked[:_EACH]),
        (False, "Where it does badly", ranked[-_EACH:]),
    ):
        lines += [f"### {title}", ""]
        for name in names:
            drawn = scene(models, pairs[name], good=good)
            file = f"models-{'good' if good else 'bad'}-{name.replace('_', '-')}.png"
            _save(docs / "images" / file, drawn.picture, enlarge=1.25)
            lines += [f"{drawn.caption()}; {worth[name]:.2f} in the whole scene.", ""]
            lines += [f"![{drawn.caption()}](images/{file})", ""]
    return "\n".join([*lines, *_sky(models, data, docs)])


def _sky(models: ModelSet, data: Path, docs: Path) -> list[str]:
    lines = ["### The cloud mask", "", "Cloud white, thin cloud blue, shadow violet.", ""]
    overlap = measure.chip_overlap(models.cloud_mask, data)
    for path in sorted((data / "s2_cloud_chips").glob("chip_?.tif"))[:2]:
        file = f"models-clouds-{path.stem.replace('_', '-')}.png"
        _save(docs / "images" / file, clouds(models, measure.chip(path)), enlarge=0.75)
        text = f"{path.stem.replace('_', ' ')}: overlap with the label {overlap[path.stem]:.2f}"
        lines += [f"{text}.", "", f"![{text}](images/{file})", ""]
    return lines


def insert(page: Path, section: str) -> None:
    """Put a section between the page's marks. Raises Misconfigured where they are missing."""
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise Misconfigured(f"{page} has no {BEGIN} and {END}: put them where the pictures belong")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{head}{BEGIN}\n\n{section.strip()}\n\n{END}{tail}", encoding="utf-8")


def main(
    docs: Annotated[Path, typer.Option(help="The documentation's folder.")] = Path("docs"),
    store: Annotated[Path, typer.Option(help="Model set.")] = Path("groundshift/model_store"),
) -> None:
    """Draw what the models make of real scenes, and show it in docs/models.md."""
    data = realdata.data_root()
    if data is None:
        raise Misconfigured("no real scenes: set GROUNDSHIFT_DATA to the development data")
    insert(docs / "models.md", draw(store, data, docs))


if __name__ == "__main__":
    typer.run(main)
