"""The platform's doors for programs: events in, status, models, metrics; and who comes in.

Probes have no guard: they say whether the platform runs, and nothing of what it holds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from groundshift.api.access import Caller, Role, Services
from groundshift.api.answers import refusal
from groundshift.errors import Forbidden, GroundshiftError, Unauthenticated

Door = Literal["events", "status", "models", "metrics"]
DOORS: Final[Mapping[Door, tuple[str, Role, str]]] = {
    "events": ("POST /events", Role.ANALYST, "announce scenes, for the tenant of the token"),
    "status": ("/status", Role.ANALYST, "counts of the tenant of the token"),
    "models": ("/v2", Role.ANALYST, "ask the models, KServe v2"),
    "metrics": (
        "/metrics",
        Role.ADMIN,
        "Prometheus, of all tenants; for `GROUNDSHIFT_TENANT` only",
    ),
}
"""Address, least role of a person, and what for; the role `service` opens all."""

Endpoint = Callable[[Request], Awaitable[Response]]


def guarded(given: Services, door: Door, endpoint: Endpoint) -> Endpoint:
    """The endpoint, for those who may use the door; the others are told why as a problem."""

    async def answer(request: Request) -> Response:
        try:
            caller = await to_thread.run_sync(admit, given, door, request)
        except GroundshiftError as error:
            return refusal(request, error)
        request.state.caller = caller
        return await endpoint(request)

    return answer


def admit(given: Services, door: Door, request: Request) -> Caller:
    """Who comes in. Raises Unauthenticated, Forbidden, Unavailable."""
    settings = given.settings
    if door in settings.open_doors and "authorization" not in request.headers:
        return Caller(user="", tenant=settings.tenant, role=Role.SERVICE, service=True, local=True)
    caller = given.caller(request)
    if caller.signed:
        raise Unauthenticated("a signed address opens pictures only: send a bearer token")
    path, least, _ = DOORS[door]
    if not caller.service and caller.role < least:
        raise Forbidden(
            f"{caller.user!r} is {caller.role.name.lower()}, {path} takes the role service or "
            f"{least.name.lower()}: ask an administrator of the login for it"
        )
    if door == "metrics" and not caller.local and caller.tenant != settings.tenant:
        raise Forbidden(f"{path} counts all tenants: it takes a token of {settings.tenant!r}")
    return caller


def doors_table() -> str:
    """The documentation's table of doors, in Markdown."""
    rows = (
        f"| `{path}` | {what} | {_and_above(least)} | `{door}` |\n"
        for door, (path, least, what) in DOORS.items()
    )
    return "| address | what for | roles | open with |\n|---|---|---|---|\n" + "".join(rows)


def _and_above(least: Role) -> str:
    return ", ".join(role.name.lower() for role in Role if role is Role.SERVICE or role >= least)
