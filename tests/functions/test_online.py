"""`simulate --stream` and `backfill` on the command line: what they take and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from functions import cli
from functions.stream import StreamSpec, messages

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """(exit code, everything that was said, without frames)."""
    monkeypatch.setenv("GROUNDSHIFT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(cli, "_load_plugins", lambda: None)

    def run_(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err.translate(
            str.maketrans("│╭╮╰╯─", " " * 6)
        )

    return run_


class Sink:
    """Kafka's place."""

    sent: dict[str, list[tuple[bytes, bytes | None]]]

    def __init__(self, servers: str, topic: str) -> None:
        self._sent = self.sent.setdefault(topic, [])

    def send(self, value: bytes, *, key: bytes | None = None, headers: Any = ()) -> None:
        self._sent.append((value, key))

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[bytes, bytes | None]]]:
    """What was sent, by topic."""
    found: dict[str, list[tuple[bytes, bytes | None]]] = {}
    monkeypatch.setattr(Sink, "sent", found, raising=False)
    monkeypatch.setattr("functions.commands.simulate.KafkaSink", Sink)
    return found


def test_scenes_are_made_where_there_are_none_then_announced(
    run: Run, sent: dict[str, list[tuple[bytes, bytes | None]]], tmp_path: Path
) -> None:
    site = ("simulate", "--out", tmp_path, "--site", 128, "--dates", 3, "--seed", 5)
    stream = ("--stream", "--rate", 1000, "--count", 40, "--href-prefix", "s3://scenes/a/")
    code, said = run(*site, *stream, "--json")
    assert code == 0
    items = sorted((tmp_path / "scenes").glob("*.json"))
    assert len(items) == 3
    spec = StreamSpec(seed=5, rate=1000, count=40)
    wanted = list(messages([f"s3://scenes/a/{item.name}" for item in items], spec))
    assert sent["groundshift.scenes"] == [
        (m.value, m.key or None) for m in wanted if not m.is_label
    ]
    assert sent["groundshift.labels"] == [(m.value, m.key) for m in wanted if m.is_label]
    report = json.loads(said)
    assert (report["messages"], report["scenes"]) == (40, 3)
    before = [item.stat().st_mtime_ns for item in items]
    code, said = run(*site, *stream)
    assert code == 0
    assert "Messages by kind" in said
    assert "40 messages about 3 scenes" in said
    assert [item.stat().st_mtime_ns for item in items] == before, "they are there already"


def test_without_a_kafka_it_is_said_before_anything_is_made(run: Run, tmp_path: Path) -> None:
    code, said = run("simulate", "--out", tmp_path / "site", "--stream")
    assert code == 4
    assert "GROUNDSHIFT_KAFKA_SERVERS" in said
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--late-share", 0.7), "less than or equal to 0.5"),
        (("--duplicate-share", 0.5, "--broken-share", 0.5), "together 1.1: at most 0.9"),
        (("--rate", 0, "--burst-size", 0), "nothing would be sent"),
        (("--count", 0), "greater than or equal to 1"),
    ],
)
def test_a_stream_that_cannot_be_ends_with_2(
    run: Run, arguments: tuple[object, ...], why: str, tmp_path: Path
) -> None:
    code, said = run("simulate", "--out", tmp_path / "site", "--stream", *arguments)
    assert code == 2
    assert why in said
    assert not (tmp_path / "site").exists()


def test_the_defaults_of_the_command_are_those_of_the_stream() -> None:
    """What docs/stream.md measures is what `--stream` sends."""
    import inspect

    from functions.commands import online

    given = inspect.signature(online.simulate).parameters
    spec = StreamSpec()
    assert {name: given[name].default for name in vars(spec)} == vars(spec)


def test_backfill_says_what_it_does_and_what_it_lacks(run: Run, tmp_path: Path) -> None:
    code, said = run("backfill", "--help")
    assert code == 0
    assert "Replay history" in said
    assert "nothing is done twice" in said
    code, said = run("backfill", tmp_path / "gone")
    assert code == 4
    assert "no such file or folder" in said
