"""The picture of the platform, drawn from the manifests that a cluster applies.

`read` finds the parts and who may reach what (the labels and policies that a cluster enforces are
the arrows); `mermaid` and `table` write them for ``docs/architecture.md``, and
`picture` draws them for readers without Mermaid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from groundshift.events import EVENTS
from groundshift.manifests import Manifest, TriggerSpec, load, topology

LEDGER: Final = "groundshift.io/ledger"
OBJECTS: Final = "groundshift.io/objects"
_SERVICE: Final = "serving.knative.dev/service"
_PROGRAM: Final = "app.kubernetes.io/name"
_TO_MODELS: Final = "to-models"
"""The NetworkPolicy that says which functions ask models."""
_SHOWN: Final[Mapping[str, str]] = MappingProxyType({"prefix": "{}...", "suffix": "...{}"})


@dataclass(frozen=True)
class Reach:
    """What a pod may speak to."""

    ledger: bool = False
    objects: bool = False
    models: bool = False

    @property
    def words(self) -> str:
        """For people, e.g. ``ledger, objects``."""
        named = {"ledger": self.ledger, "objects": self.objects, "models": self.models}
        return ", ".join(name for name, may in named.items() if may)


@dataclass(frozen=True)
class Function:
    """A Knative Service, or a JobSink, and the Trigger that wakes it."""

    name: str
    takes: tuple[str, ...]
    """Words of events, or what else its Trigger filters by; empty: it has no Trigger."""
    pods: int
    concurrency: int
    retries: int
    dead_letter: str
    reach: Reach
    hours: float = 0.0
    """Longest that one of its Jobs may take; 0: it is a Service."""

    @property
    def size(self) -> str:
        """How much of it there may be at once."""
        if self.hours:
            return f"a Job per event, {self.hours:g} h at most"
        return f"up to {pods(self.pods)} of {self.concurrency}"


@dataclass(frozen=True)
class Program:
    """A Deployment: something that always runs."""

    name: str
    replicas: int
    sink: str
    """The Broker that a SinkBinding tells it of; empty where none does."""
    callers: tuple[str, ...]
    """Who may ask it: ``the ingress``, other programs; none: it takes its work from the ledger."""
    reach: Reach


@dataclass(frozen=True)
class Model:
    """An InferenceService."""

    name: str
    least: int
    most: int
    concurrency: int


@dataclass(frozen=True)
class Architecture:
    """Everything that the picture shows."""

    broker: str
    clocks: tuple[tuple[str, str], ...]
    """(name, schedule) of each PingSource."""
    functions: tuple[Function, ...]
    jobs: tuple[Function, ...]
    programs: tuple[Program, ...]
    models: tuple[Model, ...]
    runtime: str

    @property
    def woken(self) -> tuple[Function, ...]:
        """The functions that a Trigger wakes."""
        return tuple(f for f in (*self.functions, *self.jobs) if f.takes)

    @property
    def letters(self) -> tuple[Function, ...]:
        """The functions that take what others gave up."""
        sinks = {f.dead_letter for f in self.woken}
        return tuple(f for f in self.functions if f.name in sinks)


def read(
    knative: Sequence[Manifest] | None = None, kserve: Sequence[Manifest] | None = None
) -> Architecture:
    """The parts in ``knative/base`` and ``kserve/base``, or in other manifests."""
    events = load("knative") if knative is None else knative
    serving = load("kserve") if kserve is None else kserve
    (runtime,) = (m["metadata"]["name"] for m in serving if m["kind"] == "ServingRuntime")
    (broker,) = (m["metadata"]["name"] for m in events if m["kind"] == "Broker")
    return Architecture(
        broker=broker,
        clocks=tuple(
            (m["metadata"]["name"], m["spec"]["schedule"])
            for m in events
            if m["kind"] == "PingSource"
        ),
        functions=_functions(events),
        jobs=_jobs(events),
        programs=tuple(_program(m, events) for m in events if m["kind"] == "Deployment"),
        models=tuple(_model(m) for m in serving if m["kind"] == "InferenceService"),
        runtime=runtime,
    )


def _functions(events: Sequence[Manifest]) -> tuple[Function, ...]:
    known, asking = topology(events), _asking(events)
    filters = {m["metadata"]["name"]: m["spec"] for m in events if m["kind"] == "Trigger"}
    by_service = {t.service: t for t in known.triggers.values()}
    templates = {m["metadata"]["name"]: m["spec"]["template"] for m in events if _is_function(m)}
    return tuple(
        Function(
            name=name,
            takes=_takes(filters[by_service[name].name]) if name in by_service else (),
            pods=spec.max_scale,
            concurrency=spec.container_concurrency,
            retries=_retries(by_service.get(name)),
            dead_letter=by_service[name].dead_letter_service if name in by_service else "",
            reach=_reach(templates[name], models=name in asking),
        )
        for name, spec in known.services.items()
    )


def _jobs(events: Sequence[Manifest]) -> tuple[Function, ...]:
    known = topology(events)
    filters = {m["metadata"]["name"]: m["spec"] for m in events if m["kind"] == "Trigger"}
    pods_ = {
        m["metadata"]["name"]: m["spec"]["job"]["spec"]["template"]
        for m in events
        if m["kind"] == "JobSink"
    }
    return tuple(
        Function(
            name=trigger.service,
            takes=_takes(filters[trigger.name]),
            pods=1,
            concurrency=1,
            retries=trigger.retry,
            dead_letter=trigger.dead_letter_service,
            reach=_reach(pods_[trigger.service], models=False),
            hours=known.jobs[trigger.service].deadline_s / 3600,
        )
        for trigger in known.triggers.values()
        if trigger.service in known.jobs
    )


def _is_function(manifest: Manifest) -> bool:
    return bool(manifest["kind"] == "Service" and "knative" in manifest["apiVersion"])


def _retries(trigger: TriggerSpec | None) -> int:
    return trigger.retry if trigger else 0


def _takes(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """What a Trigger's filters say, each in a few words; of `any` its alternatives."""
    said = [words for filter_ in spec.get("filters", ()) for words in _said(filter_)]
    return tuple(said) or ("everything",)


