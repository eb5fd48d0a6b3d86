"""Which files and hosts a scene may name, and the one way from a href to a local file."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from geodata_etl.errors import GroundshiftError, Refusal, SceneRefused

_HTTP: Final = ("http", "https")
_HOPS: Final = 5
"""Redirects followed, each to an allowed host."""


class SourceUnavailable(GroundshiftError):
    """A host did not answer, or answered 5xx or 429: the same request may work later."""


@dataclass(frozen=True)
class Access:
    """The allow-list of one reader: nothing outside it is ever opened."""

    roots: tuple[Path, ...] = ()
    """Folders whose files may be read, symbolic links resolved."""
    hosts: tuple[str, ...] = ()
    """Hosts of http(s) hrefs: ``name`` or ``name:port``."""
    cache: Path | None = None
    """Folder that downloads go to; needed where `hosts` is not empty."""
    max_file_bytes: int = 8 << 30
    """Largest file that is opened or downloaded, bytes."""
    max_decoded_bytes: int = 16 << 30
    """Most that one scene's bands may decode to, bytes (13 bands of a full MGRS tile: 3.1 GB)."""
    max_block_bytes: int = 256 << 20
    """Most that one internal block or strip may decode to, bytes: GDAL decodes it whole."""
    timeout_s: float = 60.0
    """Seconds without a byte from a host before a download is given up."""

    def resolve(self, href: str, base: str | Path | None = None) -> Path:
        """A href as a local file that may be read; http(s) hrefs are downloaded first.

        A relative href is taken from `base`: the address or path of the document that names it (a
        folder, or None for the working directory, where a person names it).

        Raises SceneRefused: HREF_FORBIDDEN outside the allow-list, MISSING_FILE, TOO_LARGE.
        Raises SourceUnavailable where a host may answer later.
        """
        url = absolute(href, base)
        if urlsplit(url).scheme in _HTTP:
            return self._download(url)
        return self._local(href, Path(url))

    def _local(self, href: str, path: Path) -> Path:
        found = path.resolve()
        if not any(found.is_relative_to(root.resolve()) for root in self.roots):
            raise SceneRefused(
                Refusal.HREF_FORBIDDEN,
                f"{href!r} lies outside the folders that may be read "
                f"({_listing(self.roots)}): move the file there or allow its folder",
            )
        if not found.exists():
            raise SceneRefused(
                Refusal.MISSING_FILE, f"{href!r} does not exist: check the path ({found})"
            )
        if found.is_file():
            self._within_limit(href, found.stat().st_size)
        return found

    def _within_limit(self, href: str, size: int) -> None:
        if size > self.max_file_bytes:
            raise SceneRefused(
                Refusal.TOO_LARGE,
                f"{href!r} has {size} bytes or more, over the limit of {self.max_file_bytes}: "
                "cut the scene to the site or raise max_file_bytes",
            )

    def _download(self, url: str) -> Path:
        self._allowed(url)
        if self.cache is None:
            raise SceneRefused(
                Refusal.HREF_FORBIDDEN, f"{url!r} needs a download folder: set the cache folder"
            )
        name = hashlib.sha256(url.encode()).hexdigest()[:24] + Path(urlsplit(url).path).suffix[:8]
        path = self.cache / name
        if not path.exists():
            self.cache.mkdir(parents=True, exist_ok=True)
            self._fetch(url, path)
        return path

    def _allowed(self, url: str) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if host not in self.hosts and f"{host}:{parts.port}" not in self.hosts:
            raise SceneRefused(
                Refusal.HREF_FORBIDDEN,
                f"the host of {url!r} is not among the allowed ones ({_listing(self.hosts)}): "
                "download the scene yourself or allow the host",
            )

    def _fetch(self, url: str, path: Path) -> None:
        try:
            # trust_env off: a proxy named by the environment would be a host nobody allowed
            with httpx.Client(timeout=self.timeout_s, trust_env=False) as client:
                self._follow(client, url, path)
        except httpx.HTTPError as error:
            raise SourceUnavailable(f"{url!r} could not be read ({error}): try again") from error

    def _follow(self, client: httpx.Client, url: str, path: Path) -> None:
        for _ in range(_HOPS):
            with client.stream("GET", url) as response:
                if not response.is_redirect:
                    self._save(response, path)
                    return
                url = urljoin(url, response.headers["location"])
            self._allowed(url)
        raise SceneRefused(
            Refusal.HREF_FORBIDDEN, f"{url!r} redirects more than {_HOPS} times: name the last one"
        )

    def _save(self, response: httpx.Response, path: Path) -> None:
        href = str(response.url)
        if response.status_code == 429 or response.status_code >= 500:
            raise SourceUnavailable(f"{href!r} answered {response.status_code}: try again")
        if response.status_code != 200:
            raise SceneRefused(
                Refusal.MISSING_FILE, f"{href!r} answered {response.status_code}: check the address"
            )
        self._within_limit(href, int(response.headers.get("content-length", 0)))
        with tempfile.NamedTemporaryFile(dir=path.parent, delete_on_close=False) as part:
            size = 0
            for chunk in response.iter_bytes(1 << 20):
                size += len(chunk)  # a host may send more than it announced
                self._within_limit(href, size)
                part.write(chunk)
            part.close()
            os.link(part.name, path) if not path.exists() else None
