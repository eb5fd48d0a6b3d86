"""A Kubernetes API on loopback that knows what a test tells it, and nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes.client import ApiClient, Configuration

Lists = dict[str, list[dict[str, Any]]]


class KubeApi:
    """Answers GET of a list or document at its path; else with `status`, 404 unless told."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lists: Lists = {}
        """Objects by path, e.g. ``/apis/serving.knative.dev/v1/namespaces/eo/revisions``."""
        self.documents: dict[str, dict[str, Any]] = {}
        """Other answers by path."""
        self.status = HTTPStatus.NOT_FOUND
        self.asked: list[str] = []
        """Paths with their queries, as they came."""

    def connect(self) -> ApiClient:
        """A client of it."""
        configuration = Configuration()
        configuration.host = self.url
        configuration.retries = 0
        return ApiClient(configuration)

    def put(self, group: str, plural: str, objects: Sequence[dict[str, Any]]) -> None:
        """Replace the objects of one kind, all in namespace ``eo``; ``v1`` is the core's group."""
        root = "api" if group == "v1" else "apis"
        self.lists[f"/{root}/{group}/namespaces/eo/{plural}"] = list(objects)

    def answer(self, target: str) -> tuple[int, dict[str, Any]]:
        """Status and document for a GET."""
        self.asked.append(target)
        parts = urlsplit(target)
        if parts.path in self.documents:
            return HTTPStatus.OK, self.documents[parts.path]
        if parts.path not in self.lists:
            return self.status, {"kind": "Status", "message": f"{self.status.phrase}, says the API"}
        selector = parse_qs(parts.query).get("labelSelector", [""])[0]
        found = [o for o in self.lists[parts.path] if _selected(o, selector)]
        return HTTPStatus.OK, {"kind": "List", "metadata": {}, "items": found}


def _selected(found: dict[str, Any], selector: str) -> bool:
    """Of the selectors only ``label in (a,b)`` is known."""
    if not selector:
        return True
    label, _, names = selector.partition(" in ")
    return found["metadata"].get("labels", {}).get(label) in names.strip("()").split(",")


@contextmanager
def kube_api() -> Iterator[KubeApi]:
    """The API on a free port, until the context ends."""
    answer: list[Callable[[str], tuple[int, dict[str, Any]]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's name
            status, document = answer[0](self.path)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: tests read `asked`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api = KubeApi(f"http://127.0.0.1:{server.server_port}")
    answer.append(api.answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="kube api")
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
