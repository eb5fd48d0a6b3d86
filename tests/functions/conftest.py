"""A platform with a tenant's site, scenes, run and alerts, made once and copied for each test."""

import shutil

import pytest
from api_world import opened, write_tenant


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    with opened(folder) as platform:
        write_tenant(platform, "acme")
    return folder


@pytest.fixture
def platform(template, tmp_path):
    shutil.copytree(template, tmp_path / "world")
    with opened(tmp_path / "world") as found:
        yield found
