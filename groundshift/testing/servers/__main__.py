"""Get every server that can be had: python -m groundshift.testing.servers FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from groundshift.testing.servers import Kafka, Missing, Prometheus, SeaweedFS, VersityGW


def main(folder: Path) -> None:
    """Build and fetch; what cannot be had is said, and its tests skip with the same words."""
    folder.mkdir(parents=True, exist_ok=True)
    for get in (VersityGW.get, SeaweedFS.get, Kafka.get, Prometheus.get):
        try:
            sys.stdout.write(f"{get(folder.resolve())}\n")
        except Missing as missing:
            sys.stdout.write(f"not here: {missing}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
