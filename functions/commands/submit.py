"""Announce scenes: into the ledger of a data folder, or to a platform's address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx

from functions.commands.common import local_path, open_ledger
from groundshift.codec import encode
from groundshift.errors import BadEvent, Forbidden, Unavailable
from groundshift.events import Event, SceneArrived, new_event
from groundshift.ledger.arrivals import announce, arrival_id
from groundshift.opening import settings_of

_TIMEOUT_S: Final = 30.0
SOURCE: Final = "groundshift-submit"


@dataclass(frozen=True)
class Submitted:
    """One announced scene."""

    href: str
    arrival: str


def submit(
    scenes: Sequence[str],
    *,
    data_dir: Path | None,
    url: str | None,
    options: Mapping[str, Any],
) -> list[Submitted]:
    """Announce scenes in order. Raises Unavailable, BadEvent, Forbidden, Misconfigured."""
    events = [scene_arrived(local_path(scene), options) for scene in scenes]
    if url is not None:
        token = settings_of(data_dir).token.get_secret_value()
        return [_post(event, url, token) for event in events]
    with open_ledger(data_dir, create=True) as (ledger, _), ledger.transaction() as tx:
        return [Submitted(str(event.data["href"]), announce(tx, event)) for event in events]


def scene_arrived(href: str, options: Mapping[str, Any]) -> Event:
    """The event that announces one scene; each call is another arrival."""
    given = {name: value for name, value in options.items() if value is not None}
    data = SceneArrived.fit({"href": href, **given})
    subject = f"{href}#{uuid4()}"
    return new_event(data, source=SOURCE, subject=subject, time=datetime.now(UTC))


def _post(event: Event, url: str, token: str) -> Submitted:
    encoded, body = encode(event)
    headers = {**encoded, "authorization": f"Bearer {token}"} if token else dict(encoded)
    try:
        answer = httpx.post(
            f"{url.rstrip('/')}/events", content=body, headers=headers, timeout=_TIMEOUT_S
        )
    except httpx.TransportError as error:
        raise Unavailable(f"no answer from {url}: {error}; is `groundshift up` running?") from error
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise Unavailable(f"{url} answered {answer.status_code}: {answer.text[:200]}")
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise Forbidden(f"{url} lets nobody in like that: {_why(answer)}; set GROUNDSHIFT_TOKEN")
    if answer.status_code >= httpx.codes.BAD_REQUEST:
        raise BadEvent(f"{url} refused the event: {answer.status_code} {answer.text[:200]}")
    return Submitted(str(event.data["href"]), arrival_id(event))


def _why(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"it answered {answer.status_code}"
