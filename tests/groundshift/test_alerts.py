from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

from groundshift.alerts import Alert, AlertState, Evidence, RunChange, TrackedRun, fold

START = datetime(2024, 1, 1, tzinfo=UTC)


def change(name: str, left: float = 0, *, to: str = "built", p: float = 0.8) -> RunChange:
    return RunChange(name, box(left, 0, left + 10, 10), "low_vegetation", to, 100.0, p)


def run(day: int, *changes: RunChange) -> TrackedRun:
    return TrackedRun(f"run{day}", f"scene{day:03d}", START + timedelta(days=day), changes)


def show(**by_scene: str) -> Mapping[str, str]:
    return by_scene


def evidence(by_scene: Mapping[str, str]):  # type: ignore[no-untyped-def]
    def look(alerts: Sequence[Alert], later: TrackedRun) -> list[Evidence]:
        shown = by_scene.get(later.scene_id)
        return [Evidence(1.0 if shown else 0.0, {shown: 1.0} if shown else {}) for _ in alerts]

    return look


def states(alerts: tuple[Alert, ...]) -> list[AlertState]:
    return [alert.state for alert in alerts]


def test_a_change_begins_an_alert_in_state_first() -> None:
    (alert,) = fold([run(0, change("a"))], evidence({}))
    assert (alert.state, alert.supports, alert.first_run) == (AlertState.FIRST, (), "run0")


def test_later_scenes_that_show_the_new_class_confirm_it() -> None:
    runs = [run(0, change("a")), run(10), run(20)]
    seen = {"scene010": "built", "scene020": "built"}
    assert states(fold(runs[:2], evidence(seen))) == [AlertState.PROVISIONAL]
    assert states(fold(runs, evidence(seen))) == [AlertState.CONFIRMED]


def test_the_old_class_contradicts_and_unseen_ground_says_nothing() -> None:
    runs = [run(0, change("a")), run(10), run(20)]
    assert states(fold(runs, evidence({}))) == [AlertState.FIRST]
    assert states(fold(runs, evidence({"scene010": "low_vegetation"}))) == [AlertState.WITHDRAWN]


def test_a_third_class_is_neither_support_nor_contradiction() -> None:
    runs = [run(0, change("a")), run(10)]
    assert states(fold(runs, evidence({"scene010": "water"}))) == [AlertState.FIRST]


def test_a_change_within_one_class_is_judged_by_no_class() -> None:
    runs = [run(0, change("a", to="low_vegetation")), run(10)]
    assert states(fold(runs, evidence({"scene010": "low_vegetation"}))) == [AlertState.FIRST]


def test_an_overlapping_change_of_a_later_run_is_the_same_alert() -> None:
    alerts = fold([run(0, change("a", p=0.6)), run(10, change("b", 2, p=0.9))], evidence({}))
    (alert,) = alerts
    assert (alert.runs, alert.probability) == (("run0", "run10"), 0.9)


def test_another_class_or_another_place_is_another_alert() -> None:
    later = run(10, change("b", to="water"), change("c", 50))
    assert len(fold([run(0, change("a")), later], evidence({}))) == 3


def test_changes_of_one_run_never_merge_with_each_other() -> None:
    assert len(fold([run(0, change("a"), change("b", 1))], evidence({}))) == 2


def test_a_withdrawn_alert_is_not_extended_but_begun_anew() -> None:
    runs = [run(0, change("a")), run(10), run(20, change("b"))]
    alerts = fold(runs, evidence({"scene010": "low_vegetation"}))
    assert states(alerts) == [AlertState.WITHDRAWN, AlertState.FIRST]


@given(
    st.permutations(
        [run(day, *(change(f"{day}/{x}", x) for x in (day % 3, 40))) for day in range(0, 60, 10)]
    )
)
def test_the_fold_does_not_depend_on_the_order_of_runs(runs: list[TrackedRun]) -> None:
    look = evidence({f"scene{day:03d}": "built" for day in (20, 40)})
    assert fold(runs, look) == fold(sorted(runs, key=lambda r: r.acquired), look)
