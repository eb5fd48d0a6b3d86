"""Small SVG pictures for the documentation: text, boxes, lines; no more than the pages need.

Colours and type are one set, so that the pictures look alike; each has a ground of its own, so
that it reads on a dark page too.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

INK: Final = "#1f2933"
FAINT: Final = "#7b8794"
LINE: Final = "#cbd2d9"
GROUND: Final = "#ffffff"
BLUE: Final = "#2563a8"
ORANGE: Final = "#c2570c"
GREEN: Final = "#2f7d4f"
RED: Final = "#b4232c"
_FONT: Final = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
_ARROW: Final = (
    '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    f'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="{FAINT}"/></marker></defs>'
)

Point = tuple[float, float]


class Drawing:
    """An SVG of a size, filled from the back to the front."""

    def __init__(self, width: float, height: float, *, title: str) -> None:
        self.width, self.height = width, height
        self._title = title
        self._parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 12,
        colour: str = INK,
        bold: bool = False,
        anchor: str = "start",
        turned: bool = False,
    ) -> None:
        """One line of text; `anchor` is start, middle or end; `turned`: it reads upwards."""
        weight = ' font-weight="600"' if bold else ""
        turn = f' transform="rotate(-90 {x:g} {y:g})"' if turned else ""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}"{weight}{turn} '
            f'text-anchor="{anchor}">{escape(words)}</text>'
        )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = GROUND,
        stroke: str = LINE,
        round_: float = 6,
        dashed: bool = False,
    ) -> None:
        """A rectangle with round corners."""
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{round_:g}" '
            f'fill="{fill}" stroke="{stroke}"{dash}/>'
        )

    def line(
        self,
        points: Sequence[Point],
        *,
        colour: str = LINE,
        width: float = 1.2,
        dashed: bool = False,
        arrow: bool = False,
    ) -> None:
        """A line through points; `arrow`: with a head at its end."""
        said = " ".join(f"{x:.4g},{y:.4g}" for x, y in points)
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        head = ' marker-end="url(#a)"' if arrow else ""
        self._parts.append(
            f'<polyline points="{said}" fill="none" stroke="{colour}" stroke-width="{width:g}" '
            f'stroke-linejoin="round"{dash}{head}/>'
        )

    def dot(self, x: float, y: float, *, colour: str = INK, radius: float = 3.5) -> None:
        """A filled circle."""
        self._parts.append(f'<circle cx="{x:.4g}" cy="{y:.4g}" r="{radius:g}" fill="{colour}"/>')

    def svg(self) -> str:
        """The whole as a text."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" height="{self.height:g}" role="img" '
            f'font-family="{_FONT}">'
        )
        ground = f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>'
        title = f"<title>{escape(self._title)}</title>"
        return "\n".join([head, title, _ARROW, ground, *self._parts, "</svg>", ""])
