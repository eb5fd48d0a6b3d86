"""What pygeoapi asks of the ledger: alerts and current changes as features.

pygeoapi loads these classes by their dotted names (`groundshift.api.ogc`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson
from pygeoapi.provider.base import (
    BaseProvider,
    ProviderInvalidQueryError,
    ProviderItemNotFoundError,
)
from pygeoapi.util import crs_transform

from groundshift.api.ogc import Source
from groundshift.api.times import Interval, read_interval
from groundshift.errors import BadRequest, NotFound
from groundshift.ledger import alert_views, change_views
from groundshift.ledger.alert_views import AlertFilter, Bbox
from groundshift.ledger.change_views import ChangeFilter

_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
_NUMBER: Final = {"type": "number"}
_WHOLE: Final = {"type": "integer"}
Field = Mapping[str, str]


class LedgerProvider(BaseProvider, ABC):  # type: ignore[misc]
    """What both collections share."""

    FIELDS: Mapping[str, Field]
    FILTERS: Sequence[str]
    """Fields that a query may name with the value they must have."""

    def __init__(self, provider_def: dict[str, Any]) -> None:
        super().__init__(provider_def)
        self._source: Source = self.data
        self._fields = {name: dict(field) for name, field in self.FIELDS.items()}

    def get_fields(self) -> dict[str, Any]:
        """The properties of a feature."""
        return dict(self._fields)

    @crs_transform  # type: ignore[untyped-decorator]
    def query(
        self,
        *,
        offset: int = 0,
        limit: int = 10,
        resulttype: str = "results",
        bbox: Sequence[float] = (),
        datetime_: str | None = None,
        properties: Sequence[tuple[str, str]] = (),
        sortby: Sequence[Any] = (),
        select_properties: Sequence[str] = (),
        skip_geometry: bool = False,
        filterq: Any = None,
        **_: Any,
    ) -> dict[str, Any]:
        """A page of features. Raises ProviderInvalidQueryError for what no index answers."""
        if sortby or filterq is not None:
            raise ProviderInvalidQueryError(user_msg="neither sortby nor filter is served")
        box = _box(bbox)
        matched, found = self._page(
            box, _when(datetime_), self._equal(properties), offset=offset, limit=limit
        )
        shown = [] if resulttype == "hits" else found
        return {
            "type": "FeatureCollection",
            "features": [_shown(one, select_properties, skip_geometry) for one in shown],
            "numberMatched": matched,
            "numberReturned": len(shown),
        }

    @crs_transform  # type: ignore[untyped-decorator]
    def get(self, identifier: str, **_: Any) -> dict[str, Any]:
        """One feature. Raises ProviderItemNotFoundError."""
        try:
            return self._one(identifier)
        except NotFound as error:
            raise ProviderItemNotFoundError(user_msg=str(error)) from error

    def _equal(self, properties: Sequence[tuple[str, str]]) -> dict[str, str]:
        """The values that a query names. Raises ProviderInvalidQueryError."""
        for name, _ in properties:
            if name not in self.FILTERS:
                raise ProviderInvalidQueryError(user_msg=f"{name} cannot be filtered by its value")
        return dict(properties)

    @abstractmethod
    def _page(
        self,
        box: Bbox | None,
        when: Interval,
        equal: Mapping[str, str],
        *,
        offset: int,
        limit: int,
    ) -> tuple[int, list[dict[str, Any]]]:
        """(How many there are, some of them as features)."""

    @abstractmethod
    def _one(self, identifier: str) -> dict[str, Any]:
        """One feature. Raises NotFound."""


class AlertProvider(LedgerProvider):
    """The collection of alerts."""

    FIELDS: Mapping[str, Field] = {
        "state": _TEXT,
        "from_class": _TEXT,
        "to_class": _TEXT,
        "site_id": _TEXT,
        "probability": _NUMBER,
        "area_m2": _NUMBER,
        "first_seen": _TIME,
        "last_seen": _TIME,
        "supports": _WHOLE,
        "version": _WHOLE,
        "reason": _TEXT,
    }
    FILTERS: Sequence[str] = ("state", "from_class", "to_class", "site_id")

    def _page(
        self,
        box: Bbox | None,
        when: Interval,
        equal: Mapping[str, str],
        *,
        offset: int,
        limit: int,
    ) -> tuple[int, list[dict[str, Any]]]:
        wanted = AlertFilter(
            states=(equal["state"],) if "state" in equal else (),
            from_class=equal.get("from_class"),
            to_class=equal.get("to_class"),
            site_id=equal.get("site_id"),
            since=when[0],
            until=when[1],
            bbox=box,
        )
        with self._source.ledger.read() as connection:
            matched, rows = alert_views.offset_page(
                connection, self._source.tenant, wanted, limit=limit, offset=offset
            )
        return matched, [self._feature(row) for row in rows]

    def _one(self, identifier: str) -> dict[str, Any]:
        ledger, tenant = self._source.ledger, self._source.tenant
        with ledger.read() as connection:
            view = alert_views.one(connection, tenant, identifier, now=ledger.clock.now())
        return self._feature(view.row)

    def _feature(self, row: Any) -> dict[str, Any]:
        return _feature(
            row.id, orjson.loads(row.geometry), {n: getattr(row, n) for n in self._fields}
        )


class ChangeProvider(LedgerProvider):
    """The collection of the changes that current runs found."""

    FIELDS: Mapping[str, Field] = {
        "run_id": _TEXT,
        "site_id": _TEXT,
        "from_class": _TEXT,
        "to_class": _TEXT,
        "area_m2": _NUMBER,
        "pixels": _WHOLE,
        "mean_probability": _NUMBER,
        "max_probability": _NUMBER,
        "observed_fraction": _NUMBER,
        "before": _TIME,
        "after": _TIME,
    }
    FILTERS: Sequence[str] = ("run_id", "site_id", "from_class", "to_class")

    def _page(
        self,
        box: Bbox | None,
        when: Interval,
        equal: Mapping[str, str],
        *,
        offset: int,
        limit: int,
    ) -> tuple[int, list[dict[str, Any]]]:
        wanted = ChangeFilter(since=when[0], until=when[1], bbox=box, **equal)
        with self._source.ledger.read() as connection:
            matched, rows = change_views.page(
                connection, self._source.tenant, wanted, limit=limit, offset=offset
            )
        return matched, [self._feature(row) for row in rows]

    def _one(self, identifier: str) -> dict[str, Any]:
        with self._source.ledger.read() as connection:
            return self._feature(change_views.one(connection, self._source.tenant, identifier))

    def _feature(self, found: change_views.ChangeView) -> dict[str, Any]:
        values = {name: getattr(found.row, name) for name in self._fields}
        return _feature(found.change_id, found.geometry, values)


def _feature(key: str, geometry: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    told = {
        name: value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
        for name, value in values.items()
    }
    return {"type": "Feature", "id": key, "geometry": geometry, "properties": told}


def _shown(feature: dict[str, Any], names: Sequence[str], skip_geometry: bool) -> dict[str, Any]:
    """A feature with what was asked for."""
    properties = feature["properties"]
    if names:
        properties = {name: properties[name] for name in names}
    geometry = None if skip_geometry else feature["geometry"]
    return {**feature, "geometry": geometry, "properties": properties}


def _box(bbox: Sequence[float]) -> Bbox | None:
    if not bbox:
        return None
    west, south, east, north = (
        (bbox[0], bbox[1], bbox[2], bbox[3])
        if len(bbox) == 4
        else (bbox[0], bbox[1], bbox[3], bbox[4])
    )
    return float(west), float(south), float(east), float(north)


def _when(text: str | None) -> Interval:
    """The ends of an instant or interval. Raises ProviderInvalidQueryError."""
    try:
        return read_interval(text)
    except BadRequest as error:
        raise ProviderInvalidQueryError(user_msg=str(error)) from error
