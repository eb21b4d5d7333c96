"""Images made from one static binary each, without a builder and without pulling anything.

The archive is what `docker save` writes, which `ctr images import` reads. Its tag is the binary's
digest, so an image that is there is the right one.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from pathlib import Path

from .settings import Settings
from .shell import run


def image_name(binary: Path) -> str:
    """`…/bin/coredns-0123456789ab` -> `localhost/coredns:0123456789ab`."""
    program, _, digest = binary.name.rpartition("-")
    return f"localhost/{program}:{digest}"


def is_imported(settings: Settings, binary: Path) -> bool:
    return image_name(binary) in ctr(settings, "images", "list", "--quiet").split()


def import_image(settings: Settings, binary: Path) -> None:
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        Path(file.name).write_bytes(archive(image_name(binary), binary.read_bytes()))
        ctr(settings, "images", "import", file.name)


def ctr(settings: Settings, *arguments: str) -> str:
    return run("ctr", "--address", settings.containerd_socket, "--namespace", "k8s.io", *arguments)


def archive(name: str, program: bytes) -> bytes:
    """One layer that holds /NAME, the entrypoint; the same bytes for the same program."""
    path = name.rpartition("/")[2].partition(":")[0]
    layer = tar({path: (program, 0o755)})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{path}"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    return tar(
        {
            "manifest.json": (json.dumps(manifest).encode(), 0o644),
            "config.json": (json.dumps(config).encode(), 0o644),
            "layer.tar": (layer, 0o644),
        }
    )


def tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for name, (data, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            out.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
