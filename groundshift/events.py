"""The platform's events: CloudEvents 1.0 of type ``io.groundshift.<word>.v1``.

One type is not ours to choose: a PingSource says ``dev.knative.sources.ping``, whatever it is for.

Events carry references and ids, never pixels. `EVENTS` is the one table of them: each word has a
model of its ``data``, and the documentation's table is made from it (`events_table`).
The wire format is in `groundshift.codec`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Self

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
)

from groundshift.errors import BadEvent, UnknownEvent

PREFIX: Final = "io.groundshift."
VERSION: Final = ".v1"
PING: Final = "dev.knative.sources.ping"
"""What every PingSource of Knative says; its source tells which one it is."""

API: Final = "api"
"""Who says what people say: source of such events."""

CLOCK: Final = "clock"
"""Who says PING, in the table of events."""

Name = Annotated[str, Field(min_length=1, max_length=1024)]
"""An id, key or reason: short and not empty."""
Href = Annotated[str, Field(min_length=1, max_length=4096)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time lies outside the years 1 to 9999 in UTC") from error


Time = Annotated[AwareDatetime, AfterValidator(_utc)]
"""RFC 3339 with an offset; held in UTC."""


def event_type(word: str) -> str:
    """The CloudEvents type of a word: ``scene.arrived`` -> ``io.groundshift.scene.arrived.v1``."""
    return PING if word == ClockTicked.WORD else f"{PREFIX}{word}{VERSION}"


def event_id(type_: str, subject: str, attempt: int = 1) -> str:
    """The id of an event that this platform emits: hex SHA-256 of (type, subject, attempt).

    The same thing said twice has the same id, so that receivers drop the copy; who wants it
    handled again (a sweeper, a re-plan) raises `attempt`.
    """
    return hashlib.sha256(orjson.dumps([type_, subject, attempt])).hexdigest()


@dataclass(frozen=True)
class Event:
    """One CloudEvent whose type is known and whose data fits its schema."""

    id: str
    """Unique per source; SHA-256 of (type, subject, attempt) where this platform emits it."""
    source: str
    """The stage that emitted it, or the foreign producer's URI reference."""
    type: str
    """``io.groundshift.<word>.v1``."""
    subject: str
    """The id of the scene, run, block or alert that it is about; may be empty from outside."""
    time: datetime
    """When it happened, aware, UTC."""
    data: Mapping[str, Any]
    """JSON object that fits the type's model."""
    extensions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Extension attributes, e.g. ``tenant`` and ``actor``."""

    @property
    def word(self) -> str:
        """``scene.arrived`` of ``io.groundshift.scene.arrived.v1``."""
        if self.type == PING:
            return ClockTicked.WORD
        return self.type.removeprefix(PREFIX).removesuffix(VERSION)

    @property
    def tenant(self) -> str | None:
        """Who owns what the event is about, where it says so."""
        return self.extensions.get("tenant")

    @property
    def actor(self) -> str | None:
        """Who caused the event, where it says so."""
        return self.extensions.get("actor")

    @property
    def attributes(self) -> dict[str, str]:
        """Every context attribute as text: what Trigger filters look at."""
        named = {
            "id": self.id,
            "source": self.source,
            "specversion": "1.0",
            "time": self.time.isoformat(),
            "type": self.type,
        }
        optional = {"subject": self.subject} if self.subject else {}
        return {**self.extensions, **named, **optional}


class EventData(BaseModel):
    """Base of each type's ``data``. Unknown members are refused: they are misspelt ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    WORD: ClassVar[str]

    @classmethod
    def of(cls, event: Event) -> Self:
        """The event's data as this model.

        Raises UnknownEvent where the event is of another type, BadEvent where it does not fit.
        """
        if event.word != cls.WORD:
            raise UnknownEvent(
                f"{event.type} {event.id!r} is no {event_type(cls.WORD)}: "
                "send it to the stage that takes its type"
            )
        return cls.fit(event.data)

    @classmethod
    def fit(cls, data: object) -> Self:
        """Validate a JSON value. Raises BadEvent."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "data"
            raise BadEvent(
                f"{event_type(cls.WORD)}: {where}: {first['msg']} (got {first['input']!r:.80}); "
                "see the table of events for the members of its data"
            ) from error


class SceneArrived(EventData):
    """A scene lies ready to be read. Whoever sends it may say what its metadata does not."""

    WORD = "scene.arrived"

    href: Href
    """A STAC Item, a multi-band GeoTIFF, or a folder of one date's GeoTIFFs; path or http(s)."""
    arrival: Name | None = None
    """Id of the arrival row; set at intake."""
    tenant: Name | None = None
    site: Name | None = None
    """Only this site is asked; default: every site of the tenant that the scene touches."""
    bands: tuple[Name, ...] | None = None
    """Common name of each raster band, in file order."""
    scale: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """Reflectance = stored value x scale + offset."""
    offset: FiniteFloat | None = None
    acquired: Time | None = None


