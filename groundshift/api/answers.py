"""How answers look: JSON with an ETag, pages with a cursor, errors as problem+json (RFC 9457)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from groundshift.errors import BadRequest, GroundshiftError, Unauthenticated, http_status

log = logging.getLogger(__name__)

JSON: Final = "application/json"
GEOJSON: Final = "application/geo+json"
PROBLEM: Final = "application/problem+json"
PRIVATE: Final = "private, no-cache"
"""Kept by the asker's browser only, and asked for again with its ETag."""
IMMUTABLE: Final = "private, max-age=86400, immutable"
"""Of what follows from a content-addressed id alone."""

PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "What went wrong, as problem details (RFC 9457)",
        "content": {
            PROBLEM: {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                    },
                }
            }
        },
    }
}
"""For the OpenAPI document."""


def json_answer(
    request: Request,
    body: Any,
    *,
    status: int = HTTPStatus.OK,
    media_type: str = JSON,
    headers: Mapping[str, str] | None = None,
    cache: str = PRIVATE,
) -> Response:
    """`body` as JSON with an ETag; 304 where the asker has it already."""
    content = orjson.dumps(body, option=orjson.OPT_UTC_Z | orjson.OPT_SERIALIZE_NUMPY)
    etag = etag_of(content)
    named = {"ETag": etag, "Cache-Control": cache, **(headers or {})}
    if status == HTTPStatus.OK and known(request, etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=named)
    return Response(content, status_code=status, media_type=media_type, headers=named)


def etag_of(content: bytes | str) -> str:
    """A strong ETag of bytes, or of a text that they follow from."""
    raw = content.encode() if isinstance(content, str) else content
    return f'"{hashlib.sha256(raw).hexdigest()[:32]}"'


def known(request: Request, etag: str) -> bool:
    """Whether the asker's If-None-Match names this ETag."""
    header = request.headers.get("if-none-match", "")
    named = {part.strip().removeprefix("W/") for part in header.split(",")}
    return etag in named or "*" in named


def cursor_of(at: datetime, key: str) -> str:
    """Where the next page begins: after this place in the order of (time, id)."""
    raw = orjson.dumps([at.isoformat(), key])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def place_of(cursor: str | None) -> tuple[datetime, str] | None:
    """The place that `cursor_of` wrote. Raises BadRequest."""
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        at, key = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        return datetime.fromisoformat(at).astimezone(UTC), str(key)
    except (ValueError, TypeError, binascii.Error, OverflowError) as error:
        raise BadRequest(
            f"cursor {cursor!r:.60} is none of ours: follow the `next` link of the page before"
        ) from error


def next_link(request: Request, cursor: str) -> dict[str, str]:
    """The link to the page that begins there."""
    url = request.url.include_query_params(cursor=cursor)
    return {"rel": "next", "href": str(url), "type": JSON}


def self_link(request: Request) -> dict[str, str]:
    """The link to this very answer."""
    return {"rel": "self", "href": str(request.url), "type": JSON}


def problem(status: int, detail: str, **more: Any) -> Response:
    """A problem+json answer."""
    told = HTTPStatus(status)
    body = {"type": "about:blank", "title": told.phrase, "status": told.value, "detail": detail}
    headers = {"Cache-Control": "no-store"}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="groundshift"'
    content = orjson.dumps({**body, **more}, default=str)
    return Response(content, status_code=status, media_type=PROBLEM, headers=headers)


def answer_problems(app: FastAPI) -> None:
    """Make every error of the app a problem+json answer."""
    app.add_exception_handler(GroundshiftError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


def refusal(request: Request, error: GroundshiftError) -> Response:
    """An error of ours as a problem+json answer; the platform's own faults are logged."""
    status = http_status(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("%s %s: %s", request.method, request.url.path, error)
    answer = problem(status, str(error))
    if isinstance(error, Unauthenticated) and request.headers.get("authorization"):
        answer.headers["WWW-Authenticate"] = 'Bearer realm="groundshift", error="invalid_token"'
    return answer


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, GroundshiftError)
    return refusal(request, error)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [
        {"where": "/".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()
    ]
    first = found[0] if found else {"where": "request", "what": "invalid"}
    detail = f"{first['where']}: {first['what']}; see /api/docs for what it takes"
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=found)


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = problem(error.status_code, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


async def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("%s %s: unforeseen", request.method, request.url.path, exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "unforeseen: the platform's log says more")
