"""The folder that ships, as a registry."""

import pytest
from registry_contract import ReadOnlyContract

from groundshift.errors import Misconfigured
from groundshift.models import ARTIFACT
from groundshift.registry import FolderRegistry
from groundshift.settings import Settings


class TestFolder(ReadOnlyContract):
    @pytest.fixture
    def holding(self):
        return FolderRegistry

    def test_a_changed_artifact_is_not_handed_out(self, store, tmp_path):
        artifact = store / "segmenter" / ARTIFACT
        artifact.write_bytes(artifact.read_bytes() + b"\0")
        with pytest.raises(Misconfigured, match="digest"):
            FolderRegistry(store).fetch("champion", tmp_path / "fetched")


def test_what_ships_says_its_licence_and_where_it_came_from():
    (shipped,) = FolderRegistry(Settings().models).list()
    assert shipped.tags["licence"] == "Apache-2.0"
    assert shipped.tags["commit"]
    assert "## Limits" in shipped.card
