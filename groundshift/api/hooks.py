"""/api/webhooks: have the feed pushed."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from groundshift import outbound
from groundshift.api.access import Admin, Given
from groundshift.api.answers import json_answer
from groundshift.api.deliver import Deliverer
from groundshift.ledger import webhooks
from groundshift.ledger.webhooks import Webhook

router: Final = APIRouter(prefix="/api/webhooks", tags=["feed"])

Word = Literal["alert.raised", "alert.updated", "alert.withdrawn"]


class NewWebhook(BaseModel):
    """Where the feed is to go."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(min_length=1, max_length=2000)]
    """https address; private hosts only where the platform's settings allow it."""
    types: Annotated[list[Word], Field(max_length=3)] = []
    """Words of the feed; empty: all."""


@router.get("", summary="The caller's webhooks")
def list_webhooks(request: Request, given: Given, caller: Admin) -> Response:
    """Without their secrets."""
    with given.ledger.read() as connection:
        found = webhooks.of_tenant(connection, caller.tenant)
    return json_answer(request, {"webhooks": [_record(webhook) for webhook in found]})


@router.post("", status_code=HTTPStatus.CREATED, summary="Have the feed pushed to an address")
def add_webhook(request: Request, given: Given, caller: Admin, wish: NewWebhook) -> Response:
    """From the feed's next entry on. The secret is shown this once.

    Each delivery is a structured CloudEvent with the header `Groundshift-Signature:
    t=TIME,v1=HEX`, the HMAC-SHA256 of `TIME.BODY` under the secret. Anything but a 2xx is sent
    again, later and later; copies have the same event id.
    """
    outbound.check_url(wish.url, private=given.settings.webhook_private)
    with given.ledger.transaction() as tx:
        webhook = webhooks.add(
            tx, tenant=caller.tenant, actor=caller.user, url=wish.url, types=wish.types
        )
    body = {**_record(webhook), "secret": webhook.secret}
    return json_answer(request, body, status=HTTPStatus.CREATED, cache="no-store")


@router.post("/{webhook_id}/test", summary="Send a test event now")
def test_webhook(request: Request, given: Given, caller: Admin, webhook_id: str) -> Response:
    """What the other side answered; a paused webhook that accepts is active again."""
    with given.ledger.read() as connection:
        webhook = webhooks.get(connection, caller.tenant, webhook_id)
    status, reason = Deliverer(given).test(webhook)
    if not reason:
        with given.ledger.transaction() as tx:
            webhooks.resume(tx, webhook_id)
    body = {"accepted": not reason, "status": status, "reason": reason or None}
    return json_answer(request, body, cache="no-store")


@router.delete(
    "/{webhook_id}", status_code=HTTPStatus.NO_CONTENT, summary="Stop pushing to an address"
)
def delete_webhook(given: Given, caller: Admin, webhook_id: str) -> Response:
    """204; a delivery that is under way may still arrive."""
    with given.ledger.transaction() as tx:
        webhooks.delete(tx, webhooks.get(tx.connection, caller.tenant, webhook_id).webhook_id)
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _record(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.webhook_id,
        "url": webhook.url,
        "types": webhook.types,
        "state": webhook.state,
        "delivered_seq": webhook.seq,
        "failures": webhook.failures,
        "next_at": webhook.next_at if webhook.failures else None,
        "last_status": webhook.status,
        "last_reason": webhook.reason,
        "created": webhook.created,
        "created_by": webhook.actor,
    }
