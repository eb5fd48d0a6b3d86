"""Which files and hosts a scene may name, and the one way from a href to a local file."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
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
    closed: tuple[Path, ...] = ()
    """Folders that may not, wherever they lie."""
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
    sign: Callable[[str], str] | None = None
    """Makes of an address the one that is asked, with what opens it; the plain one is kept."""
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
        if not _below(found, self.roots) or _below(found, self.closed):
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
                self._follow(client, self.sign(url) if self.sign else url, path)
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
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            part = Path(folder, "part")
            self._write(response, part)
            part.replace(path)  # complete or not there at all

    def _write(self, response: httpx.Response, part: Path) -> None:
        size = 0
        with part.open("wb") as stream:
            for chunk in response.iter_bytes(1 << 20):
                size += len(chunk)  # a host may send more than it announced
                self._within_limit(str(response.url), size)
                stream.write(chunk)


def is_http(href: str | Path | None) -> bool:
    """Whether a href or base is a web address."""
    return urlsplit(str(href)).scheme in _HTTP


def absolute(href: str, base: str | Path | None = None) -> str:
    """A href as an http(s) address or a local path, taken from `base` where it is relative.

    Raises SceneRefused(HREF_FORBIDDEN) for every other scheme, for GDAL's virtual file systems and
    for a remote document that names a local file.
    """
    parts = urlsplit(href)
    if parts.scheme in _HTTP:
        return href
    if is_http(base):
        if parts.scheme:
            raise _forbidden(href, "a remote document may only name remote files")
        return urljoin(str(base), href)
    if parts.scheme not in ("", "file") or (parts.scheme == "file" and parts.netloc):
        raise _forbidden(href, "only local paths, file:// and http(s) are read")
    path = unquote(parts.path) if parts.scheme == "file" else href
    if "\0" in path or path.startswith("/vsi"):
        raise _forbidden(href, "that is no path of a file")
    return str(_folder(base) / path)


def _folder(base: str | Path | None) -> Path:
    if base is None:
        return Path.cwd()
    path = Path(base)
    return path if path.is_dir() else path.parent


def _forbidden(href: str, why: str) -> SceneRefused:
    return SceneRefused(
        Refusal.HREF_FORBIDDEN, f"{href!r} is refused: {why}; name a file inside an allowed folder"
    )


def _below(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder.resolve()) for folder in folders)


def _listing(things: tuple[str, ...] | tuple[Path, ...]) -> str:
    return ", ".join(str(thing) for thing in things) or "none"