def _said(filter_: Mapping[str, Any], *, short: bool = False) -> list[str]:
    """`short`: of an address its end alone, where the words share a line."""
    ((dialect, value),) = filter_.items()
    if dialect == "any":
        return [words for one in value for words in _said(one)]
    if dialect == "all":
        return [" of ".join(words for one in value for words in _said(one, short=True))]
    if dialect == "not":
        return [f"not {', '.join(_said(value))}"]
    if short and dialect == "suffix":
        return [f".../{str(text).rpartition('/')[2]}" for text in value.values()]
    shown = _SHOWN.get(dialect, "{}")
    return [
        _word(text) if name == "type" else f"{name} {shown.format(text)}"
        for name, text in value.items()
    ]


def _word(type_: str) -> str:
    return EVENTS[type_].word if type_ in EVENTS else type_


def _asking(events: Sequence[Manifest]) -> set[str]:
    """The functions that may speak to models."""
    for manifest in events:
        if manifest["kind"] == "NetworkPolicy" and manifest["metadata"]["name"] == _TO_MODELS:
            rules = manifest["spec"]["podSelector"]["matchExpressions"]
            return {name for rule in rules if rule["key"] == _SERVICE for name in rule["values"]}
    return set()


def _reach(template: Manifest, *, models: bool) -> Reach:
    labels = template["metadata"].get("labels", {})
    return Reach(ledger=LEDGER in labels, objects=OBJECTS in labels, models=models)


def _program(manifest: Manifest, events: Sequence[Manifest]) -> Program:
    name, spec = manifest["metadata"]["name"], manifest["spec"]
    sinks = [
        m["spec"]["sink"]["ref"]["name"]
        for m in events
        if m["kind"] == "SinkBinding" and m["spec"]["subject"]["name"] == name
    ]
    reach = _reach(spec["template"], models=False)
    return Program(name, spec["replicas"], "".join(sinks), _callers(name, events), reach)


def _callers(name: str, events: Sequence[Manifest]) -> tuple[str, ...]:
    """Whom the NetworkPolicy of a program's name lets in."""
    policies = [
        m["spec"] for m in events if m["kind"] == "NetworkPolicy" and m["metadata"]["name"] == name
    ]
    sources = [s for p in policies for rule in p.get("ingress", ()) for s in rule["from"]]
    return tuple(
        "the ingress"
        if "namespaceSelector" in source
        else source["podSelector"]["matchLabels"][_PROGRAM]
        for source in sources
    )


def _model(manifest: Manifest) -> Model:
    spec = manifest["spec"]["predictor"]
    return Model(
        name=manifest["metadata"]["name"],
        least=spec["minReplicas"],
        most=spec["maxReplicas"],
        concurrency=spec["containerConcurrency"],
    )


