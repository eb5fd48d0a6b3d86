"""Replay history: every scene in the order of acquisition, to an end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from functions import reports
from functions.commands.common import BATCH_BACKOFF, roots_of
from functions.commands.up import sole_owner
from functions.history import Found, history
from functions.local import Embedded, embedded
from functions.progress import watching
from groundshift.events import Event, SceneArrived, new_event
from groundshift.ledger import Ledger
from groundshift.ledger.arrivals import announce
from groundshift.manifests import ServiceSpec, Topology
from groundshift.opening import settings_of
from groundshift.settings import Settings

SOURCE: Final = "groundshift-backfill"
_IN_ORDER: Final = ("ingest", "plan")
"""Stages that take one event at a time: a scene that overtook another would be planned twice."""
_MOST_AT_ONCE: Final = 32
"""Blocks that wait for the cluster: each holds a thread of this process, and it has 40."""


@dataclass(frozen=True)
class Backfilled:
    """What a backfill did."""

    scenes: int
    """Items that were found."""
    new: int
    """Of those, announced by this call; the others were announced before."""
    first: datetime | None
    last: datetime | None
    """When the earliest and the latest was acquired."""
    workers: int
    """Threads of the Dask cluster; 0 where this process computed."""
    seconds: float
    status: Mapping[str, Any]
    """What `groundshift status` says at the end."""

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def backfill(
    sources: Sequence[str],
    *,
    data_dir: Path | None,
    roots: Sequence[Path] | None = None,
    hosts: Sequence[str] | None = None,
    scheduler: str | None = None,
    quiet: bool = False,
) -> Backfilled:
    """Announce the scenes that the sources hold and work until nothing is left to do.

    Again is safe: what was announced or done stays so. Raises Misconfigured, Unavailable, Conflict.
    """
    began = time.monotonic()
    settings = _settings(sources, data_dir, roots, hosts)
    found = history(sources, settings)
    with sole_owner(settings.data_dir), _platform(settings, scheduler) as (platform, workers):
        ledger = platform.platform.ledger
        new = _announce(found, ledger)
        with watching(platform.platform, quiet=quiet) as watch:
            platform.work(watch=watch)
        dates = [one.acquired for one in found if one.acquired]
        return Backfilled(
            scenes=len(found),
            new=new,
            first=min(dates, default=None),
            last=max(dates, default=None),
            workers=workers,
            seconds=time.monotonic() - began,
            status=reports.status(ledger, settings.tenant),
        )


def _settings(
    sources: Sequence[str],
    data_dir: Path | None,
    roots: Sequence[Path] | None,
    hosts: Sequence[str] | None,
) -> Settings:
    """Who names a folder, host or file may read it; its neighbours as `roots` and `hosts` say."""
    base = settings_of(data_dir)
    named = {urlsplit(source).netloc for source in sources if source.startswith("http")}
    return settings_of(
        data_dir,
        allowed_roots=(
            *base.allowed_roots,
            *roots_of(sources),
            *(root.resolve() for root in roots or ()),
        ),
        allowed_hosts=(*base.allowed_hosts, *(hosts or ()), *sorted(named)),
        backoff_scale=BATCH_BACKOFF,
    )


@contextmanager
def _platform(settings: Settings, scheduler: str | None) -> Iterator[tuple[Embedded, int]]:
    """(the platform, threads of the Dask cluster)."""
    with ExitStack() as stack:
        here = stack.enter_context(embedded(settings))
        if scheduler is None:
            yield replace(here, topology=in_order(here.topology)), 0
            return
        from functions.dask_blocks import DaskScorer  # a second that threads do not need

        url = here.server.url if here.server else settings.models_url
        scorer = stack.enter_context(DaskScorer(scheduler, settings, models_url=url))
        scorer.check(here.platform.store)
        workers = scorer.threads
        blocks = min(2 * workers, _MOST_AT_ONCE)
        platform = replace(
            here.platform,
            score=scorer,
            settings=settings.model_copy(
                update={"dispatch_concurrency": max(blocks, settings.dispatch_concurrency)}
            ),
        )
        yield replace(here, platform=platform, topology=in_order(here.topology, blocks)), workers


def in_order(topology: Topology, blocks: int | None = None) -> Topology:
    """The same Triggers, but scenes are read and planned one by one, in the order they came.

    `blocks` is how many are made at once, where it is not for the Service to say.
    """

    def paced(service: ServiceSpec) -> ServiceSpec:
        if service.stage in _IN_ORDER:
            return replace(service, container_concurrency=1, max_scale=1)
        if service.stage == "detect" and blocks is not None:
            return replace(service, container_concurrency=blocks, max_scale=1)
        return service

    services = {name: paced(service) for name, service in topology.services.items()}
    return replace(topology, services=MappingProxyType(services))


def _announce(found: Sequence[Found], ledger: Ledger) -> int:
    """Commit to all scenes; how many were not committed to before."""
    with ledger.transaction() as tx:
        for one in found:
            announce(tx, _arrived(one, tx.now))
        return tx.emitted


def _arrived(one: Found, now: datetime) -> Event:
    """The same Item is the same event, whenever it is announced; a changed one is another."""
    subject = f"{one.href}#{one.digest}"
    return new_event(SceneArrived(href=one.href), source=SOURCE, subject=subject, time=now)
