"""compose.yaml: what one host runs, and that it says what the programs understand."""

from pathlib import Path

import pytest
import yaml

from functions.docs import commands
from groundshift.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {
    name: s
    for name, s in SERVICES.items()
    if s["image"] in ("groundshift-functions", "groundshift-dashboard", "groundshift-training")
}


def test_one_host_has_all_that_the_platform_talks_to():
    expected = {"functions", "models", "postgres", "s3", "kafka", "mlflow", "prometheus", "grafana"}
    assert expected <= set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_waited_for_is_there_and_can_be_waited_for(name):
    for other, wanted in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        built_in = SERVICES[other]["image"].startswith("groundshift-")  # HEALTHCHECK of the image
        if wanted["condition"] == "service_healthy":
            assert built_in or "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("name", OURS)
def test_the_platforms_containers_are_told_settings_that_there_are(name):
    known = {f"GROUNDSHIFT_{setting.upper()}" for setting in Settings.model_fields}
    assert set(OURS[name]["environment"]) <= known
    command = OURS[name]["command"][0]
    assert command in commands() or "entrypoint" in OURS[name]


@pytest.mark.parametrize("name", [*OURS, "models"])
def test_the_platforms_containers_cannot_write_or_gain_rights(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_tracking_server_answers_to_the_name_that_it_is_called_by():
    """MLflow refuses a request for a host that it was not told of."""
    host = OURS["training"]["environment"]["GROUNDSHIFT_MLFLOW_URI"].removeprefix("http://")
    (allowed,) = (a for a in SERVICES["mlflow"]["command"] if a.startswith("--allowed-hosts="))
    assert host in allowed.partition("=")[2].split(",")


def test_every_image_has_a_version_and_no_registry():
    for name, service in SERVICES.items():
        image = service["image"]
        assert "." not in image.partition("/")[0].partition(":")[0], name
        assert "build" in service or image.rpartition(":")[0], name


def test_volumes_are_declared_and_ports_stay_on_this_host():
    used = {v.partition(":")[0] for s in SERVICES.values() for v in s.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])
    ports = [port for s in SERVICES.values() for port in s.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
