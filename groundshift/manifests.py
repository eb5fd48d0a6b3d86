"""The topology, read from the manifests that a cluster applies: ``knative/base``, ``kserve/base``.

An installed package carries a copy of both (``groundshift/_manifests``); an editable install reads
the repository's folders. A Trigger that is wrong there is wrong on the laptop too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from groundshift.errors import BadEvent, Misconfigured
from groundshift.events import ClockTicked, Event, new_event
from groundshift.filters import Filter, filter_of
from groundshift.schedule import Schedule

Manifest = Mapping[str, Any]
_DURATION: Final = TypeAdapter(timedelta)
_KUSTOMIZATION: Final = "kustomization.yaml"
_DEFAULT_RETRY: Final = 10
_DEFAULT_DELAY: Final = "PT0.2S"
"""The cluster's defaults where a Trigger has no ``delivery`` (seen live)."""
_DEFAULT_TIMEOUT: Final = "PT10M"
_DEFAULT_SERVICE_TIMEOUT_S: Final = 300
_DEFAULT_JOB_RETRIES: Final = 6
"""Kubernetes' own, where a Job has no ``backoffLimit``."""
_DEFAULT_JOB_DEADLINE_S: Final = 24 * 3600
_NAMESPACE: Final = "groundshift"
"""Where the kustomizations put everything."""
_AUTOSCALING: Final = "autoscaling.knative.dev/"


@dataclass(frozen=True)
class ServiceSpec:
    """What a Knative Service says that the embedded runtime follows."""

    name: str
    args: tuple[str, ...]
    """Arguments of its container, e.g. ``serve``, ``ingest``."""
    container_concurrency: int
    """Requests at once per pod; 0: no limit."""
    max_scale: int
    """Most pods; 0: no limit."""
    timeout_s: int

    @property
    def stage(self) -> str | None:
        """The stage that its container serves; None where it serves none."""
        return self.args[1] if len(self.args) > 1 and self.args[0] == "serve" else None

    def concurrency(self, most: int) -> int:
        """Requests at once over all pods, at most `most`."""
        return min(self.container_concurrency * self.max_scale or most, most)


@dataclass(frozen=True)
class JobSpec:
    """What a JobSink says that the embedded runtime follows."""

    name: str
    args: tuple[str, ...]
    """Arguments of its container, e.g. ``retrain``."""
    retries: int
    """Attempts after the first."""
    deadline_s: int
    """Longest that all of its attempts may take."""

    def concurrency(self, most: int) -> int:
        """Requests at once: each only takes note of an event."""
        return min(1, most)


Subscriber = ServiceSpec | JobSpec
"""Whatever a Trigger can name."""


@dataclass(frozen=True)
class TriggerSpec:
    """What a Trigger says: which events go where, and what happens when that fails."""

    name: str
    broker: str
    passes: Filter
    """Whether an event's attributes pass its filters."""
    service: str
    """Name of the subscriber, a Knative Service or a JobSink."""
    path: str
    """Path of the subscriber's address."""
    retry: int
    """Attempts after the first."""
    backoff_policy: Literal["exponential", "linear"]
    backoff_delay: timedelta
    timeout: timedelta
    """Of one attempt."""
    dead_letter_service: str
    """Name of the Knative Service that takes what was given up."""

    def backoff(self, failed: int) -> timedelta:
        """The wait after `failed` >= 1 failed attempts, as seen live: d, 2d, 4d or 0, d, 2d."""
        factor = 2 ** (failed - 1) if self.backoff_policy == "exponential" else failed - 1
        return self.backoff_delay * factor


@dataclass(frozen=True)
class ClockSpec:
    """What a PingSource says: when, and what with."""

    name: str
    source: str
    """The CloudEvents source that Knative gives it."""
    schedule: Schedule
    data: ClockTicked

    def event(self, due: datetime) -> Event:
        """The event of a full minute; the same one whoever makes it."""
        return new_event(self.data, source=self.source, subject=due.isoformat(), time=due)


