"""How things are named by their content. Pure: the caller reads the bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

# Files of a base model that decide what it computes; everything else in the folder (README, .gitattributes) does not.
BASE_MODEL_SUFFIXES = (".safetensors", ".json", ".jinja", ".model", ".txt")
BASE_MODEL_IGNORED = ("trainer_state.json", "training_args.json", "README.txt")


def sha256_digest(data: bytes) -> str:
    """'sha256:<hex>' of the bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def canonical_json(value: Any) -> bytes:
    """One spelling per value: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def json_digest(value: Any) -> str:
    """Digest of a JSON value's canonical spelling."""
    return sha256_digest(canonical_json(value))


def listing_digest(files: Iterable[tuple[str, int, str]]) -> str:
    """Digest of (path, size, sha256 hex) triples: sha256 over their sorted 'sha256 size path' lines, each ended by a newline."""
    lines = sorted(f"{sha} {size} {path}\n" for path, size, sha in files)
    return sha256_digest("".join(lines).encode())


def is_base_model_file(path: str) -> bool:
    """Whether a file (path relative to the base's folder) counts in the base's digest."""
    return "/" not in path and path.endswith(BASE_MODEL_SUFFIXES) and path not in BASE_MODEL_IGNORED
