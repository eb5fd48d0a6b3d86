"""The real servers, started once a session; a test skips where one cannot be had, and says why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from groundshift.ledger import Ledger
from groundshift.testing.servers import (
    Kafka,
    Missing,
    Postgres,
    S3Server,
    SeaweedFS,
    VersityGW,
)
from groundshift.testing.servers.process import Server

HERE = Path(__file__).parent
UNCONNECTED = (
    r"ignore:Exception ignored in. <socket.socket .*laddr=.'0.0.0.0'"
    ":pytest.PytestUnraisableExceptionWarning"
)
"""Of a connection that came to nothing kafka-python leaves the socket to the collector, which may
find it during a test of another module."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.services)
            item.add_marker(pytest.mark.filterwarnings(UNCONNECTED))


@contextmanager
def running(make) -> Iterator:
    try:
        server = make()
    except Missing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


@pytest.fixture(scope="session")
def cache(pytestconfig) -> Path:
    return pytestconfig.rootpath / ".services"


@pytest.fixture(scope="session", params=[VersityGW, SeaweedFS], ids=lambda kind: kind.name)
def s3(request, cache, tmp_path_factory) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp(request.param.name)
    with running(lambda: request.param(cache, folder)) as server:
        yield server


@pytest.fixture(scope="session")
def versitygw(cache, tmp_path_factory) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("versitygw")
    with running(lambda: VersityGW(cache, folder)) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running(Postgres) as server:
        yield server


@pytest.fixture(scope="session")
def migrated(postgres) -> str:
    """Name of a database with an empty ledger: a template for every test's own."""
    url = postgres.database()
    Ledger.open(url).close()
    return url.rpartition("/")[2]


@pytest.fixture
def database(postgres, migrated) -> str:
    """Address of an empty ledger in PostgreSQL."""
    return postgres.database(template=migrated)


@pytest.fixture(scope="session")
def kafka(cache, tmp_path_factory) -> Iterator[Server]:
    with running(lambda: Kafka(cache, tmp_path_factory.mktemp("kafka"))) as server:
        yield server


@pytest.fixture
def bucket() -> str:
    return f"t{uuid4().hex[:16]}"
