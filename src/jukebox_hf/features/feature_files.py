"""Features as the bytes of a file, and the libraries that files of features need.

Flows in: an array. Flows out: .npy or safetensors bytes.
"""

import io
from typing import Any

import numpy as np
from safetensors.numpy import save

INSTALL = 'pip install "jukebox_hf[features]"'  # the cure where a library for features is missing
STORED = {"float32": np.float32, "float16": np.float16}


def feature_bytes(values: np.ndarray, format: str, store: str) -> bytes:
    """An array as a file; in safetensors it is called features. Codes are int32."""
    dtype = np.int32 if values.dtype.kind == "i" else STORED[store]
    stored = np.ascontiguousarray(values, dtype=dtype)
    if format == "safetensors":
        return save({"features": stored})
    memory = io.BytesIO()
    np.save(memory, stored, allow_pickle=False)
    return memory.getvalue()


def import_pyarrow() -> tuple[Any, Any]:
    """pyarrow and its parquet, or one sentence."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError(f"an index of features is parquet, but pyarrow is not installed; {INSTALL}") from None
    return pyarrow, pyarrow.parquet
