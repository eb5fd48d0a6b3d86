"""The scene simulator: sites with seasons, clouds and known changes, and their exact truth.

It is training data, test data and load generator in one. The same `SiteSpec` and date always give
the same bits.
"""

from geodata_etl.simulate.changes import Change, ChangeCounts, ChangeKind
from geodata_etl.simulate.climate import CLIMATES, Climate
from geodata_etl.simulate.sample import SampledPair, sample_pair
from geodata_etl.simulate.sensor import SENSORS
from geodata_etl.simulate.site import SimulatedScene, Site, SiteSpec, default_dates, simulate_site
from geodata_etl.simulate.write import change_grid, scene_id, write_scene, write_truth

__all__ = [
    "CLIMATES",
    "SENSORS",
    "Change",
    "ChangeCounts",
    "ChangeKind",
    "Climate",
    "SampledPair",
    "SimulatedScene",
    "Site",
    "SiteSpec",
    "change_grid",
    "default_dates",
    "sample_pair",
    "scene_id",
    "simulate_site",
    "write_scene",
    "write_truth",
]
