"""From where data lies to what a training takes. Needs torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.training
pytest.importorskip("torch")

from geodata_etl.bands import Cloud  # noqa: E402
from groundshift.errors import Misconfigured  # noqa: E402
from groundshift.influence import Influence  # noqa: E402
from training import collect, export, split, validation  # noqa: E402
from training.dataset import UNKNOWN  # noqa: E402
from training.sources import Simulator  # noqa: E402

(ONE, TWO) = Simulator(range(2), size=64).samples()


class Given:
    """A source of samples made here."""

    def __init__(self, name, samples):
        self.name = name
        self._samples = samples

    def samples(self):
        yield from self._samples


def labelled(name, site, **more):
    """A sample as a reviewer's label is: no clouds, half of it unknown."""
    ignore = np.zeros((64, 64), np.bool_)
    ignore[:, 32:] = True
    return replace(
        ONE,
        name=name,
        site=site,
        covers=None,
        clouds=None,
        ignore=ignore,
        licence="CC-BY-4.0",
        **more,
    )


def collected(monkeypatch, *sources, model="change-classifier", **inputs):
    monkeypatch.setattr(collect.Inputs, "sources", lambda self: list(sources))
    return collect.collect(
        model, collect.Inputs(**inputs), size=32, real_share=0.6, paste_share=0.5
    )


def sites(count, side):
    """Names of sites that the split puts on a side."""
    named = (f"site {n}" for n in range(1000))
    return [
        name
        for name, _ in zip((s for s in named if split.side(s) == side), range(count), strict=False)
    ]


def test_the_default_is_the_simulator_alone_and_no_restricted_licence():
    found = collect.collect(
        "segmenter", collect.Inputs(simulated=12), size=32, real_share=0.6, paste_share=0.5
    )
    assert found.restricted == found.described == []
    assert not found.source.real
    assert len(found.source.simulated) + len(found.validation) == 12
    assert len(found.manifest.entries) == 12


def test_what_trains_and_what_judges_are_never_of_one_site(monkeypatch):
    both = [*sites(3, "train"), *sites(2, "validation")]
    source = Given("reviews", [labelled(f"{s}-{n}", s) for s in both for n in range(2)])
    found = collected(monkeypatch, Given("simulator", [ONE, TWO]), source)
    judging = {s.site for s in found.validation}
    learning = {e.site for e in found.manifest.entries if e.side == "train"}
    assert judging
    assert not judging & learning
    assert judging | learning == {ONE.site, TWO.site, *both}


def test_verified_tiles_of_held_out_sites_are_left_to_the_gate(monkeypatch):
    (learns,), (judges,) = sites(1, "train"), sites(1, "validation")
    tiles = Given("verified-tiles", [labelled("a", learns), labelled("b", judges)])
    found = collected(monkeypatch, Given("simulator", [ONE, TWO]), tiles)
    assert judges not in {s.site for s in found.validation}
    side = {e.site: e.side for e in found.manifest.entries}
    assert side[judges] == "gate"
    assert side[learns] == "train"


def test_ground_that_is_pasted_on_never_judges(monkeypatch):
    (here, there) = sites(2, "validation")
    reviews = Given("reviews", [labelled("a", here), labelled("b", there)])
    monkeypatch.setattr(collect.Inputs, "ground", lambda self: [replace(ONE, site=here)])
    found = collected(monkeypatch, Given("simulator", [TWO]), reviews)
    assert {s.site for s in found.validation} == {there}
    sides = {(e.source, e.side) for e in found.manifest.entries if e.site == here}
    assert sides == {("unlabelled-pairs", "train"), ("reviews", "train")}
    held = collected(monkeypatch, Given("simulator", [TWO]), reviews, hold_out=(here,))
    assert here not in {e.site for e in held.manifest.entries}


def test_a_site_that_is_held_out_is_nowhere(monkeypatch):
    source = Given("reviews", [labelled("a", "here"), labelled("b", "there")])
    found = collected(monkeypatch, Given("simulator", [ONE]), source, hold_out=("here",))
    assert {e.site for e in found.manifest.entries} == {ONE.site, "there"}


def test_a_restricted_licence_is_refused_until_it_is_accepted_and_then_said(monkeypatch):
    sample = replace(labelled("a", sites(1, "train")[0]), licence="CC-BY-NC-SA-4.0")
    sources = Given("simulator", [ONE, TWO]), Given("oscd", [sample])
    with pytest.raises(Misconfigured, match="--accept-licence"):
        collected(monkeypatch, *sources)
    found = collected(monkeypatch, *sources, accept_licence=True)
    assert found.restricted == ["CC-BY-NC-SA-4.0"]
    assert "CC-BY-NC-SA-4.0" in found.described[0]
    story = export.Story([], [0], 1, {}, [], restricted=found.restricted)
    assert story.licence.startswith("non-commercial")
    assert "CC-BY-NC-SA-4.0" in story.licence


