"""Pushes the feed to webhooks: signed, in order, at least once."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Final

from anyio import to_thread
from sqlalchemy import Row

from groundshift import outbound
from groundshift.api.access import Services
from groundshift.codec import encode
from groundshift.errors import BadRequest, Unavailable
from groundshift.events import EVENTS, Event, event_type, new_event
from groundshift.ledger import Tx, catalogue, webhooks
from groundshift.ledger.webhooks import Webhook
from groundshift.outbound import Resolve

log = logging.getLogger(__name__)

SIGNATURE: Final = "Groundshift-Signature"
SOURCE: Final = "track"
_BATCH: Final = 50
"""Deliveries of one webhook in one go; then another one has its turn."""
_AT_ONCE: Final = 8
_LEASE_S: Final = 120.0
_POLL_S: Final = 1.0


def signature(secret: str, body: bytes, *, at: int) -> str:
    """``t=TIME,v1=HEX``: HMAC-SHA256 with the webhook's secret over ``TIME.BODY``.

    Receivers compute it anew, compare in constant time, and refuse times that are minutes old.
    """
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={signed.hexdigest()}"


class Deliverer:
    """Delivers what is due. Several processes may run one: a lease keeps them apart."""

    def __init__(self, services: Services, *, resolve: Resolve = outbound.resolve) -> None:
        self._services = services
        self._ledger = services.ledger
        self._resolve = resolve
        self._me = secrets.token_hex(8)

    async def run_forever(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set; wakes on commits of this process and every second."""
        loop, wakeup = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(wakeup.set)

        undo = self._ledger.subscribe(wake)
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: wakeup.set())
        try:
            while not stop.is_set():
                wakeup.clear()
                await self._try(wakeup)
        finally:
            undo()
            stopping.cancel()

    async def _try(self, wakeup: asyncio.Event) -> None:
        try:
            await to_thread.run_sync(self.deliver_due)
        except Unavailable as error:
            log.warning("webhooks wait: %s", error)
        await self._ledger.clock.wait(wakeup, seconds=_POLL_S)

    def deliver_due(self) -> int:
        """Try every webhook that is due, side by side; how many deliveries were accepted."""
        with self._ledger.read() as connection:
            found = webhooks.due(connection, now=self._ledger.clock.now())
            head = catalogue.feed_head(connection)
        behind = [webhook.webhook_id for webhook in found if webhook.seq < head]
        if not behind:
            return 0
        with ThreadPoolExecutor(min(len(behind), _AT_ONCE)) as pool:
            return sum(pool.map(self._serve, behind))

    def test(self, webhook: Webhook) -> tuple[int | None, str]:
        """Send an event that says nothing new; (status, why it failed or "")."""
        row = {"alert_id": "test", "site_id": "test", "version": 1, "state": "first"}
        change = {"from_class": "bare", "to_class": "built", "area_m2": 0.0, "probability": 0.0}
        event = _event("alert.raised", {**row, **change}, "test", self._ledger.clock.now(), 0)
        return self._post(webhook, event, {"Groundshift-Test": "true"})

    def _serve(self, webhook_id: str) -> int:
        """Deliver to one webhook what it has not got, under a lease."""
        with self._ledger.transaction() as tx:
            if not self._lease(tx, webhook_id):
                return 0
            webhook = webhooks.current(tx.connection, webhook_id)
        try:
            return self._deliver(webhook) if webhook else 0
        finally:
            with self._ledger.transaction() as tx:
                tx.release_lease(f"webhook/{webhook_id}", owner=self._me)

    def _lease(self, tx: Tx, webhook_id: str) -> bool:
        return tx.take_lease(f"webhook/{webhook_id}", owner=self._me, seconds=_LEASE_S)

    def _deliver(self, webhook: Webhook) -> int:
        with self._ledger.read() as connection:
            head = catalogue.feed_head(connection)
            rows = catalogue.feed_page(
                connection, webhook.tenant, after=webhook.seq, limit=_BATCH, words=webhook.types
            )
        for done, row in enumerate(rows):
            status, reason = self._post(webhook, _event_of(row), {})
            with self._ledger.transaction() as tx:
                if reason:
                    webhooks.failed(tx, webhook, status=status, reason=reason)
                    return done
                webhooks.delivered(tx, webhook.webhook_id, seq=row.seq, status=status or 0)
                if not self._lease(tx, webhook.webhook_id):
                    return done + 1  # another process took over meanwhile
        if len(rows) < _BATCH:
            with self._ledger.transaction() as tx:
                webhooks.passed(tx, webhook.webhook_id, seq=head)
        return len(rows)

    def _post(
        self, webhook: Webhook, event: Event, more: Mapping[str, str]
    ) -> tuple[int | None, str]:
        """(Status, why it was not accepted or "")."""
        headers, body = encode(event, mode="structured")
        at = int(self._ledger.clock.now().timestamp())
        signed = {**headers, **more, SIGNATURE: signature(webhook.secret, body, at=at)}
        try:
            status = outbound.post(
                webhook.url,
                body,
                signed,
                private=self._services.settings.webhook_private,
                resolve=self._resolve,
            )
        except (BadRequest, Unavailable) as error:
            return None, str(error)
        good = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
        return status, "" if good else f"answered {status}"


def _event_of(row: Row[Any]) -> Event:
    """The CloudEvent of a feed entry: with the id that the platform itself gave it."""
    return _event(row.type, row.payload, row.alert_id, row.created, row.version, row.tenant)


def _event(
    word: str,
    payload: Mapping[str, Any],
    alert_id: str,
    time: Any,
    version: int,
    tenant: str | None = None,
) -> Event:
    model = EVENTS[event_type(word)].model
    return new_event(
        model.fit(payload),
        source=SOURCE,
        subject=alert_id,
        time=time,
        attempt=version,
        tenant=tenant,
    )
