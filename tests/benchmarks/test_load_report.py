"""The load report is a pure function of its results, and says what they say."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from load import charts, report, results
from load.results import Burst, Curve, Result, Sample, Series, Step, summarise

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "load" / "results"
SVG = "{http://www.w3.org/2000/svg}"


def step(offered, *, p95=10.0, errors=0, answered=None, count=100):
    carried = offered if answered is None else answered
    return Step(offered, carried, count, errors, p50_ms=5.0, p95_ms=p95, p99_ms=2 * p95)


def curve(*steps, bound=50.0, usage=()):
    return Curve("intake", "`POST` of an event.", bound, steps, usage)


def result(**changes):
    cores = Series("platform", ((0.0, 0.1), (5.0, 1.4)))
    burst = Burst(200, 3.2, Series("oldest", ((0, 0), (1, 0.5), (60, 59), (70, 0))), {"done": 199})
    curves = (curve(step(10), step(20), step(40, p95=80), usage=(cores,)),)
    whole = Result("embedded", "2 cores", "2026-05-04", "0.1.0", curves, burst)
    return replace(whole, **changes)


# ---- from samples to a step


def test_percentiles_are_of_requests_that_were_answered():
    samples = [Sample(at_s=n / 100, ms=float(n)) for n in range(1, 101)]
    samples += [Sample(at_s=1.0, ms=9e9, error="ConnectionRefusedError")]
    found = summarise(50, samples, seconds=2.0)
    assert (found.p50_ms, found.p95_ms, found.p99_ms) == (50, 95, 99)
    assert (found.count, found.errors, found.answered, found.offered) == (101, 1, 50, 50)


def test_percentiles_are_values_that_were_seen_also_of_few():
    found = summarise(1, [Sample(0, 3.0), Sample(1, 7.0)], seconds=2)
    assert (found.p50_ms, found.p95_ms, found.p99_ms) == (3, 7, 7)


def test_a_step_without_an_answer_is_not_carried():
    found = summarise(5, [], seconds=2)
    assert (found.count, found.answered, found.p99_ms) == (0, 0, 0)
    assert not found.holds(1000)


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({"p95_ms": 50.0}, True),
        ({"p95_ms": 50.1}, False),
        ({"errors": 1}, False),
        ({"answered": 9.0}, True),
        ({"answered": 8.9}, False),
    ],
    ids=str,
)
def test_a_rate_is_carried_within_its_bound_without_errors_and_kept_up(changes, holds):
    assert replace(step(10), **changes).holds(50.0) is holds


# ---- the saturation point


def test_the_saturation_point_is_the_last_rate_below_the_first_that_fails():
    found = curve(step(10), step(20), step(40, p95=99), step(80))
    assert found.saturation.offered == 20
    assert found.reached
    assert report.saturation(found) == "20/s"


def test_where_the_first_rate_fails_it_lies_below():
    found = curve(step(10, errors=1), step(20))
    assert found.saturation is None
    assert report.saturation(found) == "below 10/s"


def test_where_no_rate_fails_it_was_not_reached():
    found = curve(step(10), step(20))
    assert not found.reached
    assert report.saturation(found) == "above 20/s"
    assert report.saturation(curve()) == "not measured"


# ---- the burst


def test_the_queue_is_empty_when_it_stays_empty():
    age = Series("oldest", ((0, 0.0), (1, 0.0), (2, 4.0), (3, 0.0), (4, 2.0), (5, 0.0), (6, 0.0)))
    assert Burst(1, 0.1, age, {}).empty_after_s == 5
    assert Burst(1, 0.1, replace(age, points=age.points[:5]), {}).empty_after_s is None


def test_a_queue_that_stayed_full_is_said_loudly():
    full = replace(result().burst, age=Series("oldest", ((0, 1.0), (9, 9.0))))
    text = report.make([result(burst=full)]).markdown
    assert "**The queue was not empty" in text
    assert "scenes a minute" not in text


# ---- the page


def test_the_page_says_machine_bound_steps_and_burst():
    text = report.make([result()]).markdown
    for words in ("2 cores", "within 50 ms", "| 20 | 20 |", "200 small scenes", "59 s old"):
        assert words in text
    assert "empty 70 s after" in text
    assert "(171 scenes a minute)" in text
    assert "199 done" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| 40 |")]
    assert row.endswith("| 0 of 100 | no |")


def test_every_picture_that_the_page_shows_is_made_and_no_other():
    made = report.make([result(), result(target="cluster")])
    shown = re.findall(r"!\[.*?\]\((.*?)\)", made.markdown)
    assert len(shown) == len(set(shown)) == 6
    assert set(shown) == set(made.pictures)
    assert {"load.md", "load.html", *shown} == set(made.files())


def test_without_a_burst_there_is_none():
    text = report.make([result(burst=None)]).markdown
    assert "burst" not in text


def test_the_html_needs_nothing_else():
    made = report.make([result()])
    assert not re.search(r'(src|href)="', made.html)
    assert "url(http" not in made.html
    assert "<link" not in made.html
    body = made.html.partition("<body>")[2].partition("</body>")[0]
    tree = ElementTree.fromstring(f"<body>{body}</body>")
    assert len(tree.findall(f"{SVG}svg")) == len(made.pictures)
    assert [e.text for e in tree.findall("h3")] == ["Intake", "A burst of 200 scenes"]
    assert len(tree.findall("table")) == 2
    assert "load.html" not in body
    assert "`" not in body
    assert "**" not in body


def test_the_same_results_give_the_same_page():
    assert report.make([result()]) == report.make([result()])


def test_results_survive_the_file(tmp_path):
    path = tmp_path / "new" / "embedded.json"
    for one in (result(), result(burst=None), result(curves=())):
        results.write(path, one)
        assert results.read(path) == one


def test_what_stands_in_docs_is_what_the_results_give():
    found = [
        results.read(p) for n in ("embedded", "cluster") if (p := RESULTS / f"{n}.json").exists()
    ]
    assert found
    for name, text in report.make(found).files().items():
        assert (ROOT / "docs" / name).read_text() == text, (
            "renew: make load, or python -m load report"
        )


# ---- charts


@pytest.mark.parametrize(
    ("most", "last"), [(0.3, 0.3), (1, 1), (7, 7.5), (99, 100), (260, 300), (1234, 1250)]
)
def test_an_axis_ends_on_a_round_number_above_what_it_shows(most, last):
    axis = charts.Axis(charts._top([most]), 0, 100)
    assert axis.most >= most
    assert axis.ticks[-1] == pytest.approx(axis.most)
    assert axis.ticks[0] == 0
    assert 4 <= len(axis.ticks) <= 7
    assert axis.most <= last * 1.35


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def points(svg):
    lines = ElementTree.fromstring(svg).iter(f"{SVG}polyline")
    return [[tuple(map(float, p.split(","))) for p in e.get("points").split()] for e in lines]


def test_a_chart_names_its_lines_and_bound_and_stays_inside():
    svg = charts.latency(curve(step(10), step(20), step(40, p95=5000)))
    assert {"p50", "p95", "p99", "bound 50"} <= set(texts(svg))
    for line in points(svg):
        assert all(0 <= x <= charts.WIDTH and 0 <= y <= charts.HEIGHT for x, y in line)


def test_more_is_higher_and_later_is_further_right():
    svg = charts.lines([Series("a", ((0, 0), (5, 10), (10, 5)))], title="t", x="x", y="y")
    (one,) = [line for line in points(svg) if len(line) == 3]
    (x0, y0), (x1, y1), (x2, y2) = one
    assert x0 < x1 < x2
    assert y1 < y2 < y0


def test_names_at_the_ends_do_not_overlap():
    same = [Series(name, ((0, 1), (1, 1.0))) for name in "abcd"]
    svg = charts.lines(same, title="t", x="x", y="y")
    tree = ElementTree.fromstring(svg)
    ys = sorted(float(e.get("y")) for e in tree.iter(f"{SVG}text") if e.text in set("abcd"))
    assert all(b - a >= 12 for a, b in pairwise(ys))


def test_an_empty_chart_is_a_chart():
    assert "nothing" in texts(charts.lines([], title="nothing", x="x", y="y"))
