"""Names, types and shapes of a safetensors file, read from its header alone. Nothing is loaded, so nothing can execute.

Called by verify.py for adapters and bases. Format: 8 bytes little-endian header length, JSON header, data
(https://huggingface.co/docs/safetensors/index#format).
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

LONGEST_HEADER = 100 << 20  # bytes; the format's own limit


class Tensor(BaseModel):
    """One tensor's place."""

    model_config = ConfigDict(frozen=True)

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int] = Field(description="Begin and end in the data, in bytes.")


TENSORS = TypeAdapter(dict[str, Tensor])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensor name → place; ValueError when the file is no whole safetensors file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(LONGEST_HEADER, size - 8):
            raise ValueError(f"{path.name} is no safetensors file")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            tensors = TENSORS.validate_python(header)
        except (ValueError, AttributeError, ValidationError) as error:
            raise ValueError(f"{path.name} has no safetensors header") from error
    end = max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if end != size - 8 - length:
        raise ValueError(f"{path.name} announces {end} bytes of tensors and holds {size - 8 - length}")
    return tensors


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Tensor name → shape."""
    return {name: tensor.shape for name, tensor in read_tensors(path).items()}
