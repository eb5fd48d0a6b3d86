"""One picture of a run: before, after and change side by side, with what is needed to read it."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from geodata_etl import render
from geodata_etl.palette import CHANGE_HIGH, CHANGE_LOW
from geodata_etl.polygons import Change
from geodata_etl.view import View, grid_of, read_highest, read_scene, read_share

_LONGEST_PX: Final = 720
"""Longest side of a panel: larger scenes are shrunk by a whole factor."""
_ENLARGE_PX: Final = 560
"""Longest side that a small scene is enlarged to, by a whole factor."""
_NARROWEST_PX: Final = 300
"""Least width of a panel, so that its title and the legend fit."""
_MARGIN, _GAP, _HEADER, _LABEL, _LEGEND = 28, 16, 64, 30, 64

_PAPER, _INK, _SOFT = (250, 250, 251), (24, 28, 36), (98, 105, 117)
_OUTLINE: Final = (46, 0, 38, 255)
_DASHES: Final = {0x2013: "-", 0x2014: "-", 0x2192: "->"}
_SMALL_PX: Final = 8
"""A change smaller than this gets a ring around it, pixels of the picture."""
_FINE: Final = 3
"""Lines are drawn this much larger and then shrunk, for smooth edges."""


@dataclass(frozen=True)
class _Layout:
    view: View
    scale: int
    """Picture pixels per pixel of the view."""

    @property
    def panel(self) -> tuple[int, int]:
        """(width, height) of a panel's picture."""
        rows, cols = self.view.shape
        return cols * self.scale, rows * self.scale

    @property
    def column(self) -> int:
        """Width of a panel with the room around it."""
        return max(self.panel[0], _NARROWEST_PX)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the whole picture."""
        width = 2 * _MARGIN + 3 * self.column + 2 * _GAP
        return width, _HEADER + _LABEL + self.panel[1] + _LEGEND + _MARGIN

    def corner(self, number: int) -> tuple[int, int]:
        """Upper left corner (x, y) of a panel's picture."""
        inset = (self.column - self.panel[0]) // 2
        return _MARGIN + number * (self.column + _GAP) + inset, _HEADER + _LABEL

    @property
    def metres(self) -> float:
        """Ground per pixel of the picture."""
        return self.view.pixel_m / self.scale


def write_quicklook(
    path: Path,
    *,
    before_cog: Path | str,
    after_cog: Path | str,
    change_tif: Path | str,
    observed_tif: Path | str,
    changes: Sequence[Change],
    title: str,
    before_date: date,
    after_date: date,
) -> None:
    """Write a PNG with the panels before, after and change, north up.

    The picture shows the grid of `change_tif`; the scenes may cover more or less of it. Both dates
    are stretched alike. Ground that was not observed is hatched in the change panel. Reads are
    decimated, so that a scene of 10980 px needs little memory.
    """
    layout = _layout(change_tif)
    canvas = Image.new("RGB", layout.size, _PAPER)
    share = read_share(observed_tif, layout.view)
    after, before = (
        render.true_color(read_scene(cog, layout.view, bands=render.TRUE_COLOR))
        for cog in (after_cog, before_cog)
    )
    change = _change_panel(layout, after, read_highest(change_tif, layout.view), share, changes)
    panels = [_enlarged(before, layout), _enlarged(after, layout), change]
    labels = [f"Before  {before_date}", f"After  {after_date}", "Change"]
    for number, (panel, label) in enumerate(zip(panels, labels, strict=True)):
        _place(canvas, layout, number, panel, label)
    _header(canvas, title, before_date, after_date)
    _scale_bar(canvas, layout)
    _north(canvas, layout)
    _legend(canvas, layout, changes, share)
    canvas.save(path, compress_level=4)  # optimize=True cost ten times the seconds for 8 %


