"""The demo's map."""
from pathlib import Path
from typing import Any


def write_demo_map(out: Path, *_: Any) -> Path:
    """Placeholder until htmlmap is in place."""
    return out / "map.html"
