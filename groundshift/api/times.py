"""RFC 3339 instants and intervals of queries."""

from __future__ import annotations

from datetime import UTC, datetime

from groundshift.errors import BadRequest

Interval = tuple[datetime | None, datetime | None]
"""Both ends included; None: open."""


def read_interval(text: str | None) -> Interval:
    """An instant, a date, or ``start/end`` with ``..`` for an open end. Raises BadRequest."""
    if text is None:
        return None, None
    start, slash, end = text.partition("/")
    first, last = _instant(start, text), _instant(end if slash else start, text, end=True)
    if first is None and last is None:
        raise BadRequest(f"datetime {text!r:.60} is open at both ends: name one of them")
    if first is not None and last is not None and first > last:
        raise BadRequest(f"datetime {text!r:.60} ends before it begins")
    return first, last


def _instant(part: str, text: str, *, end: bool = False) -> datetime | None:
    if part in ("", ".."):
        return None
    try:
        found = datetime.fromisoformat(part)
        if len(part) <= len("20240101") + 2 and end:  # a date means the whole day
            found = found.replace(hour=23, minute=59, second=59, microsecond=999_999)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise BadRequest(
            f"datetime {text!r:.60}: write RFC 3339, e.g. 2024-05-01T00:00:00Z/.."
        ) from error
