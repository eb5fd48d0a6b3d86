"""Before numpy is imported: BLAS threads on top of ours cost the suite minutes."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