@pytest.mark.parametrize("restricted", [[], ["CC-BY-NC-SA-4.0"]])
def test_the_card_and_the_record_say_what_the_weights_may_be_used_for(tmp_path, restricted):
    import json

    from training import nets

    (tmp_path / "model.onnx").write_bytes(b"a graph")
    story = export.Story(["data"], [0], 1, {}, [], dataset="abc123", restricted=restricted)
    net = nets.build("segmenter")
    export.write_model(tmp_path, "segmenter", net, story, Influence(24, {}))
    record = json.loads((tmp_path / "model.json").read_text())
    card = (tmp_path / "card.md").read_text()
    assert record["training"]["dataset"] == "abc123"
    assert "abc123" in card
    if restricted:
        assert "non-commercial" in record["training"]["licence"]
        assert "non-commercial" in card
        assert "trained\nnothing" not in card
    else:
        assert record["training"]["licence"] == "Apache-2.0"
        assert "trained\nnothing" in card


def test_real_labels_make_up_half_of_what_is_drawn(monkeypatch):
    reviews = [labelled(f"{n}", site) for n, site in enumerate(sites(2, "train"))]
    simulated = [replace(ONE, name=str(n), site=s) for n, s in enumerate(sites(8, "train"))]
    found = collected(monkeypatch, Given("simulator", simulated), Given("reviews", reviews[:1]))
    drawn = found.source.simulated
    real = [pair for pair in drawn if (pair.before_cover == UNKNOWN).all()]
    assert len(real) == len(drawn) - len(real)


@pytest.mark.parametrize("model", ["cloud-mask", "segmenter", "change-classifier"])
def test_a_model_learns_only_from_samples_with_its_labels(monkeypatch, model):
    bare = labelled("a", "somewhere")
    found = collected(monkeypatch, Given("simulator", [ONE]), Given("reviews", [bare]), model=model)
    assert (len(found.manifest.entries) == 2) == (model == "change-classifier")


def test_ground_that_nobody_vouches_for_has_no_weight():
    from training.samples import Source

    (pair,) = collect.as_pairs([labelled("a", "somewhere")])
    assert not pair.lit[:, 32:].any()
    assert pair.lit[:, :32].any()
    assert set(np.unique(pair.after_cloud)) <= {int(Cloud.CLEAR), int(Cloud.CLOUD)}
    source = Source([], [pair], size=64, real_share=0.0)
    drawn = [source.draw("change-classifier", np.random.default_rng(n)) for n in range(30)]
    shares = [float((sample["weight"] > 0).mean()) for sample in drawn]
    assert max(shares) <= 0.5
    assert sum(share > 0 for share in shares) >= 27  # clouds may hide all of the half that is known


def test_seeds_that_are_held_out_cannot_train():
    with pytest.raises(Misconfigured, match="at most"):
        collect.Inputs(simulated=1_000_001).sources()


# Scores on held-out sites


@settings(deadline=None)
@given(hits=st.integers(0, 50), misses=st.integers(0, 50), alarms=st.integers(0, 50))
def test_the_score_of_change_is_f1(hits, misses, alarms):
    matrix = np.array([[100, alarms], [misses, hits]])
    called = 2 * hits + misses + alarms
    found = validation.scores(("unchanged", "change"), matrix)
    assert found["score"] == pytest.approx(2 * hits / called if called else 1.0)


def test_the_score_of_classes_is_the_mean_iou_of_those_that_are_there():
    matrix = np.zeros((4, 4), np.int64)
    matrix[0, 0], matrix[1, 1], matrix[0, 1] = 6, 2, 2
    found = validation.scores(("clear", "cloud", "thin", "shadow"), matrix)
    assert found == pytest.approx({"score": (0.75 + 0.5) / 2, "iou_clear": 0.75, "iou_cloud": 0.5})


@pytest.mark.parametrize("model", ["cloud-mask", "segmenter", "change-classifier"])
def test_a_look_counts_known_pixels_only_and_a_panel_shows_it(model):
    import io

    from PIL import Image

    from training import nets

    segmenter = nets.build("segmenter").eval()
    judge = validation.Validation(model, (ONE, TWO), segmenter)
    net = nets.build(model).eval()
    looks = list(judge.looks(net))
    assert judge.confusion(net).sum() == sum(int(look.counts.sum()) for look in looks)
    assert all(int(look.truth[look.counts].max(initial=0)) < len(judge.classes) for look in looks)
    picture = Image.open(io.BytesIO(judge.panel(net, rows=2)))
    columns = 4 if model == "change-classifier" else 3
    assert picture.size == (columns * 68, 2 * 68)
