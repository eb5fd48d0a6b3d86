"""What the platform adds to the exception tree of `geodata_etl.errors`.

::

    GroundshiftError
    ├── SceneRefused        422: the scene can never be processed as it is
    ├── BadEvent            400: not a CloudEvent, or data that does not fit its schema
    │   └── UnsupportedMedia  415: a batch, or data that is no JSON
    ├── BadRequest          400: a parameter or body of the API that means nothing
    ├── Unauthenticated     401: who asks is not known
    ├── Forbidden           403: who asks may not do that
    ├── UnknownEvent        422: a type or id that this platform does not know
    ├── TooLarge            413: over a size limit
    ├── NotYet              409: worth a retry in a moment (a dependency is not there yet)
    ├── Unavailable         503: a service did not answer; worth a retry
    ├── ModelMismatch       409: another model answered than the run was planned with
    ├── ModelRefused        422: the model server says the request can never work
    ├── NotFound            404: no such key, run or scene
    ├── Conflict            409: two writers disagree
    └── Misconfigured       500: a setting or manifest is wrong; a person must act
"""

from __future__ import annotations

from geodata_etl.errors import GroundshiftError, Refusal, SceneRefused

__all__ = [
    "BadEvent",
    "BadRequest",
    "Conflict",
    "Forbidden",
    "GroundshiftError",
    "Misconfigured",
    "ModelMismatch",
    "ModelRefused",
    "NotFound",
    "NotYet",
    "Refusal",
    "SceneRefused",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnknownEvent",
    "UnsupportedMedia",
    "http_status",
]


class BadEvent(GroundshiftError):
    """The message is not a CloudEvent, or its data does not fit the type's schema."""


class UnsupportedMedia(BadEvent):
    """The message has a media type or encoding that is not taken."""


class BadRequest(GroundshiftError):
    """A parameter or body of the API means nothing."""


class Unauthenticated(GroundshiftError):
    """Who asks is not known: no token, or one that does not hold."""


class Forbidden(GroundshiftError):
    """Who asks is known, and may not do that."""


class UnknownEvent(GroundshiftError):
    """The event's type is none of this platform's."""


class TooLarge(GroundshiftError):
    """A body or file is over its limit."""


class NotYet(GroundshiftError):
    """A dependency is not there yet: the same request works a little later."""


class Unavailable(GroundshiftError):
    """A service did not answer: the same request works once it is back."""


class ModelMismatch(GroundshiftError):
    """The digest that answered is not the one the run was planned with."""


class ModelRefused(GroundshiftError):
    """The model server refused the request for good."""


class NotFound(GroundshiftError):
    """There is no such key, run, scene or alert."""


class Conflict(GroundshiftError):
    """Two writers disagree about the same thing."""


class Misconfigured(GroundshiftError):
    """A setting or a manifest is wrong; a person must act."""


_STATUS: dict[type[GroundshiftError], int] = {
    SceneRefused: 422,
    BadEvent: 400,
    UnsupportedMedia: 415,
    BadRequest: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    UnknownEvent: 422,
    TooLarge: 413,
    NotYet: 409,
    Unavailable: 503,
    ModelMismatch: 409,
    ModelRefused: 422,
    NotFound: 404,
    Conflict: 409,
    Misconfigured: 500,
}
RETRYABLE = frozenset({404, 408, 409, 429, 500, 502, 503, 504})
"""Statuses that Knative retries (seen live); every other one goes straight to the dead letter."""


def http_status(error: BaseException) -> int:
    """The HTTP status that tells a caller what to do about an error; 500 for the unforeseen."""
    for kind in type(error).__mro__:
        if kind in _STATUS:
            return _STATUS[kind]
    return 500
