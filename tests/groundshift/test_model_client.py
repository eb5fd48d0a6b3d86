"""KServeClient: the ModelClient contract on the real server, faults on a scripted one."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from groundshift import v2
from groundshift.adapters.kserve_http import KServeClient
from groundshift.errors import Misconfigured, ModelMismatch, ModelRefused, Unavailable
from groundshift.modelserver_process import ModelServerProcess
from groundshift.ports import ModelRevision
from groundshift.serving.testing import write_test_models
from groundshift.testing.model_client import ModelClientContract, image


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    store = write_test_models(tmp_path_factory.mktemp("store"))
    with ModelServerProcess(store, threads=2) as process:
        yield process


class TestContract(ModelClientContract):
    @pytest.fixture
    def client(self, server) -> Iterator[KServeClient]:
        with KServeClient(server.url, max_in_flight=3) as client:
            yield client


def test_calls_and_seconds_are_counted_by_model(server):
    with KServeClient(server.url) as client:
        mask, segmenter = client.resolve("cloud-mask"), client.resolve("segmenter")
        assert client.calls == {}
        client.infer(mask, {"image": image(4)})
        client.infer(segmenter, {"image": image(6)})
        client.infer(segmenter, {"image": image(6)})
        with pytest.raises(ModelRefused):
            client.infer(mask, {"image": image(6)})
        assert client.calls == {"cloud-mask": 1, "segmenter": 2}
        assert client.seconds.keys() == client.calls.keys()
        assert all(seconds > 0 for seconds in client.seconds.values())


def test_a_restarted_server_is_waited_for_at_the_same_address(server):
    with KServeClient(server.url, backoff_s=0.01) as client:
        revision = client.resolve("cloud-mask")
        before = client.infer(revision, {"image": image(4)})["mask"]
        restarts, process = server.restarts, server._process
        process.kill()
        process.wait()
        after = client.infer(revision, {"image": image(4)})["mask"]
        np.testing.assert_array_equal(before, after)
        assert server.restarts == restarts + 1
    server.wait_ready(60)


REVISION = ModelRevision("m", "m-00001", "sha256:" + "1" * 64, "signature", "http://unused")
X = np.arange(4, dtype=np.uint8)


def reply(status=200, body=None, **headers):
    return status, {k.replace("_", "-"): v for k, v in headers.items()}, body


def answer(digest=REVISION.digest, signature=REVISION.signature):
    head = {"model_version": "m-00001", "parameters": {"digest": digest, "signature": signature}}
    request = v2.Request(None, {}, {}, binary=True)
    body, length = v2.encode_response(head, {"y": X + 1}, request)
    return reply(200, body, **{v2.HEADER_LENGTH: str(length)})


def metadata(**changes):
    doc = {"name": "m", "versions": [REVISION.digest, "m-00001"], "platform": "signature"}
    return reply(200, json.dumps(doc | changes).encode())


def error(status, message="the reason"):
    return reply(status, json.dumps({"error": message}).encode())


HANG_UP = None


@contextmanager
def scripted(*replies, meet=None):
    """A server that gives one reply after the other, then the last one for ever."""
    script, lock = list(replies), threading.Lock()
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            with lock:
                seen.append(f"{self.headers['host']} {self.path}")
                chosen = script.pop(0) if len(script) > 1 else script[0]
            if meet is not None:
                meet()
            if chosen is HANG_UP:
                self.close_connection = True
                return
            status, headers, body = chosen
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("content-length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        do_GET = do_POST = answer

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def client_of(url, **settings):
    return KServeClient(url, backoff_s=0.001, **settings)


@pytest.mark.parametrize(
    "trouble",
    [HANG_UP, error(502), error(503), reply(503, b"<html>busy</html>", retry_after="0"),
     error(504), error(429), error(408)],
    ids=["hang up", "502", "503", "503 html", "504", "429", "408"],
)  # fmt: skip
def test_what_may_pass_is_tried_again(trouble):
    with scripted(trouble, trouble, answer()) as (url, seen), client_of(url) as client:
        np.testing.assert_array_equal(client.infer(REVISION, {"x": X})["y"], X + 1)
        assert len(seen) == 3
        assert client.calls == {"m": 1}


@pytest.mark.parametrize("trouble", [HANG_UP, error(503)], ids=["hang up", "503"])
def test_what_does_not_pass_is_unavailable(trouble):
    with scripted(trouble) as (url, _), client_of(url, retry_s=0.05) as client:
        with pytest.raises(Unavailable, match=url):
            client.infer(REVISION, {"x": X})
        with pytest.raises(Unavailable, match=url):
            client.resolve("m")
        assert client.calls == {}


def test_nobody_there_is_unavailable():
    with scripted(answer()) as (url, _):
        pass
    with client_of(url, retry_s=0) as client, pytest.raises(Unavailable, match="ConnectError"):
        client.resolve("m")


@pytest.mark.parametrize("status", [400, 404, 405, 413, 422])
def test_what_never_passes_is_refused_at_once_with_the_servers_reason(status):
    with scripted(error(status)) as (url, seen), client_of(url) as client:
        with pytest.raises(ModelRefused, match=f"{status}: the reason"):
            client.infer(REVISION, {"x": X})
        assert len(seen) == 1


@pytest.mark.parametrize(
    "trouble", [reply(404, b"default backend"), error(500)], ids=["404", "500"]
)
def test_a_gateway_without_the_route_and_a_crash_are_left_to_the_events_retry(trouble):
    with scripted(trouble) as (url, seen), client_of(url) as client:
        with pytest.raises(Unavailable):
            client.infer(REVISION, {"x": X})
        assert len(seen) == 1


@pytest.mark.parametrize("field", ["digest", "signature"])
def test_another_models_answer_is_a_mismatch(field):
    with scripted(answer(**{field: "other"})) as (url, _), client_of(url) as client:
        with pytest.raises(ModelMismatch, match=rf"{field} other.*{getattr(REVISION, field)}"):
            client.infer(REVISION, {"x": X})
        assert client.calls == {}


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"outputs": [{"name": "y"}]}'])
def test_an_answer_that_is_none_is_unavailable(body):
    with (
        scripted(reply(200, body)) as (url, _),
        client_of(url) as client,
        pytest.raises(Unavailable, match="no v2 answer"),
    ):
        client.infer(REVISION, {"x": X})


@pytest.mark.parametrize(
    "reply_", [reply(200, b"<html>"), metadata(versions=None), metadata(versions=[])]
)
def test_a_server_that_names_no_digest_is_misconfigured(reply_):
    with (
        scripted(reply_) as (url, _),
        client_of(url) as client,
        pytest.raises(Misconfigured, match="no groundshift model server"),
    ):
        client.resolve("m")


def test_inferences_go_to_the_revisions_own_address_in_the_cluster():
    with (
        scripted(metadata()) as (main, _),
        scripted(answer()) as (own, seen),
        client_of(main, revision_url=own.replace("127.0.0.1", "localhost") + "/") as client,
    ):
        revision = client.resolve("m")
        assert revision.revision == "m-00001"
        assert revision.url == own.replace("127.0.0.1", "localhost")
        client.infer(revision, {"x": X})
        assert seen == [f"localhost:{own.rpartition(':')[2]} /v2/models/m/infer"]


def test_addresses_are_templates():
    with scripted(metadata()) as (url, seen):
        pinned = "http://{revision}.ns.svc:80"
        with client_of(url + "/{name}-predictor", revision_url=pinned) as client:
            assert client.resolve("m").url == "http://m-00001.ns.svc:80"
        assert seen == [f"{url.removeprefix('http://')} /m-predictor/v2/models/m"]


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:80", "ftp://host", "http://", "http://{model}", "{"]
)
def test_an_address_that_is_none_is_misconfigured(url):
    with pytest.raises(Misconfigured, match="no address"):
        KServeClient(url)


def test_no_more_requests_in_flight_than_the_server_takes():
    """Requests leave in pairs, so two are in it at once; a third would be seen."""
    pair, lock = threading.Barrier(2, timeout=60), threading.Lock()
    inside, most = 0, 0

    def meet():
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        pair.wait()
        with lock:
            inside -= 1
        pair.wait()

    with scripted(answer(), meet=meet) as (url, _), client_of(url, max_in_flight=2) as client:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: client.infer(REVISION, {"x": X}), range(12)))
        assert client.calls == {"m": 12}
    assert most == 2