def _layout(change_tif: Path | str) -> _Layout:
    view = View.fit(grid_of(change_tif), longest=_LONGEST_PX)
    return _Layout(view, scale=max(1, _ENLARGE_PX // max(view.shape)))


def _enlarged(picture: render.Picture, layout: _Layout) -> Image.Image:
    image = Image.fromarray(render.opaque(picture)[..., :3])
    return image.resize(layout.panel, Image.Resampling.NEAREST)


def _change_panel(
    layout: _Layout,
    after: render.Picture,
    highest: NDArray[np.uint8],
    share: NDArray[np.float32],
    changes: Sequence[Change],
) -> Image.Image:
    ground = render.over(render.gray(render.opaque(after)), render.probability_overlay(highest))
    panel = _enlarged(ground, layout).convert("RGBA")
    width, height = layout.panel
    enlarged = np.repeat(np.repeat(share, layout.scale, axis=0), layout.scale, axis=1)
    panel.alpha_composite(Image.fromarray(render.hatch(enlarged[:height, :width])))
    panel.alpha_composite(_outlines(layout, changes))
    return panel.convert("RGB")


def _outlines(layout: _Layout, changes: Sequence[Change]) -> Image.Image:
    width, height = layout.panel
    fine = Image.new("RGBA", (width * _FINE, height * _FINE), (*_OUTLINE[:3], 0))
    draw = ImageDraw.Draw(fine)
    for change in changes:
        for part in shapely.get_parts(change.geometry):
            for ring in (part.exterior, *part.interiors):
                points = layout.view.to_picture(shapely.get_coordinates(ring)) * layout.scale
                draw.line([tuple(p) for p in points * _FINE], fill=_OUTLINE, width=_FINE + 1)
        _ring_if_small(draw, layout, change)
    return fine.resize((width, height), Image.Resampling.BOX)


def _ring_if_small(draw: ImageDraw.ImageDraw, layout: _Layout, change: Change) -> None:
    corners = np.array(change.geometry.bounds).reshape(2, 2)
    (left, bottom), (right, top) = layout.view.to_picture(corners) * layout.scale
    if max(right - left, bottom - top) < _SMALL_PX:
        x, y, radius = (left + right) / 2 * _FINE, (top + bottom) / 2 * _FINE, _SMALL_PX * _FINE
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, outline=CHANGE_HIGH, width=_FINE * 2)


def _place(
    canvas: Image.Image, layout: _Layout, number: int, panel: Image.Image, label: str
) -> None:
    x, y = layout.corner(number)
    canvas.paste(panel, (x, y))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((x - 1, y - 1, x + panel.width, y + panel.height), outline=(190, 195, 203))
    draw.text((x, y - 9), label, fill=_INK, font=_font(16), anchor="ls")


def _header(canvas: Image.Image, title: str, before: date, after: date) -> None:
    draw = ImageDraw.Draw(canvas)
    days = (after - before).days
    period = f"{before} to {after}, {days} days"
    room = canvas.width - 2 * _MARGIN - draw.textlength(period, _font(15)) - 24
    draw.text((_MARGIN, 44), _cut(draw, title, room), fill=_INK, font=_font(24), anchor="ls")
    draw.text((canvas.width - _MARGIN, 44), period, fill=_SOFT, font=_font(15), anchor="rs")


def _cut(draw: ImageDraw.ImageDraw, text: str, room: float) -> str:
    """The text, shortened until it fits, in the letters that the font has (ASCII)."""
    text = unicodedata.normalize("NFKD", text.translate(_DASHES))
    text = text.encode("ascii", "replace").decode()
    while len(text) > 4 and draw.textlength(text, _font(24)) > room:
        text = text[:-4].rstrip() + "..."
    return text


def _scale_bar(canvas: Image.Image, layout: _Layout) -> None:
    """A bar of a round length, at most a third of the panel, in the first panel."""
    length_m = _round_length(layout.panel[0] * layout.metres / 3)
    width = round(length_m / layout.metres)
    x, y = layout.corner(0)
    x, y = x + 14, y + layout.panel[1] - 14
    text = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    draw = ImageDraw.Draw(canvas, "RGBA")
    plate = max(width, int(draw.textlength(text, _font(14))))
    draw.rectangle((x - 8, y - 30, x + plate + 8, y + 8), fill=(15, 18, 24, 170))
    draw.text((x, y - 8), text, fill=(255, 255, 255), font=_font(14), anchor="ls")
    draw.rectangle((x, y - 3, x + width, y), fill=(255, 255, 255))


def _round_length(metres: float) -> float:
    """The largest 1, 2 or 5 x 10^n that is not longer."""
    power = 10.0 ** math.floor(math.log10(metres))
    return max(step * power for step in (1, 2, 5) if step * power <= metres)


def _north(canvas: Image.Image, layout: _Layout) -> None:
    x, y = layout.corner(0)
    x, y = x + layout.panel[0] - 22, y + 14
    draw = ImageDraw.Draw(canvas, "RGBA")
    draw.rectangle((x - 12, y - 6, x + 12, y + 36), fill=(15, 18, 24, 170))
    draw.polygon([(x, y), (x - 6, y + 14), (x, y + 11), (x + 6, y + 14)], fill=(255, 255, 255))
    draw.text((x, y + 31), "N", fill=(255, 255, 255), font=_font(14), anchor="ms")


def _legend(
    canvas: Image.Image,
    layout: _Layout,
    changes: Sequence[Change],
    share: NDArray[np.float32],
) -> None:
    draw = ImageDraw.Draw(canvas)
    y = layout.size[1] - _MARGIN - 18
    hectares = sum(change.area_m2 for change in changes) / 10_000
    found = f"{len(changes)} change{'' if len(changes) == 1 else 's'}, {hectares:,.1f} ha"
    draw.text((_MARGIN, y), found, fill=_INK, font=_font(18), anchor="lm")
    x = _swatch_unseen(canvas, canvas.width - _MARGIN, y, share)
    _ramp(canvas, x - 26, y)


def _swatch_unseen(canvas: Image.Image, right: int, y: int, share: NDArray[np.float32]) -> int:
    """Legend of the hatching, set to end at `right`; returns where it begins."""
    text = f"not observed ({1 - float(share.mean()):.0%})".replace("%", " %")
    draw = ImageDraw.Draw(canvas)
    draw.text((right, y), text, fill=_INK, font=_font(15), anchor="rm")
    x = right - int(draw.textlength(text, _font(15))) - 42
    swatch = render.over(
        np.full((18, 34, 4), 235, np.uint8), render.hatch(np.zeros((18, 34), np.float32))
    )
    canvas.paste(Image.fromarray(swatch[..., :3]), (x, y - 9))
    return x


def _ramp(canvas: Image.Image, right: int, y: int) -> None:
    """Legend of the probabilities, set to end at `right`."""
    draw = ImageDraw.Draw(canvas)
    draw.text((right, y), "100 %", fill=_INK, font=_font(15), anchor="rm")
    x = right - int(draw.textlength("100 %", _font(15))) - 8 - 120
    share = np.linspace(0, 1, 120)[np.newaxis, :, np.newaxis]
    colours = np.array(CHANGE_LOW[:3]) * (1 - share) + np.array(CHANGE_HIGH[:3]) * share
    canvas.paste(Image.fromarray(np.repeat(colours, 18, axis=0).astype(np.uint8)), (x, y - 9))
    draw.text((x - 8, y), "probability of change  50 %", fill=_INK, font=_font(15), anchor="rm")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
