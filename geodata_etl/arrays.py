"""Named arrays as one compressed blob: the form of tile caches and block artifacts.

The format is ``npy`` members behind a JSON index, each zstd-compressed; it holds no pickle, so a
blob from outside can only ever decode to numbers.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping

import numpy as np
import zstandard
from numpy.typing import NDArray

_MAGIC = b"GSA1"


def pack(arrays: Mapping[str, NDArray[np.generic]], *, level: int = 1) -> bytes:
    """Serialise named arrays; the same arrays give the same bytes."""
    compress = zstandard.ZstdCompressor(level=level).compress
    members = {name: compress(_npy(array)) for name, array in sorted(arrays.items())}
    index = json.dumps({name: len(member) for name, member in members.items()}).encode()
    return b"".join((_MAGIC, struct.pack("<I", len(index)), index, *members.values()))


def unpack(blob: bytes, *names: str) -> dict[str, NDArray[np.generic]]:
    """Read arrays back; with `names` only those members are decompressed.

    Raises ValueError where the blob is not one that `pack` wrote.
    """
    if blob[:4] != _MAGIC:
        raise ValueError(f"not a groundshift array blob: it begins with {blob[:4]!r}")
    (size,) = struct.unpack_from("<I", blob, 4)
    index = json.loads(blob[8 : 8 + size])
    offset, found = 8 + size, {}
    for name, length in index.items():
        if not names or name in names:
            found[name] = _array(blob[offset : offset + length])
        offset += length
    return found


def _npy(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _array(member: bytes) -> NDArray[np.generic]:
    raw = zstandard.ZstdDecompressor().decompress(member)
    array: NDArray[np.generic] = np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
    return array
