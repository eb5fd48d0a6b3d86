"""What every registry of model sets holds to; one that can be written to holds to more."""

import json
from abc import abstractmethod

import pytest

from groundshift.errors import Forbidden, Misconfigured, NotFound
from groundshift.models import ARTIFACT, CARD, RECORD, artifact_digest, read_artifact
from groundshift.registry import digest_of, read_set
from groundshift.runs import MODEL_NAMES
from groundshift.serving.testing import write_test_models

TAGS = {"data_hash": "sha256:abc", "commit": "c0ffee", "licence": "Apache-2.0"}


def another(store):
    """The same store with another cloud mask in it."""
    folder = store / "cloud-mask"
    artifact = (folder / ARTIFACT).read_bytes() + b"\0"
    (folder / ARTIFACT).write_bytes(artifact)
    said = json.loads((folder / RECORD).read_text()) | {"digest": artifact_digest(artifact)}
    (folder / RECORD).write_text(json.dumps(said))
    return store


class RegistryContract:
    """Subclass, and give `holding`: a registry that holds a store's set as the champion."""

    @abstractmethod
    @pytest.fixture
    def holding(self):
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path):
        made = write_test_models(tmp_path / "store")
        for name in MODEL_NAMES:
            (made / name / CARD).write_text(f"# {name}\n\nFor tests.\n")
        return made

    def test_a_set_is_told_by_its_digest_and_lists_its_models(self, holding, store):
        (found,) = holding(store).list()
        assert found.digest == digest_of(read_set(store))
        assert dict(found.models) == {r.name: r.digest for r in read_set(store)}
        assert tuple(found.models) == MODEL_NAMES
        assert found.aliases == ("champion",)
        assert "# segmenter" in found.card

    def test_a_set_is_fetched_by_version_and_by_alias_as_a_store(self, holding, store, tmp_path):
        registry = holding(store)
        (known,) = registry.list()
        for number, which in enumerate((known.version, "champion")):
            to = tmp_path / f"fetched-{number}"
            assert registry.fetch(which, to) == known
            for record in read_set(to):
                assert read_artifact(record) == (store / record.name / ARTIFACT).read_bytes()

    def test_nothing_but_onnx_json_and_markdown_is_kept(self, holding, store, tmp_path):
        (store / "segmenter" / "optimizer.pkl").write_bytes(b"\x80\x04.")
        holding(store).fetch("champion", tmp_path / "fetched")
        names = {p.name for p in (tmp_path / "fetched").rglob("*") if p.is_file()}
        assert names == {ARTIFACT, RECORD, CARD}

    @pytest.mark.parametrize("which", ["challenger", "4711"])
    def test_what_is_not_there_is_not_found(self, holding, store, tmp_path, which):
        with pytest.raises(NotFound, match=which):
            holding(store).fetch(which, tmp_path / "fetched")


class ReadOnlyContract(RegistryContract):
    def test_it_takes_nothing(self, holding, store):
        registry = holding(store)
        with pytest.raises(Forbidden, match="MLFLOW_URI"):
            registry.register(store, tags={})
        with pytest.raises(Forbidden):
            registry.alias("package", "challenger")


class WritableContract(RegistryContract):
    """Give `registry` too: an empty one; and `spoil(registry, version)`, which changes a file."""

    @abstractmethod
    @pytest.fixture
    def registry(self):
        raise NotImplementedError

    @pytest.fixture
    def holding(self, registry):
        def hold(store):
            made = registry.register(store, tags=TAGS)
            registry.alias(made.version, "champion")
            return registry

        return hold

    def test_an_empty_registry_lists_nothing(self, registry, tmp_path):
        assert list(registry.list()) == []
        with pytest.raises(NotFound):
            registry.fetch("champion", tmp_path / "fetched")
        with pytest.raises(NotFound):
            registry.alias("1", "champion")

    def test_what_was_said_of_a_set_stays_with_it(self, registry, store):
        made = registry.register(store, tags=TAGS)
        assert TAGS.items() <= made.tags.items()
        assert registry.list()[0] == made

    def test_the_same_set_again_is_the_same_version(self, registry, store):
        first = registry.register(store, tags=TAGS)
        assert registry.register(store, tags={"data_hash": "another"}) == first
        assert len(registry.list()) == 1

    def test_an_alias_is_one_sets_at_a_time(self, registry, store):
        first = registry.register(store, tags=TAGS)
        second = registry.register(another(store), tags=TAGS)
        assert first.digest != second.digest
        registry.alias(first.version, "challenger")
        registry.alias(first.version, "champion")
        registry.alias(second.version, "challenger")
        known = {one.version: one.aliases for one in registry.list()}
        assert known == {first.version: ("champion",), second.version: ("challenger",)}
        assert [one.version for one in registry.list()] == [second.version, first.version]

    def test_an_artifact_that_was_changed_is_not_handed_out(self, holding, store, tmp_path, spoil):
        registry = holding(store)
        spoil(registry.list()[0].version)
        with pytest.raises(Misconfigured, match="digest"):
            registry.fetch("champion", tmp_path / "fetched")

    def test_half_a_set_is_not_taken(self, registry, store):
        (store / "segmenter" / RECORD).unlink()
        with pytest.raises(Misconfigured, match="segmenter"):
            registry.register(store, tags={})
        assert list(registry.list()) == []
