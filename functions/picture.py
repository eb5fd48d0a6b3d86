"""The architecture as an SVG: a row for each function, a column for each thing it may reach."""

from __future__ import annotations

from typing import Final

from functions.architecture import Architecture, Function, Model, Program, pods, read
from functions.drawing import BLUE, FAINT, GREEN, INK, LINE, ORANGE, Drawing

_WIDTH: Final = 1000.0
_TOP: Final = 128.0
_ROW: Final = 62.0
_BOX: Final = 44.0
_SOURCE: Final = (24.0, 150.0)
"""Left edge and width of a column."""
_BROKER: Final = (222.0, 44.0)
_FUNCTION: Final = (448.0, 190.0)
_COLUMNS: Final = (("models", 716.0, ORANGE), ("objects", 822.0, GREEN), ("ledger", 928.0, BLUE))


def picture(parts: Architecture | None = None) -> str:
    """The SVG."""
    known = parts or read()
    functions = (*known.functions, *known.jobs)
    rows = len(functions) + len(known.programs)
    height = _TOP + rows * _ROW + 34
    drawing = Drawing(_WIDTH, height, title="groundshift: events, functions, models, state")
    _heads(drawing)
    _columns(drawing, known, height)
    for row, function in enumerate(functions):
        _function(drawing, known, row, function)
    for row, program in enumerate(known.programs, start=len(functions)):
        _program(drawing, row, program)
    _sources(drawing, known)
    return drawing.svg()


def _y(row: int) -> float:
    return _TOP + row * _ROW + _BOX / 2


def _heads(drawing: Drawing) -> None:
    drawing.text(24, 34, "What wakes whom, and who may reach what", size=17, bold=True)
    drawing.text(
        24, 54, "drawn from knative/base and kserve/base; a dot: the cluster lets it through",
        colour=FAINT,
    )  # fmt: skip
    for x, words in (
        (_SOURCE[0], "SAYS"),
        (_BROKER[0] + _BROKER[1] + 14, "TRIGGER"),
        (_FUNCTION[0], "FUNCTION"),
    ):
        drawing.text(x, _TOP - 14, words, size=10, colour=FAINT, bold=True)


def _columns(drawing: Drawing, known: Architecture, height: float) -> None:
    bottom = height - 30
    x, width = _BROKER
    drawing.box(x, _TOP, width, bottom - _TOP, fill="#eef3f9", stroke=BLUE)
    name = f"Broker {known.broker}"
    drawing.text(x + 27, (_TOP + bottom) / 2, name, bold=True, anchor="middle", turned=True)
    for name, x, colour in _COLUMNS:
        drawing.line([(x, _TOP - 4), (x, bottom)], colour=colour, width=3)
        drawing.text(x, _TOP - 14, name, colour=colour, bold=True, anchor="middle", size=13)
    _model_names(drawing, known.models)


def _model_names(drawing: Drawing, models: tuple[Model, ...]) -> None:
    x = _COLUMNS[0][1]
    for row, model in enumerate(models):
        words = f"{model.name}: {model.least} to {pods(model.most)} of {model.concurrency}"
        drawing.text(x, 62 + 15 * row, words, size=11, colour=ORANGE, anchor="middle")


def _function(drawing: Drawing, known: Architecture, row: int, function: Function) -> None:
    y, (x, width), left = _y(row), _FUNCTION, _BROKER[0] + _BROKER[1]
    letter = function in known.letters
    words = function.takes or ("given up by a Trigger",)
    drawing.line([(left, y), (x - 3, y)], colour=FAINT, dashed=letter, arrow=True)
    for index, said in enumerate(words):
        drawing.text(left + 14, y - 6 + 18 * index, said, size=11)
    drawing.box(x, y - _BOX / 2, width, _BOX, stroke=INK, dashed=letter)
    drawing.text(x + 12, y - 3, function.name, size=14, bold=True)
    size = function.size if function.hours else function.size.replace("up", "0")
    again = f", {function.retries} retries" if function.retries and not function.hours else ""
    drawing.text(x + 12, y + 13, size + again, size=11, colour=FAINT)
    reach = {name for name, *_ in _COLUMNS if getattr(function.reach, name)}
    _reach(drawing, y, reach)


def _reach(drawing: Drawing, y: float, reach: set[str]) -> None:
    """A line to the last column that it may reach, a dot at each."""
    dots = [(x, colour) for name, x, colour in _COLUMNS if name in reach]
    if dots:
        drawing.line([(_FUNCTION[0] + _FUNCTION[1], y), (dots[-1][0], y)], colour=LINE, width=1.5)
    for x, colour in dots:
        drawing.dot(x, y, colour=colour, radius=6)


def _program(drawing: Drawing, row: int, program: Program) -> None:
    y, (x, width) = _y(row), _FUNCTION
    if program.callers:
        _asked(drawing, y, program)
    else:
        ledger = _COLUMNS[-1][1]
        drawing.line([(ledger, y), (x + width + 3, y)], colour=FAINT, arrow=True)
        drawing.dot(ledger, y, colour=BLUE, radius=6)
        drawing.text(x + width + 14, y - 6, "the outbox", size=11)
    drawing.box(x, y - _BOX / 2, width, _BOX, fill="#f5f7fa", stroke=INK)
    drawing.text(x + 12, y - 3, program.name, size=14, bold=True)
    drawing.text(x + 12, y + 13, f"{pods(program.replicas)}, always", size=11, colour=FAINT)
    if program.sink:
        end = _BROKER[0] + _BROKER[1] + 3
        drawing.line([(x, y), (end, y)], colour=FAINT, arrow=True)
        drawing.text(end + 11, y - 6, "what was committed", size=11)


def _asked(drawing: Drawing, y: float, program: Program) -> None:
    """A program that answers: who may ask it, past the Broker, and what it may reach."""
    x, left = _FUNCTION[0], _BROKER[0] + _BROKER[1] + 14
    drawing.line([(left, y), (x - 3, y)], colour=FAINT, arrow=True)
    drawing.text(left, y - 6, ", ".join(program.callers), size=11)
    _reach(drawing, y, {name for name, *_ in _COLUMNS if getattr(program.reach, name)})


def _sources(drawing: Drawing, known: Architecture) -> None:
    """Who speaks to the Broker from outside: beside the function that it wakes."""
    rows = {f.name: row for row, f in enumerate(known.functions)}
    said = [(0, "whoever has scenes", "scene.arrived")]
    said += [(rows.get(name, 0), f"PingSource {name}", at) for name, at in known.clocks]
    x, width = _SOURCE
    for row, name, words in said:
        y = _y(row)
        drawing.box(x, y - _BOX / 2, width, _BOX, round_=_BOX / 2)
        drawing.text(x + width / 2, y - 3, name, anchor="middle", bold=True)
        drawing.text(x + width / 2, y + 13, words, anchor="middle", size=11, colour=FAINT)
        drawing.line([(x + width, y), (_BROKER[0] - 3, y)], colour=FAINT, arrow=True)
