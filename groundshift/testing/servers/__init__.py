"""Real servers for tests, from the package registries, without Docker and without root.

`python -m groundshift.testing.servers FOLDER` gets what is missing (Go
programs, Kafka's jars, Debian's Prometheus) once;
the classes start what is there and raise `Missing`, which says what to install, where it is not.
"""

from groundshift.testing.servers.kafka import Kafka
from groundshift.testing.servers.postgres import Postgres
from groundshift.testing.servers.process import Missing, free_port
from groundshift.testing.servers.prometheus import Prometheus, promtool
from groundshift.testing.servers.s3 import S3Server, SeaweedFS, VersityGW

__all__ = [
    "Kafka",
    "Missing",
    "Postgres",
    "Prometheus",
    "S3Server",
    "SeaweedFS",
    "VersityGW",
    "free_port",
    "promtool",
]
