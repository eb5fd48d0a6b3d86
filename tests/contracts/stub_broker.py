"""An HTTP server that answers like a Broker, or as a test says."""

import threading
from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from groundshift.codec import decode


class StubBroker(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.posts = deque(), []
        self.open = threading.Event()
        self.open.set()
        self.changed = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/groundshift/default"

    def got(self):
        with self.changed:
            return [event for event, status in self.posts if status == 202]

    def wait_for(self, check) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: check(self), 60)

    def handle_error(self, request, client_address) -> None:
        pass  # callers are killed on purpose


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        event, broker = decode(self.headers, body), self.server
        with broker.changed:
            broker.posts.append((event, None))
            place = len(broker.posts) - 1
            broker.changed.notify_all()
        broker.open.wait(60)
        with broker.changed:
            status = broker.answers.popleft() if broker.answers else 202
            broker.posts[place] = (event, status)
            broker.changed.notify_all()
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()


@contextmanager
def stub_broker():
    with StubBroker() as broker:
        thread = threading.Thread(target=broker.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield broker
        finally:
            broker.open.set()
            broker.shutdown()
            thread.join()
