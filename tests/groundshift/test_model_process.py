"""ModelServerProcess: up, restarted, given up, and never left behind."""

import shutil
import signal
import socket
import subprocess
import sys

import httpx
import psutil
import pytest

from groundshift import manifests
from groundshift.adapters.kserve_http import KServeClient
from groundshift.errors import Misconfigured, Unavailable
from groundshift.modelserver_process import ModelServerProcess, runtime_args
from groundshift.serving.testing import write_test_models
from groundshift.testing.model_client import image


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_test_models(tmp_path_factory.mktemp("store"))


@pytest.fixture
def store(written, tmp_path):
    return shutil.copytree(written, tmp_path / "store")


def kill(process):
    child = psutil.Process(process.pid)
    child.kill()
    psutil.wait_procs([child], timeout=60)


def test_it_comes_back_at_the_same_address_and_ends_with_its_owner(store, tmp_path):
    log = tmp_path / "logs" / "models.log"
    args = runtime_args(manifests.load("kserve"))
    with ModelServerProcess(
        store, threads=1, log_file=log, backoff_s=0, runtime_args=args
    ) as process:
        first, url = process.pid, process.url
        assert httpx.get(f"{url}/v2/health/ready").status_code == 200
        kill(process)
        with KServeClient(url) as client:  # waits in the socket's queue
            client.infer(client.resolve("cloud-mask"), {"image": image(4)})
        process.wait_ready(60)
        assert process.restarts == 1
        assert process.pid != first
        assert process.url == url
        last = process.pid
    assert not psutil.pid_exists(last)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/v2/health/live")
    assert log.read_text().count("serving ['change-classifier'") == 2
    process.stop()


def test_a_server_that_does_not_come_back_is_given_up_with_its_last_words(store):
    with ModelServerProcess(store, threads=1, max_restarts=1, backoff_s=0) as process:
        shutil.rmtree(store / "segmenter")
        shutil.rmtree(store / "cloud-mask")
        shutil.rmtree(store / "change-classifier")
        kill(process)
        with KServeClient(process.url, retry_s=0) as client, pytest.raises(Unavailable):
            client.resolve("cloud-mask")  # waits in the socket's queue until that is closed
        assert "holds no model" in process.failure
        assert process.restarts == 2
        with pytest.raises(Unavailable, match="holds no model"):
            process.wait_ready(0)


def test_a_server_that_does_not_start_says_why(tmp_path):
    with pytest.raises(Unavailable, match=r"ended with 4(.|\n)*holds no model"):
        ModelServerProcess(tmp_path / "nothing").start()


def test_a_start_that_takes_too_long_is_an_error(store):
    with pytest.raises(Unavailable, match="before it was ready"):
        ModelServerProcess(store, ready_s=0).start()


def test_a_taken_port_is_misconfigured(store):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"port {port}"):
            ModelServerProcess(store, port=port).start()


def test_stop_before_start_does_nothing(store):
    process = ModelServerProcess(store)
    process.stop()
    assert process.pid is None


OWNER = """
import sys, threading
from pathlib import Path
from groundshift.modelserver_process import ModelServerProcess
process = ModelServerProcess(Path(sys.argv[1]), threads=1).start()
print(process.pid, flush=True)
threading.Event().wait()
"""


def test_the_server_ends_when_its_owner_is_killed(store):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(store)], stdout=subprocess.PIPE, text=True
    )
    with owner:
        child = psutil.Process(int(owner.stdout.readline()))
        assert child.is_running()
        owner.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs([child], timeout=60)
        assert alive == []


def test_the_runtimes_arguments_come_from_the_manifest():
    container = {"name": "kserve-container", "args": ["--queue=3", "--port=8080"]}
    runtime = {"kind": "ServingRuntime", "spec": {"containers": [{"name": "x"}, container]}}
    other = {"kind": "InferenceService"}
    assert runtime_args([other, runtime]) == ("--queue=3", "--port=8080")
    for wrong in ([other], [runtime, runtime]):
        with pytest.raises(Misconfigured, match="exactly one"):
            runtime_args(wrong)
