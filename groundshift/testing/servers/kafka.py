"""Apache Kafka: one node in KRaft mode, from Maven's jars and a Java 17."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from groundshift.testing.servers.fetch import maven_jars
from groundshift.testing.servers.process import Missing, Server, free_port

_ARTIFACTS: Final = (
    "org.apache.kafka:kafka_2.13:4.1.1",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",
)
_NAME: Final = "kafka-4.1.1"
_CLUSTER: Final = "Z3JvdW5kc2hpZnQtdGVzdA"
_PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
num.partitions=3
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=true
"""


class Kafka(Server):
    """A broker that is its own controller; topics are made when they are first named."""

    def __init__(self, cache: Path, folder: Path) -> None:
        """Raises Missing without Java or the jars."""
        super().__init__(folder)
        self._jars = cache / _NAME
        java = shutil.which("java")
        if java is None:
            raise Missing("no Java on the PATH: install 17 or newer (Debian: openjdk-17-jre)")
        if not self._jars.exists():
            raise Missing(f"no {self._jars}: run `make test-services`, which fetches it (Maven)")
        self._java = java
        self._controller = free_port()
        self._format()

    @staticmethod
    def get(cache: Path) -> Path:
        """Fetch the jars unless they are there. Raises Missing."""
        return maven_jars(cache, name=_NAME, artifacts=_ARTIFACTS)

    @property
    def servers(self) -> str:
        """What clients bootstrap from."""
        return f"127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        """The broker."""
        return self._run("kafka.Kafka", str(self._config))

    @property
    def _config(self) -> Path:
        return self.folder / "server.properties"

    def _run(self, main: str, *arguments: str) -> list[str]:
        memory = ["-Xmx384m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return [self._java, *memory, "-cp", f"{self._jars}/*", main, *arguments]

    def _format(self) -> None:
        text = _PROPERTIES.format(port=self.port, controller=self._controller, folder=self.folder)
        self._config.write_text(text, encoding="utf-8")
        known = ["-t", _CLUSTER, "-c", str(self._config), "--standalone"]
        subprocess.run(
            self._run("kafka.tools.StorageTool", "format", *known),
            check=True,
            capture_output=True,
        )
