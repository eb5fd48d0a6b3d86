"""S3ObjectStore on two servers: the contract, what GDAL opens, and what happens when they fail."""

import http.client
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from functions.buckets import scene_address
from functions.ingest import access_of
from geodata_etl.cog import gdal_env
from geodata_etl.errors import SceneRefused
from geodata_etl.hrefs import Access
from geodata_etl.scenes import open_scene
from geodata_etl.simulate import SiteSpec, simulate_site, write_scene
from groundshift.adapters.s3 import S3ObjectStore
from groundshift.errors import Conflict, Misconfigured, Unavailable
from groundshift.opening import open_store
from groundshift.settings import Settings
from groundshift.testing.object_store import ObjectStoreContract
from groundshift.testing.servers.s3 import ACCESS_KEY, SECRET_KEY

DAY = datetime(2024, 5, 1, 10, 30, tzinfo=UTC)


def store_at(endpoint, bucket, *, prefix="deep/er", retry_s=20.0, secret=SECRET_KEY):
    return S3ObjectStore(
        bucket,
        endpoint=endpoint,
        prefix=prefix,
        access_key=ACCESS_KEY,
        secret_key=secret,
        retry_s=retry_s,
        timeout_s=10.0,
    )


@pytest.fixture
def store(s3, bucket):
    made = store_at(s3.endpoint, bucket)
    made.make_bucket()
    return made


class TestContract(ObjectStoreContract):
    pass


def test_two_prefixes_of_a_bucket_do_not_see_each_other(s3, store, bucket):
    other = store_at(s3.endpoint, bucket, prefix="deep/er2")
    store.put("k", b"1")
    assert list(other.list()) == []
    assert not other.exists("k")
    assert other.put_if_absent("k", b"2")
    assert (store.get("k"), list(store.list())) == (b"1", ["k"])


def test_more_keys_than_one_page_are_listed(store):
    names = [f"a/{n:04}" for n in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, b""), names))
    assert list(store.list("a/")) == names


# What GDAL opens


