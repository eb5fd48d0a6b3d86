"""S3 servers: versitygw and SeaweedFS, both Apache-2.0, from the Go registry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from groundshift.testing.servers.fetch import go_program
from groundshift.testing.servers.process import Missing, Server, free_port

ACCESS_KEY: Final = "testkey"
SECRET_KEY: Final = "testsecret"  # noqa: S105 of a server on loopback that lives for a test
_CURE: Final = "run `make test-services`, which builds it, or put it on the PATH"


class S3Server(Server):
    """An S3 server on loopback with one pair of keys."""

    name = ""
    module = ""
    package = "."

    def __init__(self, cache: Path, folder: Path) -> None:
        """Raises Missing where the program was not built."""
        super().__init__(folder)
        built, installed = cache / "bin" / self.name, shutil.which(self.name)
        if not built.exists() and installed is None:
            raise Missing(f"no {self.name} in {cache / 'bin'}: {_CURE}")
        self.program = built if built.exists() else Path(str(installed))

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    def get(cls, cache: Path) -> Path:
        """Build the program unless it is there. Raises Missing."""
        return go_program(cache, name=cls.name, module=cls.module, package=cls.package)


class VersityGW(S3Server):
    """versitygw over a folder."""

    name = "versitygw"
    module = "github.com/versity/versitygw@v1.8.0"
    package = "./cmd/versitygw"

    def command(self) -> Sequence[str]:
        """A folder of objects below ours."""
        objects = self.folder / "objects"
        objects.mkdir(exist_ok=True)
        options = ["--quiet", "--keep-alive", "--port", f"127.0.0.1:{self.port}"]
        keys = ["--access", ACCESS_KEY, "--secret", SECRET_KEY]
        return [str(self.program), *options, *keys, "posix", str(objects)]


class SeaweedFS(S3Server):
    """SeaweedFS: master, volume, filer and S3 in one process."""

    name = "weed"
    module = "github.com/seaweedfs/seaweedfs@v0.0.0-20261109003541-7506e5f91cd6"
    package = "./weed"

    def stop(self) -> None:
        """It takes half a minute to end by itself; nobody needs its data afterwards."""
        self.kill()

    def command(self) -> Sequence[str]:
        """Every port of its own choosing, gRPC ports included."""
        ports = {"master": free_port(), "volume": free_port(), "filer": free_port()}
        given = [f"-{name}.port={port}" for name, port in ports.items()]
        given += [f"-{name}.port.grpc={free_port()}" for name in (*ports, "s3")]
        options = ["-ip=127.0.0.1", f"-dir={self.folder}", f"-s3.port={self.port}", "-s3"]
        config = self.folder / "s3.json"
        config.write_text(json.dumps(_identities()), encoding="utf-8")
        limits = ["-volume.max=5000", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"]
        return [str(self.program), "server", *options, *given, *limits, f"-s3.config={config}"]


def _identities() -> dict[str, object]:
    keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
    return {"identities": [{"name": "test", "credentials": [keys], "actions": ["Admin"]}]}
