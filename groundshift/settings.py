"""Every knob once: name with its unit, default, description. Read once at the entry point.

Values come from keyword arguments or from the environment (``GROUNDSHIFT_THRESHOLD=0.6``); lists
are JSON there (``GROUNDSHIFT_ALLOWED_HOSTS=["example.org"]``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


def _data_dir() -> Path:
    return platformdirs.user_data_path("groundshift")


class Settings(BaseSettings):
    """What every program of the platform is told; immutable."""

    model_config = SettingsConfigDict(env_prefix="GROUNDSHIFT_", frozen=True, extra="forbid")

    # Where things are
    data_dir: Path = Field(
        default_factory=_data_dir, description="Folder of the embedded ledger and objects"
    )
    database_url: str = Field(
        default="",
        description="SQLAlchemy address of the ledger; empty: SQLite in the data folder",
    )
    object_root: str = Field(
        default="",
        description="Folder of the objects, or s3://bucket/prefix; empty: in the data folder",
    )
    s3_endpoint: str = Field(
        default="", description="Address of the S3 server, http(s)://host:port"
    )
    s3_region: str = Field(default="us-east-1", description="Region of the S3 server")
    s3_access_key: str = Field(default="", description="Access key of the S3 server")
    s3_secret_key: SecretStr = Field(
        default=SecretStr(""), description="Secret key of the S3 server; from the environment only"
    )
    s3_retry_s: Positive = Field(
        default=60.0, description="How long a failing S3 server is asked again, seconds"
    )
    model_dir: Path | None = Field(
        default=None, description="Model store to serve; empty: the models inside the package"
    )
    models_url: str = Field(
        default="", description="Address of a running model server; empty: start one"
    )

    # Who
    tenant: str = Field(default="local", min_length=1, description="Owner of what names none")
    actor: str = Field(default="groundshift", min_length=1, description="Who acts, in the ledger")

    # Who may ask the API
    local_user: str = Field(
        default="local", min_length=1, description="Who reviews where no login is configured"
    )
    oidc_issuer: str = Field(
        default="",
        description="Address of the OpenID Connect login; empty: one local user, on loopback only",
    )
    oidc_audience: str = Field(default="", description="Client id that tokens must be for")
    oidc_role_claim: str = Field(
        default="role", description="Claim that says viewer, analyst, admin or service"
    )
    oidc_tenant_claim: str = Field(default="tenant", description="Claim that names the tenant")
    oidc_client_id: str = Field(
        default="", description="Client id of the dashboard at the login; empty: oidc_audience"
    )
    oidc_client_secret: SecretStr = Field(
        default=SecretStr(""),
        description="Client secret of the dashboard at the login; from the environment only",
    )
    oidc_scope: str = Field(
        default="openid email profile", description="Scopes that the dashboard asks the login for"
    )
    oidc_token: Literal["id", "access"] = Field(
        default="id", description="Token of the login that the dashboard shows the API: id, access"
    )
    cookie_key: SecretStr = Field(
        default=SecretStr(""),
        description="Signs the login's cookies of the dashboard; empty: a new one at each start",
    )
    token: SecretStr = Field(
        default=SecretStr(""),
        description="Bearer token that `groundshift submit --url` shows the platform",
    )
    open_doors: tuple[Literal["events", "status", "models", "metrics"], ...] = Field(
        default=(),
        description="Doors of `groundshift up` that ask other machines for no token: "
        "events, status, models, metrics; only where the network lets nobody else in",
    )
    signing_key: SecretStr = Field(
        default=SecretStr(""),
        description="Signs picture addresses for browsers; empty: a new one at each start",
    )
    signed_url_s: Positive = Field(
        default=900.0, description="How long a signed address holds, seconds"
    )
    api_origins: tuple[str, ...] = Field(
        default=(), description="Web origins beside the API's own whose pages may call it"
    )
    public_url: str = Field(
        default="", description="Address that permalinks lead to; empty: the one that was asked"
    )
    lock_s: Positive = Field(
        default=300.0, description="How long an alert stays locked for a reviewer, seconds"
    )
    label_licence: str = Field(
        default="proprietary",
        min_length=1,
        description="Licence of the labels that reviews make (an SPDX id); pixels keep their own",
    )
    webhook_private: bool = Field(
        default=False, description="Whether webhooks may go to loopback and private addresses"
    )

    # What may be read
    allowed_roots: tuple[Path, ...] = Field(
        default=(), description="Folders that scenes may be read from; empty: none but data_dir"
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="Hosts that scenes may be read from over http(s)"
    )
    allowed_buckets: tuple[str, ...] = Field(
        default=(), description="Buckets of the S3 server that scenes may be read from"
    )
    max_file_bytes: Count = Field(
        default=8 << 30, description="Largest single file of a scene, bytes on disk"
    )
    max_scene_bytes: Count = Field(
        default=8 << 30, description="Largest scene once decoded, bytes of the six-band stack"
    )
    max_event_bytes: Count = Field(default=1 << 20, description="Largest event taken, bytes")

    # Ingest
    auto_site: bool = Field(
        default=True, description="Make a site of the footprint where a scene touches none"
    )
    max_shift_px: Positive = Field(
        default=3.0, description="Largest measured shift that is corrected, pixels of 10 m"
    )
    max_shift_spread_px: Positive = Field(
        default=1.0,
        description="Largest disagreement of the shift's windows in a pair, pixels of 10 m",
    )

    # Plan
    baseline_size: Count = Field(default=3, description="Most scenes in a baseline")
    season_max_days: Count = Field(
        default=183, description="Largest distance in the year of compared scenes, days; 183: any"
    )
    min_overlap_fraction: Fraction = Field(
        default=0.05, description="Least share of the scene's valid ground that the baseline covers"
    )
    min_valid_fraction: Fraction = Field(
        default=0.01, description="Least share of the site that a scene must cover with valid data"
    )
    block_tiles_rows: Count = Field(default=4, description="Tile rows of a block")
    block_tiles_cols: Count = Field(default=4, description="Tile columns of a block")

    # Detect
    detect_workers: Count = Field(default=4, description="Dask threads per block")
    max_in_flight: Count = Field(
        default=4, description="Most requests at the model server at once, per process"
    )
    infer_timeout_s: Positive = Field(default=120.0, description="Longest wait for one inference")
    cloud_buffer_px: Annotated[int, Field(ge=0)] = Field(
        default=3, description="Growth of what the cloud mask hides, pixels of 10 m"
    )

    # Assemble
    threshold: Fraction = Field(default=0.5, description="Change probability from which it counts")
    min_area_px: Count = Field(
        default=20, description="Minimum mapping unit, pixels of 10 m (100 m2 each)"
    )

    # Retraining and the registry of models
    mlflow_uri: str = Field(
        default="",
        description="MLflow server, http(s)://host:port; empty: SQLite in the data folder",
    )
    retrain_min_labels: Count = Field(
        default=50, description="Verified tiles since the last training that make one due"
    )
    retrain_period_s: Positive = Field(
        default=86400.0, description="Least time from one training to the next, seconds"
    )
    retrain_deadline_s: Positive = Field(
        default=25200.0,
        description="Age from which a training that says nothing is asked for again, seconds",
    )
    retrain_attempts: Count = Field(
        default=3, description="How often a training is asked for until it counts as failed"
    )
    train_command: tuple[str, ...] = Field(
        default=(),
        description="Trains one model, given NAME --out --work --labels; empty: groundshift train",
    )
    retrain_command: tuple[str, ...] = Field(
        default=(),
        description="Program of a training job, embedded; empty: groundshift retrain",
    )

    # Events
    dispatch_concurrency: Count = Field(
        default=2, description="Most deliveries of one Trigger at once, embedded"
    )
    dispatch_batch: Count = Field(default=64, description="Most outbox events taken in one go")
    dispatch_poll_s: Positive = Field(
        default=1.0, description="Longest time until another process's commit is noticed, seconds"
    )
    lease_slack_s: Positive = Field(
        default=30.0, description="What a delivery's lease outlasts its timeout by, seconds"
    )
    backoff_scale: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="Factor on every Trigger's backoffDelay, embedded"
    )
    max_losses: Count = Field(
        default=20, description="Deliveries cut off by the process's death before the dead letter"
    )
    sink_url: str = Field(
        default="", description="Address of the Broker; empty: what Knative says in K_SINK"
    )
    relay_in_flight: Count = Field(
        default=8, description="Most events that wait for the Broker's answer at once, per relay"
    )
    relay_poll_s: Positive = Field(
        default=0.25, description="Longest time until the relay sees a commit, seconds"
    )
    relay_lease_s: Positive = Field(
        default=30.0, description="After this an event of a relay that died is sent again, seconds"
    )
    relay_grace_s: Positive = Field(
        default=20.0, description="Longest wait for open answers when the relay ends, seconds"
    )
    relay_timeout_s: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="Longest wait for the Broker, seconds; 0: the Triggers' longest retry chain",
    )
    probe_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=9090, description="Port of /healthz and /metrics of relay and consume; 0: any free"
    )
    kafka_servers: str = Field(
        default="", description="Kafka brokers, host:port with commas between"
    )
    kafka_topic: str = Field(
        default="groundshift.scenes", min_length=1, description="Topic of scene notifications"
    )
    kafka_dead_letter_topic: str = Field(
        default="groundshift.scenes.dead",
        min_length=1,
        description="Topic of messages that can never be handled, each with the reason",
    )
    kafka_label_topic: str = Field(
        default="groundshift.labels", min_length=1, description="Topic of label events"
    )
    kafka_group: str = Field(
        default="groundshift", min_length=1, description="Consumer group of `groundshift consume`"
    )
    scene_suffixes: tuple[str, ...] = Field(
        default=(".json",),
        description="Ends of the keys whose bucket notifications announce a scene: STAC Items",
    )
    sweep_after_s: Positive = Field(
        default=7200.0, description="Age from which unfinished work is overdue, seconds"
    )
    database_timeout_s: Positive = Field(
        default=60.0, description="Longest wait for the database's write lock, seconds"
    )

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy address of the ledger."""
        return self.database_url or f"sqlite:///{self.data_dir / 'ledger.db'}"

    @property
    def objects(self) -> str:
        """Folder or s3:// address of the object store."""
        return self.object_root or str(self.data_dir / "objects")

    @property
    def tracking(self) -> str:
        """MLflow's tracking and registry URI."""
        return self.mlflow_uri or f"sqlite:///{self.data_dir / 'mlflow.db'}"

    @property
    def models(self) -> Path:
        """The model store to serve."""
        return self.model_dir or Path(__file__).with_name("model_store")

    @property
    def edge_models(self) -> Path:
        """The model store of a device without a server: the small variants."""
        return self.model_dir or Path(__file__).with_name("model_store_edge")


def _shown(value: object) -> str:
    return "" if value is None else str(value)


def settings_table() -> str:
    """The documentation's table of settings, in Markdown."""
    head = "| setting | default | meaning |\n|---|---|---|\n"
    rows = (
        f"| `GROUNDSHIFT_{name.upper()}` "
        f"| `{'a folder of the user' if f.default_factory else _shown(f.default)}` "
        f"| {f.description} |"
        for name, f in Settings.model_fields.items()
    )
    return head + "\n".join(rows).replace("``", "") + "\n"
