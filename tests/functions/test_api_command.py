"""`groundshift api`: the API of a cluster, over a ledger that the stages share."""

from api_world import opened, write_tenant
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from functions import cli
from functions.commands.api import create_app
from groundshift.errors import Misconfigured, Unavailable


def test_the_api_stands_alone_with_probes_and_metrics(tmp_path):
    with opened(tmp_path) as platform:
        write_tenant(platform, "acme")
        app = create_app(platform.settings, platform.ledger)
        with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 4000)) as client:
            assert client.get("/healthz").text == "ok"
            assert client.get("/readyz").status_code == 200
            assert client.get("/api/alerts").json()["numberMatched"] == 4
            assert "groundshift_runs" in client.get("/metrics").text
            assert client.get("/nothing").status_code == 404
        with TestClient(app, base_url="http://api.test", client=("192.0.2.7", 4000)) as client:
            assert client.get("/healthz").text == "ok"
            assert client.get("/metrics").status_code == 401  # an ingress leads here too


def test_it_is_not_ready_while_the_ledger_does_not_answer(tmp_path, monkeypatch):
    def away():
        raise Unavailable("the ledger does not answer")

    with (
        opened(tmp_path) as platform,
        TestClient(create_app(platform.settings, platform.ledger)) as client,
    ):
        monkeypatch.setattr(platform.ledger, "read", away)
        answer = client.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "the ledger does not answer")
        assert client.get("/healthz").status_code == 200
        monkeypatch.undo()
        assert client.get("/readyz").status_code == 200


def test_it_opens_to_other_machines_only_with_a_login(monkeypatch):
    monkeypatch.delenv("GROUNDSHIFT_OIDC_ISSUER", raising=False)
    answer = CliRunner().invoke(cli.app, ["api", "--host", "0.0.0.0"])
    assert isinstance(answer.exception, Misconfigured)
    assert "GROUNDSHIFT_OIDC_ISSUER" in str(answer.exception)
