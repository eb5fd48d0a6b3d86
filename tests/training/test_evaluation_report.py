"""The report and the command: one page that needs nothing else, one JSON document, an exit code."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from groundshift.errors import Misconfigured
from groundshift.serving.testing import write_test_models
from training import gate
from training.evaluation import card, cli, pictures, report, stores, templates, tracked
from training.evaluation.failures import MODES
from training.evaluation.pictures import Worst
from training.evaluation.run import Plan, evaluate
from training.evaluation.slices import SIMULATED
from training.evaluation.summary import summary

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    pytest.importorskip("onnx")
    return write_test_models(tmp_path_factory.mktemp("rules"))


@pytest.fixture(scope="module")
def made(store):
    worst = Worst()
    done = evaluate(store, Plan(sites=5, size_px=96, failure_sites=1), watch=worst)
    passed = templates.Result("identical <dates>", "no change & no noise", "share", 0.0, 0.0)
    found = summary(done, (passed,))
    found["verdict"] = gate.verdict(done, done, (passed,), gate.Rules(draws=50)).as_dict()
    return found, worst.cases


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.links += [v for k, v in attrs if k in ("src", "href") and v]
        if tag not in ("meta", "img", "br", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()


def test_the_page_needs_nothing_but_itself(made):
    found, cases = made
    page = report.page(found, cases)
    tags = _Tags()
    tags.feed(page)
    assert tags.links
    assert all(link.startswith("data:image/png;base64,") for link in tags.links)
    assert not re.search(r"https?://|<script|@import", page)
    assert not re.search(r"\$[a-z]", page)


def test_the_page_names_every_set_mode_slice_and_test(made):
    found, cases = made
    page = report.page(found, cases)
    for mode in MODES:
        assert escape(mode.shows) in page
    for values in found["sets"][SIMULATED]["slices"].values():
        for value in values:
            assert value.replace(">", "&gt;") in page
    assert "identical &lt;dates&gt;" in page
    assert "no change &amp; no noise" in page
    assert "Gate: accepted" in page


def test_the_summary_is_json_and_its_numbers_agree(made):
    found = json.loads(json.dumps(made[0]))
    one = found["sets"][SIMULATED]
    assert one["sites"] == 5 == len(one["by_site"])
    sizes = one["slices"]["change size"].values()
    assert sum(row["changed_pixels"] for row in sizes) == one["pooled"]["changed_pixels"] > 0
    assert sum(row["pixels"] for row in one["by_site"].values()) == one["pooled"]["pixels"]
    bins = one["reliability"]["classifier"]
    assert sum(b["pixels"] for b in bins) == one["pooled"]["pixels"]
    assert one["cva_otsu"]["pooled_f1"] is not None
    assert found["sets"].keys() == {SIMULATED, *(mode.name for mode in MODES)}


def test_pictures_show_the_worst_first_and_hits_in_the_colour_of_the_key(made):
    cases = [case for case in made[1] if case.set == SIMULATED]
    assert 1 <= len(cases) <= Worst.sliced
    for case in cases:
        assert len(case.panels) == len(pictures.PANELS)
    seen = set()
    for case in made[1]:
        panel = base64.b64decode(case.panels[3].partition(",")[2])
        pixels = np.asarray(Image.open(io.BytesIO(panel)).convert("RGB")).reshape(-1, 3)
        seen |= {tuple(map(int, colour)) for colour in np.unique(pixels, axis=0)}
    assert {pictures.FALSE_ALARM[:3], pictures.MISSED[:3]} & seen


def test_mlflow_gets_names_that_it_takes(made):
    numbers = tracked.numbers(made[0])
    assert (
        numbers["simulated.classifier.f1"]
        == made[0]["sets"][SIMULATED]["pooled"]["classifier"]["f1"]
    )
    assert all(re.fullmatch(r"[\w./ -]+", name) for name in numbers)
    assert all(isinstance(value, float | int) for value in numbers.values())


def test_records_and_cards_get_the_numbers_once_and_keep_the_rest(made, store, tmp_path):
    copied = tmp_path / "models"
    shutil.copytree(store, copied)
    for path in copied.glob("*/card.md"):
        path.write_text(path.read_text() + "\n## Limits\n\n- many\n")
    for _ in range(2):
        card.write(copied, made[0])
    record = json.loads((copied / "change-classifier" / "model.json").read_text())
    simulated = record["metrics"]["evaluation"]["sets"][SIMULATED]
    assert simulated["f1"] == made[0]["sets"][SIMULATED]["pooled"]["classifier"]["f1"]
    assert record["metamorphic"]["identical <dates>"]["passed"]
    assert (
        record["digest"]
        == json.loads((store / "change-classifier/model.json").read_text())["digest"]
    )
    for name in ("cloud-mask", "segmenter", "change-classifier"):
        text = (copied / name / "card.md").read_text()
        assert text.count(card.HEADING) == 1 == text.count("## Limits")
        assert text.index(card.HEADING) < text.index("## Limits")
        assert "simulated / biome: desert" in text
        assert text.endswith("- many\n")


@pytest.fixture
def quick(monkeypatch):
    """One template test that always holds, and no failure modes."""
    monkeypatch.setattr(
        templates,
        "TEMPLATES",
        (templates.Template("always", "it holds", "nothing", 0.0, lambda bench: 0.0),),
    )


QUICK = ["--sites", "2", "--failure-sites", "0", "--simulated-only"]


def test_the_command_writes_the_report_and_accepts_a_twin(store, tmp_path, quick):
    options = [str(store), *QUICK, "--against", str(store), "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(cli.app, options)
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed["verdict"]["accepted"]
    assert printed == json.loads((tmp_path / report.JSON).read_text())
    assert (tmp_path / report.HTML).stat().st_size > 10_000


def test_the_command_exits_1_and_says_why_when_the_gate_refuses(store, tmp_path, monkeypatch):
    never = templates.Template("never", "it fails", "what it measures", 0.1, lambda bench: 0.9)
    monkeypatch.setattr(templates, "TEMPLATES", (never,))
    options = [str(store), *QUICK, "--against", str(store), "--out", str(tmp_path)]
    done = CliRunner().invoke(cli.app, options)
    assert done.exit_code == cli.REFUSED == 1
    assert "refused" in done.output
    assert "what it measures is 0.9" in " ".join(done.output.split())


def test_a_set_of_the_registry_is_measured_by_its_alias(store, tmp_path, quick, monkeypatch):
    asked = []

    class Registry:
        def fetch(self, which, to):
            asked.append(which)
            shutil.copytree(store, to)

    monkeypatch.setattr(stores, "open_registry", lambda settings: Registry())
    monkeypatch.chdir(tmp_path)
    options = ["challenger", *QUICK, "--against", "champion", "--json"]
    done = CliRunner().invoke(cli.app, options)
    assert done.exit_code == 0, done.output
    assert asked == ["champion", "challenger"]
    assert (tmp_path / "evaluation" / report.HTML).exists()


def test_half_a_set_is_no_set(store, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(store / "segmenter", half / "segmenter")
    with pytest.raises(Misconfigured, match="cloud-mask, change-classifier"):
        evaluate(half, Plan(sites=1, failure_sites=0))


def test_the_documentation_names_every_mode_test_and_margin():
    page = (ROOT / "docs" / "evaluation.md").read_text("utf-8")
    for mode in MODES:
        assert f"| {mode.name} | {mode.shows}" in page
    for template in templates.TEMPLATES:
        assert f"| {template.name} | {template.holds}" in page
        assert f"| {template.measures} | {template.tolerance:g} |" in page
    rules = gate.Rules()
    for measure, margin in rules.margin.items():
        assert f"| {measure} | {margin:g} | {margin * rules.overall:.3g} |" in page
    assert f"fewer than {rules.min_sites} sites" in page