class SceneReady(EventData):
    """A scene is aligned and stored as COG and Item."""

    WORD = "scene.ready"

    scene_id: Name
    site_id: Name


class SceneRefused(EventData):
    """A scene can never be processed as it is."""

    WORD = "scene.refused"

    href: Href
    arrival: Name | None = None
    reason: Name
    """A value of geodata_etl.errors.Refusal."""
    message: str
    """What was wrong, with the value, and the cure."""


class SceneSkipped(EventData):
    """A scene is stored and will not be compared."""

    WORD = "scene.skipped"

    scene_id: Name
    site_id: Name
    reason: Name
    """Why the pair was gated, e.g. no_baseline."""
    message: str


class BlockReady(EventData):
    """A block of a run waits for the models."""

    WORD = "block.ready"

    run_id: Name
    block: Name
    """``<row>_<col>_<rows>x<cols>``, in tiles of the lattice."""


class BlockDone(EventData):
    """A block's artifact is stored."""

    WORD = "block.done"

    run_id: Name
    block: Name


class RunDone(EventData):
    """A run's products are stored."""

    WORD = "run.done"

    run_id: Name
    site_id: Name
    scene_id: Name


class AlertData(EventData):
    """What every alert event says."""

    alert_id: Name
    site_id: Name
    version: Annotated[int, Field(ge=1)]
    """Counts the alert's states; (alert_id, version) is said once."""
    state: Name
    """first, provisional, confirmed, finished or withdrawn."""
    from_class: Name
    to_class: Name
    area_m2: Annotated[FiniteFloat, Field(ge=0)]
    probability: Fraction
    run_id: Name | None = None
    """The run that moved it."""


class AlertRaised(AlertData):
    """A change was seen for the first time."""

    WORD = "alert.raised"


class AlertUpdated(AlertData):
    """An alert's state or outline changed."""

    WORD = "alert.updated"


class AlertWithdrawn(AlertData):
    """An alert does not hold any more."""

    WORD = "alert.withdrawn"


class AlertReviewed(EventData):
    """An analyst said what an alert is."""

    WORD = "alert.reviewed"

    review_id: Name
    alert_id: Name
    alert_version: Annotated[int, Field(ge=1)]
    """What the reviewer looked at."""
    site_id: Name
    verdict: Name
    """accept, reject, redraw or unsure."""
    from_class: Name
    to_class: Name
    reviewer: Name


class LabelAccepted(EventData):
    """A verified tile is in the label store."""

    WORD = "label.accepted"

    version: Name
    """Its content's digest: where it lies below ``labels/``."""
    site_id: Name
    run_id: Name
    """The pair that it shows."""
    tile: Name
    """``<row>_<col>`` of the lattice."""


class DriftFound(EventData):
    """What comes in, what the models say or what reviewers say has moved."""

    WORD = "drift.found"

    drift_id: Name
    kind: Name
    """input, output or verdicts."""
    measure: Name
    """What moved, e.g. a band's distribution."""
    value: FiniteFloat
    limit: FiniteFloat
    """What `value` may reach."""
    site_id: Name | None = None
    sensor: Name | None = None


class RetrainDue(EventData):
    """Enough has been verified, or has drifted, for a training."""

    WORD = "retrain.due"

    training_id: Name
    """Digest of the labels that it is for: the same labels make one training."""
    reason: Name
    """labels or drift."""
    labels: Annotated[int, Field(ge=0)]
    """How many verified tiles stand."""
    new: Annotated[int, Field(ge=0)]
    """How many of them came since the training before."""


