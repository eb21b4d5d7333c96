"""Small artifacts in a volume store, without torch: a valid safetensors header and zeros."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from clara_agent.fetch import Place
from clara_api.digests import listing_digest
from clara_api.engine import EngineObjectSpec, WantedAdapter
from clara_api.handoff.artifact import CONFIG, FINGERPRINT, WEIGHTS, FileEntry, Manifest

MODULE = "model.layers.0.self_attn.q_proj"


def safetensors(**shapes: tuple[int, int]) -> bytes:
    header, at = {}, 0
    for name, (rows, columns) in shapes.items():
        size = rows * columns * 4
        header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def make_base(folder: Path) -> str:
    """A base with one layer; returns its digest."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(safetensors(**{f"{MODULE}.weight": (8, 8)}))
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("not part of the digest")
    counted = [folder / "model.safetensors", folder / "config.json"]
    return listing_digest((f.name, f.stat().st_size, hashlib.sha256(f.read_bytes()).hexdigest()) for f in counted)


def make_adapter(folder: Path, base_digest: str, *, rank: int = 2) -> str:
    """A publishable artifact; returns the manifest's digest."""
    folder.mkdir(parents=True)
    halves = {"lora_A": (rank, 8), "lora_B": (8, rank)}
    tensors = {f"base_model.model.{MODULE}.{half}.weight": shape for half, shape in halves.items()}
    (folder / WEIGHTS).write_bytes(safetensors(**tensors))
    (folder / CONFIG).write_text(json.dumps({"r": rank, "lora_alpha": 4, "target_modules": ["q_proj"]}))
    (folder / FINGERPRINT).write_text(json.dumps({"prompts": [[1, 2, 3]], "differences": [[0.1, 0.2]]}))
    files = [
        FileEntry(
            path=n, size=(folder / n).stat().st_size, sha256=hashlib.sha256((folder / n).read_bytes()).hexdigest()
        )
        for n in (WEIGHTS, CONFIG, FINGERPRINT)
    ]
    manifest = Manifest(
        family="steuerrecht",
        base_model={"name": "tiny-de", "digest": base_digest},
        rank=rank,
        alpha=4,
        target_modules=["q_proj"],
        weights_digest=f"sha256:{files[0].sha256}",
        files=files,
    )
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    return manifest.digest()


def place(root: Path) -> Place:
    (root / "adapters").mkdir(exist_ok=True)
    return Place(root / "adapters", root / "base", root / "volumes", 1 << 20)


def wanted(digest: str, uri: str = "volume://store/a") -> WantedAdapter:
    return WantedAdapter(engine_name=f"steuerrecht-1.0.0-{digest[7:15]}", digest=digest, uri=uri, state="load")


def spec(base_digest: str, **more: Any) -> EngineObjectSpec:
    base = {"name": "tiny-de", "uri": "volume://store/base", "digest": base_digest}
    return EngineObjectSpec(serving_deployment_ref={"name": "v"}, base_model=base, **more)