@dataclass(frozen=True)
class Topology:
    """The Services, JobSinks, Triggers and clocks of one Broker."""

    services: Mapping[str, ServiceSpec]
    triggers: Mapping[str, TriggerSpec]
    clocks: Mapping[str, ClockSpec]
    jobs: Mapping[str, JobSpec] = field(default_factory=lambda: MappingProxyType({}))

    def route(self, event: Event) -> tuple[str, ...]:
        """The names of the Triggers that an event passes."""
        attributes = event.attributes
        return tuple(name for name, t in self.triggers.items() if t.passes(attributes))

    def subscriber(self, trigger: str) -> Subscriber:
        """The Service or the JobSink behind a Trigger."""
        name = self.triggers[trigger].service
        return self.jobs[name] if name in self.jobs else self.services[name]


def _packaged(name: str) -> Traversable:
    package = files("groundshift")
    copied = package / "_manifests" / name
    if copied.is_dir():
        return copied
    return Path(__file__).parents[1] / name / "base"


def load(folder: str | Path) -> list[Manifest]:
    """Every manifest of a folder, in the order of its file names; kustomizations left out.

    `folder` is ``knative`` or ``kserve`` (their base), or a path. Raises Misconfigured.
    """
    place = folder if isinstance(folder, Path) else _packaged(folder)
    if not place.is_dir():
        raise Misconfigured(f"no manifests in {place}: install groundshift again")
    names = sorted(f.name for f in place.iterdir() if f.name.endswith(".yaml"))
    found: list[Manifest] = []
    for name in names:
        if name != _KUSTOMIZATION:
            found += _documents(name, (place / name).read_text(encoding="utf-8"))
    return found


def _documents(name: str, text: str) -> list[Manifest]:
    try:
        documents = [document for document in yaml.safe_load_all(text) if document]
    except yaml.YAMLError as error:
        raise Misconfigured(f"{name} is no YAML: {error}") from error
    for document in documents:
        if not isinstance(document, dict) or not {"apiVersion", "kind"} <= document.keys():
            raise Misconfigured(f"{name}: a document without apiVersion and kind is no manifest")
    return documents


def topology(manifests: Sequence[Manifest] | None = None, *, broker: str = "default") -> Topology:
    """The Services and the Triggers of a Broker; default: those of ``knative/base``.

    Raises Misconfigured where a Trigger names what is not there.
    """
    known = load("knative") if manifests is None else manifests
    services = {s.name: s for s in map(_service, _of(known, "serving.knative.dev/", "Service"))}
    jobs = {j.name: j for j in map(_job, _of(known, "sinks.knative.dev/", "JobSink"))}
    specs = map(_trigger, _of(known, "eventing.knative.dev/", "Trigger"))
    triggers = {t.name: t for t in specs if t.broker == broker}
    pings = _of(known, "sources.knative.dev/", "PingSource")
    clocks = {c.name: c for c in map(_clock, (p for p in pings if _sink(p) == broker))}
    brokers = {m["metadata"]["name"] for m in _of(known, "eventing.knative.dev/", "Broker")}
    if broker not in brokers:
        raise Misconfigured(f"no Broker {broker!r} among the manifests: there is {sorted(brokers)}")
    for trigger in triggers.values():
        for name, among in (
            (trigger.service, services.keys() | jobs.keys()),
            (trigger.dead_letter_service, services.keys()),
        ):
            if name not in among:
                raise Misconfigured(f"Trigger {trigger.name!r} names no Service of these: {name!r}")
    return Topology(
        MappingProxyType(services),
        MappingProxyType(triggers),
        MappingProxyType(clocks),
        MappingProxyType(jobs),
    )


def _of(manifests: Sequence[Manifest], group: str, kind: str) -> list[Manifest]:
    return [m for m in manifests if m["kind"] == kind and m["apiVersion"].startswith(group)]