class ModelRegistered(EventData):
    """A model set passed the gate and is the challenger."""

    WORD = "model.registered"

    set_digest: Name
    """``sha256:...`` over the three models' digests."""
    version: Name
    """Its number in the registry."""
    training_id: Name
    report: Name
    """Key of the gate's report in the object store."""


class ClockTicked(EventData):
    """A clock's time has come; sent by a PingSource, embedded by the same schedule."""

    WORD = "clock.ticked"

    clock: Name
    """Which one: the name of the PingSource."""


@dataclass(frozen=True)
class EventKind:
    """One row of the table of events."""

    model: type[EventData]
    source: str
    """The stage that emits it, or ``outside``."""
    subject: str
    """What the subject names."""

    @property
    def word(self) -> str:
        """The event's word."""
        return self.model.WORD

    @property
    def from_clock(self) -> bool:
        """Whether a PingSource says it."""
        return self.source == CLOCK

    @property
    def from_people(self) -> bool:
        """Whether the API says it, for a person."""
        return self.source == API

    @property
    def from_outside(self) -> bool:
        """Whether POST /events takes it."""
        return self.source == "outside"


EVENTS: Final[Mapping[str, EventKind]] = MappingProxyType(
    {
        event_type(kind.word): kind
        for kind in (
            EventKind(SceneArrived, "outside", "the href, or any id of the producer's"),
            EventKind(SceneReady, "ingest, detect, sweep", "scene id"),
            EventKind(SceneRefused, "ingest", "arrival id"),
            EventKind(SceneSkipped, "plan, assemble", "scene id"),
            EventKind(BlockReady, "plan, sweep", "run id/block"),
            EventKind(BlockDone, "detect, sweep", "run id/block"),
            EventKind(RunDone, "assemble, sweep", "run id"),
            EventKind(AlertRaised, "track", "alert id"),
            EventKind(AlertUpdated, "track", "alert id"),
            EventKind(AlertWithdrawn, "track", "alert id"),
            EventKind(AlertReviewed, API, "alert id"),
            EventKind(LabelAccepted, "review", "label version"),
            EventKind(DriftFound, "monitor", "drift id"),
            EventKind(RetrainDue, "retrain", "training id"),
            EventKind(ModelRegistered, "training", "model set digest"),
            EventKind(ClockTicked, CLOCK, "none, or the minute"),
        )
    }
)
"""Every event by its type."""

RESERVED_WORDS: Final = (
    "model.promoted",
    "model.rolledback",
)
"""Words whose schema comes with their stage; until then they are unknown."""


def kind_of(type_: str) -> EventKind:
    """The table's row for a type. Raises UnknownEvent."""
    if (kind := EVENTS.get(type_)) is None:
        known = ", ".join(kind.word for kind in EVENTS.values())
        raise UnknownEvent(
            f"event type {type_!r:.120} is unknown: use {PREFIX}<word>{VERSION} with one of {known}"
        )
    return kind


def new_event(
    data: EventData,
    *,
    source: str,
    subject: str,
    time: datetime,
    attempt: int = 1,
    tenant: str | None = None,
    actor: str | None = None,
) -> Event:
    """An event of this platform; its id follows from type, subject and attempt.

    `time` must be aware; it is stored in UTC.
    """
    type_ = event_type(data.WORD)
    named = {"tenant": tenant, "actor": actor}
    return Event(
        id=event_id(type_, subject, attempt),
        source=source,
        type=type_,
        subject=subject,
        time=time.astimezone(UTC),
        data=MappingProxyType(data.model_dump(mode="json", exclude_none=True)),
        extensions=MappingProxyType({k: v for k, v in named.items() if v is not None}),
    )


def _members(model: type[EventData]) -> str:
    fields = model.model_fields.items()
    return ", ".join(f"`{name}`" if f.is_required() else f"`{name}`?" for name, f in fields)


def events_table() -> str:
    """The documentation's table of events, in Markdown."""
    head = "| type | from | subject | data (? optional) | meaning |\n|---|---|---|---|---|\n"
    rows = (
        f"| `{type_}` | {kind.source} | {kind.subject} | {_members(kind.model)} "
        f"| {(kind.model.__doc__ or '').splitlines()[0]} |"
        for type_, kind in EVENTS.items()
    )
    return head + "\n".join(rows) + "\n"
