"""Which models may answer together, read from what KServe says of its InferenceServices.

Three services never move at the same moment: patched at once they were seen 1 to 11 s apart. So
their revisions are grouped into releases, and only a release that has a ready revision in every
service may answer. A release is told by its storageUri: those of one release differ in the model's
name alone (``s3://models/segmenter/v2``, ``s3://models/cloud-mask/v2``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from groundshift.errors import NotYet, Unavailable
from groundshift.kube import Object, is_true

SOURCE: Final = "internal.serving.kserve.io/storage-initializer-sourceuri"
"""KServe's annotation on each revision: the storageUri it loads."""
SERVICE: Final = "serving.kserve.io/inferenceservice"
"""KServe's label on each revision: its InferenceService."""


@dataclass(frozen=True)
class Standing:
    """One InferenceService: its ready revisions and how much traffic KServe gives each."""

    name: str
    releases: Mapping[str, str]
    """The revision of each release that is ready."""
    percents: Mapping[str, int]
    """Traffic by release, as KServe's status says."""
    rolled_out: tuple[str, ...]
    """Releases that had all the traffic: the latest, then the one before."""


@dataclass(frozen=True)
class Choice:
    """The releases that may answer now, each as one revision name per service, in their order."""

    stable: str
    canary: str
    """Empty where none is whole or has traffic."""
    percent: int
    """The least of what KServe gives the canary in any of the services."""
    revisions: Mapping[str, tuple[str, ...]]
    """Revision names of the two."""


def choose_releases(standings: Sequence[Standing]) -> Choice:
    """The stable release and the canary of services that work together. Raises Unavailable."""
    whole = set.intersection(*(set(s.releases) for s in standings))
    stable = _stable(standings, whole)
    canaries = {r: _share(standings, r) for r in sorted(whole - {stable})}
    canary = max(canaries, key=lambda release: canaries[release], default="")
    percent = canaries.get(canary, 0)
    chosen = (stable, canary) if percent else (stable,)
    return Choice(
        stable=stable,
        canary=canary if percent else "",
        percent=percent,
        revisions={r: tuple(s.releases[r] for s in standings) for r in chosen},
    )


def _stable(standings: Sequence[Standing], whole: Iterable[str]) -> str:
    """The whole release that every service rolled out, by traffic, then by recency."""
    known = [r for r in whole if all(r in s.rolled_out for s in standings)]
    if not known:
        rows = "; ".join(f"{s.name}: {', '.join(sorted(s.releases)) or 'none'}" for s in standings)
        raise Unavailable(
            f"no release was rolled out and is ready in every service ({rows}); "
            "see `groundshift cluster status`"
        )
    return min(
        known,
        key=lambda r: (-_share(standings, r), sum(s.rolled_out.index(r) for s in standings), r),
    )


def _share(standings: Sequence[Standing], release: str) -> int:
    return min(s.percents.get(release, 0) for s in standings)


def standing(service: Object, revisions: Iterable[Object]) -> Standing:
    """One InferenceService and its Knative revisions, read. Raises NotYet before the first one."""
    name = service["metadata"]["name"]
    status = service.get("status", {}).get("components", {}).get("predictor", {})
    own = {r["metadata"]["name"]: r for r in revisions if _belongs(r, name)}
    release = {revision: release_of(r, name) for revision, r in own.items()}
    traffic = _traffic(status)
    history = [
        status[key]
        for key in ("latestRolledoutRevision", "previousRolledoutRevision")
        if status.get(key) in release
    ]
    if not history:
        raise NotYet(f"InferenceService {name} was never rolled out: its first model still starts")
    percents: dict[str, int] = {}
    for revision, percent in traffic.items():
        if revision in release:
            percents[release[revision]] = percents.get(release[revision], 0) + percent
    # of two revisions with the same model the one that takes traffic, else the newest
    order = sorted(
        (r for r in own if is_true(own[r])), key=lambda r: (traffic.get(r, 0), r in history, r)
    )
    return Standing(
        name=name,
        releases={release[revision]: revision for revision in order},
        percents=percents,
        rolled_out=tuple(dict.fromkeys(release[revision] for revision in history)),
    )


def release_of(revision: Object, service: str) -> str:
    """The release that a revision belongs to; empty where its model is part of the image."""
    source = revision["metadata"].get("annotations", {}).get(SOURCE, "")
    return "/".join(part for part in source.split("/") if part != service)


def _belongs(revision: Object, service: str) -> bool:
    return bool(revision["metadata"].get("labels", {}).get(SERVICE) == service)


def _traffic(status: Object) -> dict[str, int]:
    """Percent by revision: while a canary starts, both sides name the old one."""
    found: dict[str, int] = {}
    for target in status.get("traffic", ()):
        name = target.get("revisionName", "")
        found[name] = found.get(name, 0) + int(target.get("percent") or 0)
    return found
