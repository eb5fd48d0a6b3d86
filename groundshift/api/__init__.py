"""The platform's API for people's programs: alerts, reviews, tiles, the feed, OGC and STAC.

`create_api` makes the ASGI app; `groundshift up` serves it beside the intake of events.
"""

from groundshift.api.app import create_api

__all__ = ["create_api"]
