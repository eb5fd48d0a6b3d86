"""Samples, the sides of a split, the manifest: what every source's data goes through."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundshift.adapters.files import FileObjectStore
from groundshift.errors import Misconfigured
from training import manifest, split
from training.dataset import Sample


def sample(name="a", site="somewhere", licence="Apache-2.0", *, value=1000, **more):
    stack = np.full((6, 32, 32), value, np.uint16)
    return Sample(
        name=name,
        site=site,
        sensor="sentinel-2",
        dates=(date(2020, 1, 5), date(2021, 12, 30)),
        licence=licence,
        lineage=f"made for a test, {name}",
        before=stack,
        after=stack + 1,
        ignore=np.zeros((32, 32), np.bool_),
        change=np.zeros((32, 32), np.bool_),
        **more,
    )


def entries_of(*samples, side="train"):
    return tuple(manifest.entries("source", side, samples))


@pytest.mark.parametrize(
    ("name", "plane"),
    [
        ("after", np.ones((6, 31, 32), np.uint16)),
        ("before", np.ones((6, 32, 32), np.float32)),
        ("ignore", np.zeros((32, 32), np.uint8)),
        ("covers", (np.zeros((32, 32), np.uint8), np.zeros((16, 32), np.uint8))),
    ],
)
def test_a_plane_that_does_not_fit_is_refused(name, plane):
    with pytest.raises(Misconfigured, match="sample a"):
        replace(sample(), **{name: plane})


def test_nothing_of_a_sample_changes_without_its_digest():
    one = sample()
    mark = np.zeros((32, 32), np.bool_)
    mark[3, 4] = True
    nothing = np.full((32, 32), 255, np.uint8)
    others = [
        replace(one, change=mark),
        replace(one, change=None),
        replace(one, ignore=mark),
        replace(one, before=one.before + 1),
        replace(one, covers=(nothing, nothing)),
        replace(one, clouds=(nothing, nothing)),
        replace(one, licence="CC0-1.0"),
        replace(one, site="elsewhere"),
        replace(one, traits={"biome": "steppe"}),
    ]
    assert len({one.digest, *(other.digest for other in others)}) == len(others) + 1
    assert sample().digest == one.digest


def test_season_distance_goes_round_the_year():
    assert sample().season_days == 6


def test_what_is_not_observed_at_either_date_is_not_observed():
    one = sample()
    one.after[2, 5, 6] = 0
    assert not one.observed[5, 6]
    assert one.observed.sum() == 32 * 32 - 1


@given(sites=st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=30))
def test_no_site_is_on_both_sides_and_nothing_is_lost(sites):
    listed = [sample(str(index), site) for index, site in enumerate(sites)]
    sides = split.by_site(listed)
    learning = {s.site for s in sides.train}
    judging = {s.site for s in sides.validation}
    assert not learning & judging
    assert learning
    assert sorted(s.name for s in (*sides.train, *sides.validation)) == sorted(
        s.name for s in listed
    )
    assert bool(judging) == (len(set(sites)) > 1)


@given(
    sites=st.sets(st.text(min_size=1, max_size=6), min_size=60, max_size=80),
    more=st.text(min_size=7, max_size=9),
)
def test_a_site_stays_on_its_side_when_others_come(sites, more):
    listed = [sample(site, site) for site in sorted(sites)]
    before = {s.site for s in split.by_site(listed).validation}
    after = {s.site for s in split.by_site([*listed, sample("new", more)]).validation}
    assert before - {more} == after - {more} or len(before) == 1


def test_about_the_asked_share_of_sites_validates():
    sides = [split.side(f"site {n}", share=0.2) for n in range(2000)]
    assert 0.17 < sides.count("validation") / 2000 < 0.23


@given(order=st.permutations(range(4)))
def test_the_version_is_of_the_content_and_not_of_the_order(order):
    four = [sample(str(n), value=500 + n) for n in range(4)]
    straight = manifest.Manifest(entries_of(*four))
    assert manifest.Manifest(entries_of(*(four[n] for n in order))).version == straight.version
    assert manifest.Manifest(entries_of(*four[:3])).version != straight.version
    assert manifest.Manifest(entries_of(*four, side="validation")).version != straight.version


def test_a_manifest_says_where_each_sample_came_from_and_is_written_once(tmp_path):
    store = FileObjectStore(tmp_path)
    made = manifest.Manifest(entries_of(sample("a", "x"), sample("b", "y", "CC0-1.0")))
    version = manifest.store_manifest(store, made)
    written = store.get(manifest.manifest_key(version))
    assert manifest.store_manifest(store, made) == version
    assert store.get(manifest.manifest_key(version)) == written
    found = orjson.loads(written)
    assert found == manifest.load_manifest(store, version)
    assert found["licences"] == {"Apache-2.0": 1, "CC0-1.0": 1}
    assert found["sites"] == {"train": 2, "validation": 0, "gate": 0}
    first = found["entries"][0]
    assert first["site"] == "x"
    assert first["lineage"] == "made for a test, a"
    assert first["digest"] == sample("a", "x").digest


@pytest.mark.parametrize(
    ("licence", "forbids"),
    [
        ("CC-BY-NC-4.0", True),
        ("CC-BY-NC-SA (labels of the Onera Satellite Change Detection dataset)", True),
        ("free for non-commercial research", True),
        ("Apache-2.0", False),
        ("CC-BY-SA-4.0", False),
        ("Copernicus Sentinel data: free, full and open", False),
        ("proprietary", False),
    ],
)
def test_a_licence_that_forbids_commercial_use_must_be_accepted(licence, forbids):
    assert manifest.noncommercial(licence) is forbids
    assert manifest.check_licences([licence], accepted=True) == ([licence] if forbids else [])
    if forbids:
        with pytest.raises(Misconfigured, match="--accept-licence"):
            manifest.check_licences([licence], accepted=False)
    else:
        manifest.check_licences([licence], accepted=False)