@pytest.fixture
def raster(tmp_path):
    path = tmp_path / "scene.tif"
    pixels = np.random.default_rng(0).integers(1, 9999, (2, 700, 700)).astype(np.uint16)
    shape = {"width": 700, "height": 700, "count": 2, "dtype": "uint16", "tiled": True}
    place = {"crs": "EPSG:32633", "transform": from_origin(0, 0, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(pixels)
    return path, pixels


def test_gdal_opens_the_address_in_any_thread_and_as_a_path(store, raster):
    path, pixels = raster
    store.put("scenes/ä b/scene.tif", path)
    url = store.url("scenes/ä b/scene.tif")

    def read(name):
        with gdal_env(), rasterio.open(name, driver="GTiff") as file:
            return file.read()

    with ThreadPoolExecutor(2) as pool:
        for seen in pool.map(read, [url, Path(url)]):
            np.testing.assert_array_equal(seen, pixels)
    with rasterio.open(url) as file:  # outside of our own GDAL settings
        np.testing.assert_array_equal(
            file.read(1, window=((5, 9), (600, 700))), pixels[0, 5:9, 600:]
        )


# Scenes that lie in a bucket


def test_a_scene_in_a_bucket_is_read_where_that_is_allowed(s3, bucket, tmp_path):
    site = simulate_site(SiteSpec(seed=3, size_px=256))
    item = write_scene(site.scene(DAY), site, tmp_path / "made")
    store = store_at(s3.endpoint, bucket, prefix="")
    store.make_bucket()
    for file in item.parent.rglob("*"):
        if file.is_file():
            store.put(f"in box/{file.relative_to(item.parent).as_posix()}", file)
    href = f"s3://{bucket}/in box/{item.name}"
    settings = Settings(
        data_dir=tmp_path,
        s3_endpoint=s3.endpoint,
        s3_access_key=ACCESS_KEY,
        s3_secret_key=SECRET_KEY,
        allowed_buckets=(bucket,),
    )
    scene = open_scene(scene_address(href, settings), access=access_of(settings))
    assert scene.id == open_scene(str(item), access=Access(roots=(tmp_path,))).id
    assert len(scene.files) > 0
    other = settings.model_copy(update={"allowed_buckets": ("another",)})
    with pytest.raises(SceneRefused, match="ALLOWED_BUCKETS"):
        scene_address(href, other)
    with pytest.raises(SceneRefused):  # the host is allowed, the bucket is not signed for
        open_scene(
            scene_address(href, settings), access=replace(access_of(other), cache=tmp_path / "c")
        )


# Settings and mistakes


def test_the_settings_open_it(s3, bucket):
    settings = Settings(
        object_root=f"s3://{bucket}/a/b",
        s3_endpoint=s3.endpoint,
        s3_access_key=ACCESS_KEY,
        s3_secret_key=SECRET_KEY,
    )
    made = open_store(settings)
    made.make_bucket()
    made.put("k", b"1")
    assert store_at(s3.endpoint, bucket, prefix="a/b").get("k") == b"1"
    assert SECRET_KEY not in repr(settings)


def test_a_wrong_key_is_for_a_person(s3, store, bucket):
    bad = store_at(s3.endpoint, bucket, secret="wrong")
    for call in (lambda: bad.put("k", b"1"), lambda: bad.get("k"), lambda: list(bad.list())):
        with pytest.raises(Misconfigured, match="s3_endpoint"):
            call()


def test_a_bucket_that_is_not_there_is_for_a_person(versitygw):
    """SeaweedFS makes it."""
    bad = store_at(versitygw.endpoint, "no-such-one")
    for call in (lambda: bad.put("k", b"1"), lambda: bad.get("k")):
        with pytest.raises(Misconfigured, match="s3_endpoint"):
            call()


def test_nobody_there_is_unavailable(bucket):
    with pytest.raises(Unavailable, match="k"):
        store_at("http://127.0.0.1:9", bucket, retry_s=0.2).get("k")


def test_keys_that_nest_are_a_conflict_where_the_server_keeps_files(versitygw, bucket):
    store = store_at(versitygw.endpoint, bucket)
    store.make_bucket()
    store.put("a/b", b"1")
    for key in ("a", "a/b/c"):
        with pytest.raises(Conflict, match="nest"):
            store.put(key, b"2")


# Faults, by a proxy in between


class Proxy(ThreadingHTTPServer):
    """Passes requests on, and does to the next ones what `faults` says."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.faults, self.seen = port, deque(), []
        self.lock = threading.Lock()

    def next_fault(self, method: str) -> str:
        with self.lock:
            self.seen.append(method)
            return self.faults.popleft() if self.faults else ""

    def handle_error(self, request, client_address) -> None:
        pass  # we cut connections on purpose


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def pass_on(self) -> None:
        fault = self.server.next_fault(self.command)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if fault == "503":
            self.answer(503, {}, b"busy")
            return
        headers = dict(self.headers.items())
        if fault == "deaf":
            headers.pop("If-None-Match", None)
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.behind)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            upstream.putheader(name, value)
        if fault == "cut":  # the sender dies in the middle of its body
            upstream.endheaders(body[: len(body) // 2])
            upstream.close()
            self.close_connection = True
            return
        upstream.endheaders(body)
        response = upstream.getresponse()
        data = response.read()
        upstream.close()
        if fault == "lost":
            self.close_connection = True
            return
        self.answer(response.status, dict(response.getheaders()), data, half=fault == "half")

    def answer(self, status, headers, data, *, half=False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = headers.get("Content-Length", len(data)) if self.command == "HEAD" else len(data)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)
        self.close_connection = self.close_connection or half

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on


@contextmanager
def proxied(port):
    with Proxy(port) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


@pytest.fixture
def proxy(s3):
    with proxied(s3.port) as made:
        yield made


@pytest.fixture
def shaky(proxy, store, bucket):
    """The same bucket, through the proxy; nothing is left of the question at the start."""
    made = store_at(f"http://127.0.0.1:{proxy.server_port}", bucket)
    made.put_if_absent("asked", b"")
    proxy.seen.clear()
    return made


DATA = bytes(range(256)) * 4000


@pytest.mark.parametrize("fault", ["503", "half", "lost"])
def test_a_failing_server_is_asked_again_and_nothing_is_wrong(shaky, store, proxy, fault):
    store.put("k", DATA)
    proxy.faults.extend([fault] * 3)
    assert shaky.get("k") == DATA
    proxy.faults.extend([fault] * 3)
    assert shaky.get_range("k", start=1000, length=100_000) == DATA[1000:101_000]
    assert len(proxy.seen) == 8
    for key in ("new", "k"):
        proxy.faults.extend([fault] * 3)
        shaky.put(key, DATA[::-1])
        proxy.faults.clear()
        assert store.get(key) == DATA[::-1]
    proxy.faults.extend([fault] * 2)
    assert list(shaky.list("")) == ["asked", "k", "new"]
    proxy.faults.extend([fault] * 2)
    shaky.delete("k")
    proxy.faults.clear()
    assert not store.exists("k")


@pytest.mark.parametrize("fault", ["503", "lost"])
def test_put_if_absent_knows_its_own_bytes_after_a_lost_answer(shaky, store, proxy, fault):
    proxy.faults.extend([fault] * 2)
    assert shaky.put_if_absent("k", DATA) is True
    proxy.faults.extend([fault] * 2)
    assert shaky.put_if_absent("k", b"others") is False
    assert store.get("k") == DATA


def test_an_upload_that_is_cut_leaves_no_object(store, proxy, bucket):
    made = store_at(f"http://127.0.0.1:{proxy.server_port}", bucket, retry_s=0.5)
    made.put_if_absent("asked", b"")
    proxy.faults.extend(["cut"] * 1000)
    with pytest.raises(Unavailable):
        made.put_if_absent("k", DATA)
    assert not store.exists("k")
    proxy.faults.clear()
    assert made.put_if_absent("k", DATA) is True
    assert store.get("k") == DATA


def test_a_server_that_stays_away_is_unavailable_in_the_end(store, proxy, bucket):
    proxy.faults.extend(["503"] * 1000)
    patient = store_at(f"http://127.0.0.1:{proxy.server_port}", bucket, retry_s=0.5)
    with pytest.raises(Unavailable, match="503"):
        patient.get("k")
    assert len(proxy.seen) > 1


def test_a_server_that_ignores_the_condition_is_found_out(store, proxy, bucket):
    proxy.faults.extend(["deaf"] * 1000)
    made = store_at(f"http://127.0.0.1:{proxy.server_port}", bucket)
    for _ in range(2):
        with pytest.raises(Misconfigured, match="If-None-Match"):
            made.put_if_absent("k", b"1")
    assert list(store.list()) == []


def test_gdal_asks_again_too(shaky, store, proxy, raster):
    path, pixels = raster
    store.put("scene.tif", path)
    proxy.faults.extend(["503", "503"])
    with rasterio.open(shaky.url("scene.tif")) as file:
        np.testing.assert_array_equal(file.read(), pixels)
    assert proxy.faults == deque()
