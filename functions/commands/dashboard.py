"""The dashboard: a program of its own, or a child of `groundshift up`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

import uvicorn

from functions import show
from functions.commands.common import address_of, ended_by_signals, listening
from groundshift.errors import Misconfigured, Unavailable
from groundshift.loopback import is_loopback
from groundshift.opening import settings_of
from groundshift.settings import Settings

HOST: Final = "127.0.0.1"
PORT: Final = 8501
_STOP_S: Final = 5.0


def dashboard(
    *, api: str, host: str, port: int, open_browser: bool, listen_fd: int | None = None
) -> None:
    """Serve until SIGTERM or Ctrl-C; with `listen_fd` also until standard input closes.

    Raises Misconfigured for an address that other machines reach where there is no login.
    """
    from groundshift.dashboard.login import Login
    from groundshift.dashboard.server import create_app  # streamlit: 1 s that others do not need

    settings = settings_of()
    _check_reach(host, settings)
    if urlsplit(api).scheme not in ("http", "https"):
        raise Misconfigured(f"API address {api!r}: name it as http://HOST:PORT")
    with ended_by_signals(), _listener(host, port, listen_fd) as listener:
        url = address_of(listener)
        login = Login.of(settings, url=url)
        app = create_app(api, login)
        show.err.print(f"The dashboard is on {url} over {api}.", highlight=False, soft_wrap=True)
        if login is not None:
            told = f"{login.issuer} must know it by the redirect address {login.redirect}."
            show.err.print(told, highlight=False, soft_wrap=True)
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
        )
        if listen_fd is not None:
            threading.Thread(target=_end_with_parent, args=(server,), daemon=True).start()
        if open_browser:
            webbrowser.open(url)
        with suppress(SystemExit):  # uvicorn ends well, then raises its signal again
            server.run(sockets=[listener])
        if not server.started:
            raise Unavailable("the dashboard did not start: the log above says why")


def _check_reach(host: str, settings: Settings) -> None:
    """Raises Misconfigured where others reach a dashboard without a login, or without its name."""
    if is_loopback(host):
        return
    if not settings.oidc_issuer:
        raise Misconfigured(
            f"host {host!r} is reached from other machines, and the dashboard has no login: "
            "set GROUNDSHIFT_OIDC_ISSUER, GROUNDSHIFT_OIDC_AUDIENCE and "
            "GROUNDSHIFT_OIDC_CLIENT_SECRET, or listen on 127.0.0.1 and use an SSH tunnel"
        )
    if not settings.public_url:
        raise Misconfigured(
            f"host {host!r} is reached from other machines, by a name that only you know: set "
            "GROUNDSHIFT_PUBLIC_URL, e.g. https://alerts.example.org, which the login sends "
            "browsers back to"
        )


@contextmanager
def beside(api: str, *, open_browser: bool) -> Iterator[None]:
    """The dashboard as a child process over the API at `api`; it ends with this process."""
    try:
        listener = socket.create_server((HOST, PORT))
    except OSError:  # taken: another platform's dashboard, say
        listener = socket.create_server((HOST, 0))
    with listener:
        command = [sys.executable, "-m", "functions.cli", "dashboard", f"--api={api}"]
        command += [f"--listen-fd={listener.fileno()}", *(["--open"] if open_browser else [])]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()])
    try:
        yield
    finally:
        _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.stdin:
        child.stdin.close()
    try:
        child.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _end_with_parent(server: uvicorn.Server) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    server.should_exit = True


@contextmanager
def _listener(host: str, port: int, listen_fd: int | None) -> Iterator[socket.socket]:
    if listen_fd is None:
        with listening(host, port) as listener:
            yield listener
    else:
        with socket.socket(fileno=listen_fd) as listener:
            yield listener