def _service(manifest: Manifest) -> ServiceSpec:
    name, template = manifest["metadata"]["name"], manifest["spec"]["template"]
    annotations = template.get("metadata", {}).get("annotations", {})
    spec = template["spec"]
    return ServiceSpec(
        name=name,
        args=tuple(spec["containers"][0].get("args", ())),
        container_concurrency=int(spec.get("containerConcurrency", 0)),
        max_scale=int(annotations.get(f"{_AUTOSCALING}max-scale", 0)),
        timeout_s=int(spec.get("timeoutSeconds", _DEFAULT_SERVICE_TIMEOUT_S)),
    )


def _job(manifest: Manifest) -> JobSpec:
    name, spec = manifest["metadata"]["name"], manifest["spec"]["job"]["spec"]
    return JobSpec(
        name=name,
        args=tuple(spec["template"]["spec"]["containers"][0].get("args", ())),
        retries=int(spec.get("backoffLimit", _DEFAULT_JOB_RETRIES)),
        deadline_s=int(spec.get("activeDeadlineSeconds", _DEFAULT_JOB_DEADLINE_S)),
    )


def _trigger(manifest: Manifest) -> TriggerSpec:
    name, spec = manifest["metadata"]["name"], manifest["spec"]
    delivery = spec.get("delivery", {})
    policy = delivery.get("backoffPolicy", "exponential")
    if policy not in ("exponential", "linear"):
        raise Misconfigured(f"Trigger {name!r}: backoffPolicy {policy!r} is exponential or linear")
    return TriggerSpec(
        name=name,
        broker=spec["broker"],
        passes=filter_of(spec),
        service=_service_name(name, "subscriber", spec.get("subscriber"), ("Service", "JobSink")),
        path=spec["subscriber"].get("uri", "/"),
        retry=int(delivery.get("retry", _DEFAULT_RETRY)),
        backoff_policy=policy,
        backoff_delay=_duration(name, delivery.get("backoffDelay", _DEFAULT_DELAY)),
        timeout=_duration(name, delivery.get("timeout", _DEFAULT_TIMEOUT)),
        dead_letter_service=_service_name(name, "deadLetterSink", delivery.get("deadLetterSink")),
    )


def _sink(ping: Manifest) -> str:
    """The Broker that a PingSource speaks to; empty where it speaks to something else."""
    ref = ping["spec"].get("sink", {}).get("ref", {})
    return str(ref.get("name", "")) if ref.get("kind") == "Broker" else ""


def _clock(manifest: Manifest) -> ClockSpec:
    meta, spec = manifest["metadata"], manifest["spec"]
    name, namespace = meta["name"], meta.get("namespace", _NAMESPACE)
    try:
        data = ClockTicked.fit(json.loads(spec.get("data", "")))
    except (ValueError, BadEvent) as error:
        raise Misconfigured(
            f"PingSource {name!r}: data {spec.get('data')!r} is no clock's: write "
            f'\'{{"clock": "{name}"}}\''
        ) from error
    return ClockSpec(
        name=name,
        source=f"/apis/v1/namespaces/{namespace}/pingsources/{name}",
        schedule=Schedule.parse(spec["schedule"]),
        data=data,
    )


def _service_name(
    trigger: str, where: str, target: Manifest | None, kinds: Sequence[str] = ("Service",)
) -> str:
    ref = (target or {}).get("ref", {})
    if ref.get("kind") not in kinds or not ref.get("name"):
        raise Misconfigured(
            f"Trigger {trigger!r}: {where} must be a ref to a Knative {' or '.join(kinds)}, "
            f"not {target!r}"
        )
    return str(ref["name"])


def _duration(trigger: str, text: str) -> timedelta:
    try:
        return _DURATION.validate_python(text)
    except ValidationError as error:
        raise Misconfigured(
            f"Trigger {trigger!r}: {text!r} is no ISO 8601 duration such as PT0.5S"
        ) from error
