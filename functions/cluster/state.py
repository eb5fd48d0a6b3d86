"""What stands in a namespace, what is not ready, and why, in this platform's words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from groundshift.errors import GroundshiftError, NotFound
from groundshift.kube import (
    INFERENCE_SERVICES,
    REVISIONS,
    Kind,
    Object,
    condition,
    is_true,
    list_objects,
    list_pods,
)
from groundshift.releases import choose_releases, release_of, standing
from groundshift.runs import MODEL_NAMES

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

SERVICES: Final = Kind("serving.knative.dev", "v1", "services")
BROKERS: Final = Kind("eventing.knative.dev", "v1", "brokers")
TRIGGERS: Final = Kind("eventing.knative.dev", "v1", "triggers")
PINGS: Final = Kind("sources.knative.dev", "v1", "pingsources")
DEPLOYMENTS: Final = Kind("apps", "v1", "deployments")
STATEFUL_SETS: Final = Kind("apps", "v1", "statefulsets")
JOB_SINKS: Final = Kind("sinks.knative.dev", "v1alpha1", "jobsinks")
_OPTIONAL: Final = (PINGS, JOB_SINKS)
"""Kinds that a cluster may lack."""
_OF_SERVICE: Final = "serving.knative.dev/service"
_OF_REVISION: Final = "serving.knative.dev/revision"
_OF_KSERVE: Final = "serving.kserve.io/inferenceservice"


@dataclass(frozen=True)
class Part:
    """One thing that must be ready, in a word a person knows it by."""

    what: str
    """``function``, ``trigger``, ``model``, ``broker``, ``program``, ``clock``, ``job``."""
    name: str
    ready: bool
    shows: str
    """What is worth knowing of it: pods, filters, revisions."""
    why: str = ""
    """Why it is not ready; empty where it is."""


@dataclass(frozen=True)
class RevisionRow:
    """One revision of a model that has traffic or is the newest."""

    model: str
    revision: str
    release: str
    percent: int
    ready: bool
    pods: int
    why: str = ""


@dataclass(frozen=True)
class Releases:
    """What runs are planned with now."""

    stable: str
    canary: str
    percent: int
    why: str = ""
    """Why no release is whole, where none is."""


@dataclass(frozen=True)
class State:
    """A namespace of the platform."""

    namespace: str
    parts: tuple[Part, ...]
    revisions: tuple[RevisionRow, ...]
    releases: Releases

    @property
    def troubles(self) -> tuple[Part, ...]:
        """What is not ready."""
        return tuple(part for part in self.parts if not part.ready)


def read_state(client: ApiClient, namespace: str) -> State:
    """Read the namespace. Raises Unavailable, Misconfigured."""
    read = {
        kind: _list(client, kind, namespace)
        for kind in (SERVICES, REVISIONS, BROKERS, TRIGGERS, PINGS, JOB_SINKS, INFERENCE_SERVICES)
    }
    pods = list_pods(client, namespace)
    programs = [*_list(client, DEPLOYMENTS, namespace), *_list(client, STATEFUL_SETS, namespace)]
    models, revisions = read[INFERENCE_SERVICES], read[REVISIONS]
    return State(
        namespace=namespace,
        parts=(
            *(_broker(b) for b in read[BROKERS]),
            *(_function(s, pods) for s in read[SERVICES] if _OF_KSERVE not in _template(s)),
            *(_trigger(t) for t in read[TRIGGERS]),
            *(_clock(p) for p in read[PINGS]),
            *(_job(j) for j in read[JOB_SINKS]),
            *(_program(d, pods) for d in programs if not _made_by_knative(d)),
            *(_model(m, pods) for m in models),
        ),
        revisions=tuple(_revision_rows(models, revisions, pods)),
        releases=_releases(models, revisions),
    )


def _list(client: ApiClient, kind: Kind, namespace: str) -> list[Object]:
    try:
        return list_objects(client, kind, namespace)
    except NotFound:
        if kind in _OPTIONAL:
            return []
        raise


def _made_by_knative(deployment: Object) -> bool:
    return _OF_REVISION in _labels(deployment)


def _template(service: Object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = service["spec"]["template"].get("metadata", {}).get("labels", {})
    return found


def _labels(found: Object) -> Mapping[str, Any]:
    labels: Mapping[str, Any] = found["metadata"].get("labels", {})
    return labels


def _part(what: str, found: Object, shows: str, pods: Sequence[Object] = ()) -> Part:
    ready = is_true(found)
    return Part(what, found["metadata"]["name"], ready, shows, "" if ready else _why(found, pods))


def _broker(broker: Object) -> Part:
    kind = broker["metadata"].get("annotations", {}).get("eventing.knative.dev/broker.class", "")
    return _part("broker", broker, kind)


def _function(service: Object, pods: Iterable[Object]) -> Part:
    name = service["metadata"]["name"]
    own = [p for p in pods if _labels(p).get(_OF_SERVICE) == name]
    count = len([p for p in own if _runs(p)])
    return _part("function", service, f"{count} pods" if count else "asleep, 0 pods", own)


def _trigger(trigger: Object) -> Part:
    spec = trigger["spec"]
    exact = [f["exact"]["type"] for f in spec.get("filters", ()) if "exact" in f]
    words = ", ".join(t.removeprefix("io.groundshift.").removesuffix(".v1") for t in exact)
    to = spec["subscriber"].get("ref", {}).get("name", spec["subscriber"].get("uri", ""))
    return _part("trigger", trigger, f"{words or 'all events'} -> {to}")


def _clock(ping: Object) -> Part:
    return _part("clock", ping, str(ping["spec"].get("schedule", "")))


def _job(sink: Object) -> Part:
    spec = sink["spec"].get("job", {}).get("spec", {})
    limit = int(spec.get("activeDeadlineSeconds", 0))
    return _part(
        "job", sink, f"one per event, {limit // 3600} h at most" if limit else "one per event"
    )


def _program(workload: Object, pods: Iterable[Object]) -> Part:
    status, wanted = workload.get("status", {}), workload["spec"].get("replicas", 1)
    ready = int(status.get("readyReplicas", 0))
    selector = workload["spec"]["selector"].get("matchLabels", {})
    own = [p for p in pods if selector.items() <= _labels(p).items()]
    whole = ready >= wanted
    why = "" if whole else _pods_why(own) or f"{ready} of {wanted} pods are ready"
    return Part("program", workload["metadata"]["name"], whole, f"{ready}/{wanted} pods", why)


def _model(service: Object, pods: Iterable[Object]) -> Part:
    name = service["metadata"]["name"]
    own = [p for p in pods if _labels(p).get(_OF_KSERVE) == name]
    source = service["spec"]["predictor"].get("model", {}).get("storageUri", "")
    part = _part("model", service, source, own)
    status = service.get("status", {}).get("modelStatus", {})
    # of an old failure `lastFailureInfo` stays for ever: only the state says whether it is over
    if status.get("states", {}).get("targetModelState") != "FailedToLoad":
        return part
    said = status.get("lastFailureInfo", {}).get("message", "").strip().splitlines()
    why = f"cannot load its model: {said[-1]}" if said else part.why
    return replace(part, ready=False, why=why or "cannot load its model")


def _revision_rows(
    models: Sequence[Object], revisions: Sequence[Object], pods: Sequence[Object]
) -> Iterator[RevisionRow]:
    by_name = {r["metadata"]["name"]: r for r in revisions}
    for model in models:
        name = model["metadata"]["name"]
        status = model.get("status", {}).get("components", {}).get("predictor", {})
        percents: dict[str, int] = {status.get("latestCreatedRevision", ""): 0}
        for target in status.get("traffic", ()):
            revision = target.get("revisionName", "")
            percents[revision] = percents.get(revision, 0) + int(target.get("percent") or 0)
        for revision, percent in sorted(percents.items(), reverse=True):
            if revision in by_name:
                yield _revision_row(name, by_name[revision], percent, pods)


def _revision_row(
    model: str, revision: Object, percent: int, pods: Iterable[Object]
) -> RevisionRow:
    name = revision["metadata"]["name"]
    own = [p for p in pods if _labels(p).get(_OF_REVISION) == name]
    ready = is_true(revision)
    return RevisionRow(
        model=model,
        revision=name,
        release=release_of(revision, model),
        percent=percent,
        ready=ready,
        pods=len([p for p in own if _runs(p)]),
        why="" if ready else _why(revision, own),
    )


def _releases(models: Sequence[Object], revisions: Sequence[Object]) -> Releases:
    by_name = {m["metadata"]["name"]: m for m in models}
    missing = [name for name in MODEL_NAMES if name not in by_name]
    if missing:
        return Releases("", "", 0, f"no InferenceService {', '.join(missing)}")
    try:
        choice = choose_releases([standing(by_name[name], revisions) for name in MODEL_NAMES])
    except GroundshiftError as error:
        return Releases("", "", 0, str(error))
    return Releases(choice.stable, choice.canary, choice.percent)


def _runs(pod: Object) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") == "Running"


def _why(found: Object, pods: Iterable[Object]) -> str:
    """The first reason that says something, from the pods up."""
    ready = condition(found)
    said = [ready.get("message", ""), ready.get("reason", "")]
    said += [
        c.get("message", "")
        for c in found.get("status", {}).get("conditions", ())
        if c.get("status") == "False"
    ]
    return _pods_why(pods) or next(filter(None, said), "no status yet")


def _pods_why(pods: Iterable[Object]) -> str:
    """Why a pod does not run; empty where none says so."""
    for pod in pods:
        status = pod.get("status", {})
        for container in (
            *status.get("initContainerStatuses", ()),
            *status.get("containerStatuses", ()),
        ):
            waits = container.get("state", {}).get("waiting", {})
            if waits.get("reason", "") not in ("", "ContainerCreating", "PodInitializing"):
                return _sentence(pod, f"{container['name']} waits: {waits['reason']}", waits)
        scheduled = condition(pod, "PodScheduled")
        if scheduled.get("status") == "False":
            return _sentence(pod, "has no node", scheduled)
    return ""


def _sentence(pod: Object, what: str, detail: Mapping[str, Any]) -> str:
    message = f" ({detail['message']})" if detail.get("message") else ""
    return f"pod {pod['metadata']['name']} {what}{message}"
