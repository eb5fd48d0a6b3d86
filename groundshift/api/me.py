"""/api/me: who the platform takes the caller for."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response

from groundshift.api.access import Given, Reader
from groundshift.api.answers import json_answer

router: Final = APIRouter(prefix="/api/me", tags=["access"])


@router.get("", summary="Who you are here")
def who_am_i(request: Request, given: Given, caller: Reader) -> Response:
    """`local`: no login is configured, and the platform answers its own machine only."""
    body = {
        "user": caller.user,
        "tenant": caller.tenant,
        "role": caller.role.name.lower(),
        "local": caller.local,
        "issuer": given.settings.oidc_issuer or None,
    }
    return json_answer(request, body)
