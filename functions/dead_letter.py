"""dead-letter: whatever a Trigger gave up -> a row in the ledger, with the reason, for `replay`.

Only a cluster needs it: embedded, the dispatcher writes the row itself.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from groundshift.ledger import deliveries, outcomes

if TYPE_CHECKING:
    from functions.platform import Platform
    from groundshift.events import Event

_UNKNOWN: Final = "unknown"
_JOB_SINK: Final = "job-sink"
"""Host that answers for every JobSink: http://job-sink.knative-eventing.svc.../NAMESPACE/NAME."""


def dead_letter(event: Event, platform: Platform) -> None:
    """Note what Knative says about the failure in the extensions that it adds to the event."""
    said = event.extensions
    code = said.get("knativeerrorcode", "")
    status = int(code) if code.isdecimal() else None
    trigger = _trigger(said.get("knativeerrordest", ""))
    reason = _text(said.get("knativeerrordata", "")) or f"status {code or _UNKNOWN}"
    with platform.ledger.transaction() as tx:
        if deliveries.record_dead(tx, event, trigger, status=status, reason=reason):
            outcomes.mark_failed(tx, event, f"{trigger}: {reason}")


def _trigger(destination: str) -> str:
    """The Trigger of an address: of a Service the host's name, of a JobSink the end of its path."""
    where = urlsplit(destination)
    name = (where.hostname or _UNKNOWN).partition(".")[0]
    return where.path.rstrip("/").rpartition("/")[2] if name == _JOB_SINK else name


def _text(encoded: str) -> str:
    """The handler's answer, which the Broker adds in base64; what is no base64 as it is."""
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return encoded
