"""What several commands share: settings from options, and the ledger of a data folder."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from groundshift.errors import Misconfigured
from groundshift.ledger import Ledger
from groundshift.opening import settings_of
from groundshift.settings import Settings

BATCH_BACKOFF: Final = 0.1
"""Scale of the waits between retries where a person waits for the end."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and Ctrl-C end a server with code 0, through its contexts, the model server too."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C call `stop`, whoever runs ends by itself; the second one ends the process.

    For programs with work under way that is worth a wait.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def once(number: int, _: object) -> None:
        signal.signal(number, before[signal.Signals(number)])
        stop()

    for number in before:
        signal.signal(number, once)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def platform_settings(
    data_dir: Path | None, roots: Sequence[Path] | None, hosts: Sequence[str] | None
) -> Settings:
    """Settings of a platform that may read scenes from these folders and hosts."""
    return settings_of(
        data_dir,
        allowed_roots=tuple(root.resolve() for root in roots) if roots else None,
        allowed_hosts=tuple(hosts) if hosts else None,
    )


@contextmanager
def open_ledger(data_dir: Path | None, *, create: bool = False) -> Iterator[tuple[Ledger, str]]:
    """The ledger of a data folder and the tenant that the settings name.

    Raises Misconfigured where nothing ever ran there, unless `create`.
    """
    settings = settings_of(data_dir)
    new = not settings.database_url and not (settings.data_dir / "ledger.db").exists()
    if new and not create:
        raise Misconfigured(
            f"no ledger in {settings.data_dir}: announce a scene with `groundshift submit`, "
            "or name another folder with --data"
        )
    with Ledger.open(settings.ledger_url, tenant=settings.tenant, actor=settings.actor) as ledger:
        yield ledger, settings.tenant


def local_path(scene: str) -> str:
    """A scene as it is announced: paths absolute, addresses as they are."""
    return scene if "://" in scene else str(Path(scene).resolve())


def roots_of(scenes: Sequence[str]) -> tuple[Path, ...]:
    """The folders that scenes named on the command line lie in: who names a file may read it."""
    paths = [Path(scene).resolve() for scene in scenes if "://" not in scene]
    return tuple(dict.fromkeys(path if path.is_dir() else path.parent for path in paths))


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens there. Raises Misconfigured where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        why = str(error.strerror).partition(" (while")[0]  # the address stands in front already
        raise Misconfigured(
            f"cannot listen on {host} port {port} ({why}): give another with --host and --port; "
            "--port 0 takes any free one"
        ) from error
    with listener:
        yield listener


def address_of(listener: socket.socket) -> str:
    """Where a socket listens, as http://HOST:PORT."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
