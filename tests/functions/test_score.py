"""The alerts that an analyst sees first, held against the simulator's truth."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import numpy as np
import pytest
from pyproj import Transformer

from functions.score import first_in_queue
from geodata_etl.simulate import ChangeCounts, SiteSpec, simulate_site


@pytest.fixture(scope="module")
def site():
    return simulate_site(SiteSpec(seed=3, size_px=256, changes=ChangeCounts(mine=2)))


def square(site, row: int, column: int, *, edge: int = 4) -> str:
    """GeoJSON of some pixels of the site."""
    corners = [(0, 0), (edge, 0), (edge, edge), (0, edge), (0, 0)]
    x, y = zip(*(site.grid.transform * (column + c, row + r) for c, r in corners), strict=True)
    lon, lat = Transformer.from_crs(site.grid.epsg, 4326, always_xy=True).transform(x, y)
    return json.dumps({"type": "Polygon", "coordinates": [list(zip(lon, lat, strict=True))]})


def alert(site, at: tuple[int, int], when: datetime, score: float) -> dict[str, object]:
    named = f"{at[0]}-{at[1]}-{when:%Y%m%d}"
    return {
        "id": named,
        "score": score,
        "first_seen": when.isoformat(),
        "geometry": square(site, *at),
    }


def test_an_alert_is_true_where_its_ground_had_changed_when_it_was_raised(site):
    start, end = site.period
    changed = site.change_mask(start, end) == 1
    # whole squares of changed and of unchanged ground
    windows = np.lib.stride_tricks.sliding_window_view(changed, (4, 4))
    true = tuple(int(v) for v in np.argwhere(windows.all(axis=(2, 3)))[0])
    false = tuple(int(v) for v in np.argwhere(~windows.any(axis=(2, 3)))[0])
    alerts = [
        alert(site, true, end, 0.5),
        alert(site, false, end, 0.6),
        alert(site, true, start + timedelta(seconds=1), 0.1),
    ]
    assert first_in_queue(site, alerts, since=start) == (1, 3), "before the change it was false"
    assert first_in_queue(site, alerts, since=start, most=1) == (0, 1), "the surest one comes first"
    assert first_in_queue(site, alerts, since=start, most=2) == (1, 2)
    assert first_in_queue(site, [], since=start) == (0, 0)
