"""The stages in their order: one word each, in the code, the manifests, the tests and the docs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from groundshift.events import event_type

if TYPE_CHECKING:
    from functions.platform import Platform
    from groundshift.events import Event

    Handler = Callable[[Event, Platform], None]

STAGES: Final = ("ingest", "plan", "detect", "assemble", "track", "review", "retrain", "sweep")
"""Every stage, in the order of the flow; the last one looks after the others."""
JOBS: Final = ("training",)
"""No stages, since they take hours: each event of theirs becomes a job of its own (a JobSink)."""
DEAD_LETTER: Final = "dead-letter"
"""No stage: the service that notes what every Trigger gave up."""


@dataclass(frozen=True)
class Stage:
    """One row of the table of stages."""

    name: str
    takes: tuple[str, ...]
    """CloudEvents types it handles; empty: any."""
    says: tuple[str, ...]
    """CloudEvents types it emits."""
    does: str
    """One line for people."""

    def handler(self) -> Handler:
        """The stage's function, imported now: ``functions.<name>.<name>``."""
        word = self.name.replace("-", "_")
        handler: Handler = getattr(import_module(f"functions.{word}"), word)
        return handler


def _stage(name: str, takes: str, says: str, does: str) -> Stage:
    return Stage(name, _types(takes), _types(says), does)


def _types(words: str) -> tuple[str, ...]:
    return tuple(event_type(word) for word in words.split())


TABLE: Final[Mapping[str, Stage]] = MappingProxyType(
    {
        stage.name: stage
        for stage in (
            _stage(
                "ingest",
                "scene.arrived",
                "scene.ready scene.refused",
                "open, validate, align to the grid, harmonise, store as COG and STAC Item",
            ),
            _stage(
                "plan",
                "scene.ready",
                "block.ready scene.skipped",
                "choose the baseline, gate the pair, pin the models, fix the run",
            ),
            _stage(
                "detect",
                "block.ready",
                "block.done scene.ready",
                "run the three models over the block's tiles",
            ),
            _stage(
                "assemble",
                "block.done",
                "run.done scene.skipped",
                "mosaic the blocks, draw the polygons, write the products",
            ),
            _stage(
                "track",
                "run.done",
                "alert.raised alert.updated alert.withdrawn",
                "fold the site's runs into alerts",
            ),
            _stage(
                "review",
                "alert.reviewed",
                "label.accepted",
                "turn verdicts into verified tiles of the label store",
            ),
            _stage(
                "retrain",
                "label.accepted drift.found clock.ticked",
                "retrain.due",
                "decide whether labels or drift are worth a training",
            ),
            _stage(
                "training",
                "retrain.due",
                "model.registered",
                "as a job: train, evaluate, gate, register a challenger",
            ),
            _stage(
                "sweep",
                "clock.ticked",
                "scene.arrived scene.ready block.ready block.done run.done",
                "say again what is overdue, with the next attempt number",
            ),
            _stage(DEAD_LETTER, "", "", "note what was given up, with the reason"),
        )
    }
)
"""What each stage takes, says and does."""


def stages_table() -> str:
    """The documentation's table of stages, in Markdown."""
    head = "| stage | takes | says | does |\n|---|---|---|---|\n"
    rows = (
        f"| `{s.name}` | {_codes(s.takes)} | {_codes(s.says)} | {s.does} |" for s in TABLE.values()
    )
    return head + "\n".join(rows) + "\n"


def _codes(types: tuple[str, ...]) -> str:
    return ", ".join(f"`{type_}`" for type_ in types)
