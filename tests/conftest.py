"""Before anything is imported: BLAS threads on top of ours cost the suite minutes, and the width of
tables is read once."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["COLUMNS"] = "120"