# ---- as text


def mermaid(parts: Architecture | None = None) -> str:
    """The diagram in Mermaid, fenced, as forges render it."""
    known = parts or read()
    lines = [
        "flowchart LR",
        '  outside(["whoever has scenes"]) -- "scene.arrived" --> broker',
        f'  broker{{{{"Broker {known.broker}"}}}}',
        *(f'  clock-{n}(["PingSource {n}<br/>{at}"]) --> broker' for n, at in known.clocks),
        '  subgraph functions ["Knative Services, from 0 pods"]',
        *(f'    {f.name}["{f.name}<br/>{f.size}"]' for f in known.functions),
        "  end",
        *(f'  {j.name}[["{j.name}<br/>{j.size}"]]' for j in known.jobs),
        *(f'  broker -- "{"<br/>".join(f.takes)}" --> {f.name}' for f in known.woken),
        *(f'  broker -. "given up" .-> {f.name}' for f in known.letters),
        f'  subgraph models ["InferenceServices of {known.runtime}"]',
        *(f'    {m.name}["{m.name}<br/>{_span(m)}"]' for m in known.models),
        "  end",
        '  ledger[("ledger and outbox")]',
        '  objects[("objects")]',
        *_reaches(known),
        *(f"  {j.name} --> {j.reach.words.replace(', ', ' & ')}" for j in known.jobs),
        *(f'  {p.name}["{p.name}<br/>{pods(p.replicas)}, always"]' for p in known.programs),
        *_asked(known.programs),
        *(f"  {p.name} --> broker" for p in known.programs if p.sink == known.broker),
    ]
    return "\n".join(["```mermaid", *lines, "```", ""])


def _asked(programs: Sequence[Program]) -> list[str]:
    """What programs take their work from, and what those that are asked may reach."""
    lines = []
    if any("the ingress" in p.callers for p in programs):
        lines.append('  people(["people and programs"])')
    for program in programs:
        if not program.callers:
            lines.append(f"  ledger --> {program.name}")
        for caller in program.callers:
            at_door = caller == "the ingress"
            said = ' -- "the ingress" -->' if at_door else " -->"
            lines.append(f"  {'people' if at_door else caller}{said} {program.name}")
        if program.callers and program.reach.words:
            lines.append(f"  {program.name} --> {program.reach.words.replace(', ', ' & ')}")
    return lines


def _reaches(known: Architecture) -> list[str]:
    """One arrow for what every function may reach, else one of each that may."""
    lines = []
    for target in ("ledger", "objects", "models"):
        may = [f.name for f in known.functions if getattr(f.reach, target)]
        whole = len(may) == len(known.functions)
        lines.append(f"  {'functions' if whole else ' & '.join(may)} --> {target}")
    return lines


def pods(count: int) -> str:
    """``1 pod``, ``2 pods``."""
    return "1 pod" if count == 1 else f"{count} pods"


def _span(model: Model) -> str:
    return f"{model.least} to {pods(model.most)} of {model.concurrency}"


def table(parts: Architecture | None = None) -> str:
    """The same parts as a table, in Markdown."""
    known = parts or read()
    rows = [
        *(("clock", n, f"`{at}`", "", f"Broker `{known.broker}`") for n, at in known.clocks),
        *(
            (
                "job" if f.hours else "function",
                f.name,
                _waits(f),
                f.size,
                f.reach.words or "nothing",
            )
            for f in (*known.functions, *known.jobs)
        ),
        *(
            ("program", p.name, waits_for(p), f"{pods(p.replicas)}, always", _told(p))
            for p in known.programs
        ),
        *(("model", m.name, "requests", _span(m), "its files") for m in known.models),
    ]
    head = "| part | name | waits for | size | may reach |\n|---|---|---|---|---|\n"
    return head + "".join(f"| {a} | `{b}` | {c} | {d} | {e} |\n" for a, b, c, d, e in rows)


def _waits(function: Function) -> str:
    if not function.takes:
        return "what a Trigger gave up"
    return f"{', '.join(f'`{word}`' for word in function.takes)}; retried {function.retries} times"


def waits_for(program: Program) -> str:
    """What makes a program work, in a few words."""
    return f"who comes by {' or '.join(program.callers)}" if program.callers else "the outbox"


def _told(program: Program) -> str:
    sink = f"Broker `{program.sink}`" if program.sink else ""
    return ", ".join(filter(None, (program.reach.words, sink))) or "nothing"
