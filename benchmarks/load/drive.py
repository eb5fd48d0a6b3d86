"""Hold one rate after the other with locust, a process of its own: gevent patches everything.

usage: python -m load.drive intake|predict --host URL --rates 10,20,40 --seconds 8 --out FILE
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment

from load.results import Sample, Step, summarise
from load.users import Announcer, Predictor

USERS = {"intake": Announcer, "predict": Predictor}
SETTLE_S = 1.5
"""New users and connections are not measured."""
BEYOND = 2
"""Steps that are not carried until it stops: the second one shows where it goes."""


@dataclass
class Recorder:
    """Requests that were answered since `begin`."""

    began: float = 0.0
    samples: list[Sample] = field(default_factory=list)

    def begin(self) -> None:
        self.began, self.samples = time.monotonic(), []

    def on_request(self, response_time: float, exception: Any = None, **_: Any) -> None:
        error = type(exception).__name__ if exception else ""
        at = time.monotonic() - self.began
        self.samples.append(Sample(at_s=at, ms=response_time or 0.0, error=error))


def drive(name: str, *, host: str, rates: list[float], seconds: float, bound: float) -> list[Step]:
    """The steps, until `BEYOND` of them were not carried."""
    user, recorder, steps, failed = USERS[name], Recorder(), list[Step](), 0
    environment = Environment(user_classes=[user], host=host)
    environment.events.request.add_listener(recorder.on_request)
    runner = environment.create_local_runner()
    for rate in rates:
        users = math.ceil(rate / user.per_second)
        runner.start(users, spawn_rate=max(users, 1))
        gevent.sleep(SETTLE_S)
        recorder.begin()
        gevent.sleep(seconds)
        took = time.monotonic() - recorder.began
        steps.append(summarise(users * user.per_second, recorder.samples, seconds=took))
        failed += not steps[-1].holds(bound)
        if failed == BEYOND:
            break
    runner.quit()
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=USERS)
    parser.add_argument("--host", required=True)
    parser.add_argument("--rates", required=True)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--bound-ms", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    steps = drive(
        options.name,
        host=options.host,
        rates=[float(rate) for rate in options.rates.split(",")],
        seconds=options.seconds,
        bound=options.bound_ms,
    )
    options.out.write_text(json.dumps([asdict(step) for step in steps]))


if __name__ == "__main__":
    main()
