"""MLflow's registry: its own files, and a real server over http. Needs mlflow."""

import shutil
from contextlib import suppress

import pytest
from registry_contract import WritableContract

from groundshift.adapters.mlflow_registry import NAME, MlflowRegistry
from groundshift.errors import Unavailable
from groundshift.models import ARTIFACT
from groundshift.testing.servers.mlflow import Mlflow
from groundshift.testing.servers.process import free_port

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore"),  # MLflow's own, and of what it imports
]


def spoiled(folder):
    """What changes one artifact of a version, behind the registry's back."""

    def spoil(version):
        del version  # each test has one
        (artifact,) = folder.rglob(f"segmenter/{ARTIFACT}")
        artifact.write_bytes(artifact.read_bytes() + b"\0")

    return spoil


class TestFiles(WritableContract):
    @pytest.fixture(scope="class")
    def empty(self, tmp_path_factory):
        """Its tables, made once: that takes seconds."""
        folder = tmp_path_factory.mktemp("mlflow")
        MlflowRegistry(f"sqlite:///{folder}/mlflow.db", artifacts=folder / "artifacts").list()
        return folder

    @pytest.fixture
    def registry(self, empty, tmp_path):
        shutil.copy(empty / "mlflow.db", tmp_path)
        uri = f"sqlite:///{tmp_path}/mlflow.db"
        return MlflowRegistry(uri, artifacts=tmp_path / "artifacts")

    @pytest.fixture
    def spoil(self, tmp_path):
        return spoiled(tmp_path / "artifacts")


class TestServer(WritableContract):
    @pytest.fixture(scope="class")
    def server(self, tmp_path_factory):
        with Mlflow(tmp_path_factory.mktemp("server")) as running:
            yield running

    @pytest.fixture
    def registry(self, server, tmp_path):
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        made = MlflowRegistry(server.url, artifacts=tmp_path)
        with suppress(MlflowException):  # of the test before
            MlflowClient(server.url).delete_registered_model(NAME)
        shutil.rmtree(server.folder / "artifacts", ignore_errors=True)
        return made

    @pytest.fixture
    def spoil(self, server):
        return spoiled(server.folder / "artifacts")

    def test_a_server_that_is_away_is_worth_a_retry(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        away = MlflowRegistry(f"http://127.0.0.1:{free_port()}", artifacts=tmp_path)
        with pytest.raises(Unavailable, match="does not answer"):
            away.list()
