import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geodata_etl.errors import Refusal, SceneRefused
from geodata_etl.hrefs import Access, SourceUnavailable


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "scene.tif").write_bytes(b"x" * 100)
    (tmp_path / "secret.tif").write_bytes(b"secret")
    return folder


def refusal(access: Access, href: str, base=None) -> Refusal:
    with pytest.raises(SceneRefused) as caught:
        access.resolve(href, base)
    assert len(str(caught.value)) > 30  # says what and how to cure it
    return caught.value.reason


def test_a_file_inside_a_root_is_found_by_every_local_form(root):
    access = Access(roots=(root,))
    wanted = (root / "scene.tif").resolve()
    assert access.resolve(str(wanted)) == wanted
    assert access.resolve(f"file://{wanted}") == wanted
    assert access.resolve("./scene.tif", root / "item.json") == wanted
    assert access.resolve("scene.tif", root) == wanted


@pytest.mark.parametrize(
    "href",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "../secret.tif",
        "../../../../../../../../etc/passwd",
        "file:///etc/../etc/passwd",
        "file://%2Fetc%2Fpasswd",
        "/vsicurl/http://127.0.0.1/x.tif",
        "/vsizip/scene.zip/x.tif",
        "ftp://example.org/x.tif",
        "data:image/tiff;base64,AAAA",
        "s3://bucket/x.tif",
        "//example.org/share/x.tif",
        "http://169.254.169.254/latest/meta-data",
        "https://allowed.example@evil.example/x.tif",
        "scene\0.tif",
    ],
)
def test_what_lies_outside_the_allow_list_is_refused(root, href):
    access = Access(roots=(root,), hosts=("allowed.example",), cache=root / "cache")
    assert refusal(access, href, root / "item.json") is Refusal.HREF_FORBIDDEN


def test_a_symbolic_link_out_of_the_root_is_refused(root, tmp_path):
    (root / "link.tif").symlink_to(tmp_path / "secret.tif")
    assert refusal(Access(roots=(root,)), "link.tif", root) is Refusal.HREF_FORBIDDEN


def test_a_closed_folder_below_a_root_is_refused_whatever_is_in_it(root):
    kept = root / "kept"
    kept.mkdir()
    (kept / "scene.tif").write_bytes((root / "scene.tif").read_bytes())
    (root / "link.tif").symlink_to(kept / "scene.tif")
    access = Access(roots=(root,), closed=(kept,))
    assert access.resolve("scene.tif", root) == (root / "scene.tif").resolve()
    for href in ("kept/scene.tif", "kept/nothing.tif", "link.tif", "kept"):
        assert refusal(access, href, root) is Refusal.HREF_FORBIDDEN


def test_without_roots_nothing_local_is_read(root):
    assert refusal(Access(), str(root / "scene.tif")) is Refusal.HREF_FORBIDDEN


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(parts=st.lists(st.sampled_from(["..", ".", "root", "scene.tif", "a", "/", "~", "%2e%2e"])))
def test_no_path_ever_resolves_outside_the_roots(root, parts):
    access = Access(roots=(root,))
    try:
        found = access.resolve("/".join(parts), root / "item.json")
    except SceneRefused:
        return
    assert found.is_relative_to(root.resolve())


def test_a_missing_file_and_a_file_over_the_limit(root):
    access = Access(roots=(root,), max_file_bytes=50)
    assert refusal(access, "nothing.tif", root) is Refusal.MISSING_FILE
    assert refusal(access, "GTIFF_DIR:1:/etc/passwd", root) is Refusal.MISSING_FILE  # a plain name
    assert refusal(access, "scene.tif", root) is Refusal.TOO_LARGE


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server: Server = self.server
        server.asked.append(self.path)
        if self.path == "/scene.tif":
            self._answer(200, b"pixels")
        elif self.path == "/redirect.tif":
            self._answer(302, b"", Location="/scene.tif")
        elif self.path == "/away.tif":
            self._answer(302, b"", Location="http://elsewhere.example/scene.tif")
        elif self.path == "/around.tif":
            self._answer(302, b"", Location="/around.tif")
        elif self.path == "/endless.tif":
            self.send_response(200)
            self.end_headers()  # no length: only counting helps
            for _ in range(64):
                self.wfile.write(b"x" * 1024)
        else:
            self._answer({"/broken.tif": 503, "/busy.tif": 429}.get(self.path, 404), b"no")

    def _answer(self, status, body, **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    asked: list[str]


@contextmanager
def serving():
    server = Server(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def web(tmp_path):
    with serving() as server:
        host = f"127.0.0.1:{server.server_port}"
        access = Access(hosts=(host,), cache=tmp_path / "cache", max_file_bytes=10_000)
        yield server, f"http://{host}", access


def test_an_allowed_host_is_downloaded_once(web):
    server, url, access = web
    first = access.resolve(f"{url}/scene.tif")
    assert first.read_bytes() == b"pixels"
    assert first.suffix == ".tif"
    assert access.resolve("scene.tif", f"{url}/item.json") == first
    assert server.asked == ["/scene.tif"]


def test_redirects_stay_on_allowed_hosts(web):
    _, url, access = web
    assert access.resolve(f"{url}/redirect.tif").read_bytes() == b"pixels"
    assert refusal(access, f"{url}/away.tif") is Refusal.HREF_FORBIDDEN
    assert refusal(access, f"{url}/around.tif") is Refusal.HREF_FORBIDDEN


def test_a_download_over_the_limit_stops_and_leaves_nothing(web):
    _, url, access = web
    assert refusal(access, f"{url}/endless.tif") is Refusal.TOO_LARGE
    assert list(access.cache.iterdir()) == []


def test_what_a_host_answers_decides_between_refusal_and_retry(web):
    _, url, access = web
    assert refusal(access, f"{url}/none.tif") is Refusal.MISSING_FILE
    for path in ("broken.tif", "busy.tif"):
        with pytest.raises(SourceUnavailable, match="try again"):
            access.resolve(f"{url}/{path}")


def test_a_host_that_is_not_there_is_worth_a_retry(tmp_path):
    with serving() as server:
        port = server.server_port
    access = Access(hosts=("127.0.0.1",), cache=tmp_path)
    with pytest.raises(SourceUnavailable):
        access.resolve(f"http://127.0.0.1:{port}/scene.tif")


def test_a_remote_item_cannot_name_local_files(web, tmp_path):
    _, url, access = web
    wide = Access(roots=(tmp_path,), hosts=access.hosts, cache=access.cache)
    (tmp_path / "x.tif").write_bytes(b"x")
    for href in (f"file://{tmp_path}/x.tif", str(tmp_path / "x.tif")):
        with pytest.raises(SceneRefused):
            wide.resolve(href, f"{url}/item.json")


def test_hosts_need_a_cache_folder():
    assert refusal(Access(hosts=("h.example",)), "http://h.example/x.tif") is Refusal.HREF_FORBIDDEN


def test_the_record_is_frozen():
    with pytest.raises(AttributeError):
        Access().roots = (Path("/"),)
