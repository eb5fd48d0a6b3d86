"""The API over two tenants' worlds (`api_world`)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from api_world import AUDIENCE, ISSUER, World, opened, verifier, write_tenant
from joserfc.jwk import RSAKey

from groundshift.api import create_api


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world, written once; each test works on a copy."""
    folder = tmp_path_factory.mktemp("world")
    with opened(folder) as platform:
        for tenant in ("acme", "globex"):
            write_tenant(platform, tenant)
    return folder


@pytest.fixture(scope="session")
def key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"})


@pytest.fixture
def make_world(template: Path, tmp_path: Path, key: RSAKey) -> Iterator[Callable[..., World]]:
    """What opens a copy of the world; with `login=False` one for the local user only."""
    with ExitStack() as stack:

        def make(*, login: bool = True, **options: Any) -> World:
            folder = tmp_path / "world"
            shutil.copytree(template, folder)
            issuer = {"oidc_issuer": ISSUER, "oidc_audience": AUDIENCE} if login else {}
            platform = stack.enter_context(opened(folder, **issuer, **options))
            app = create_api(
                settings=platform.settings,
                ledger=platform.ledger,
                store=platform.store,
                tokens=verifier(key) if login else None,
            )
            return World(platform, app, key)

        yield make


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()
