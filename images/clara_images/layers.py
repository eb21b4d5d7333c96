"""Build an image from its layers: operating system, locked Python environment, code. Each is built once per content."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import content, registry
from .content import HERE, IMAGES, OS_PACKAGES, ROOT, VLLM_METADATA, Variant
from .tools import buildah_build, is_built, run, step, uv, work

JUNK = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


@dataclass(slots=True)
class Build:
    """One run. `base_image` empty: the operating system comes from debootstrap. `exported` holds the lock per layer, once read."""

    registry: str
    variant: Variant = "cpu"
    base_image: str = ""
    exported: dict[str, str] = field(default_factory=dict)

    def reference(self, name: str) -> str:
        """REGISTRY/clara-NAME:TAG."""
        suffix = "" if self.variant == "cpu" or IMAGES[name].layer == "slim" else f"-{self.variant}"
        return f"{self.registry}/clara-{name}:{content.code_tag(name, self.python_tag(IMAGES[name].layer))}{suffix}"

    def publish(self, name: str) -> None:
        """Build what is missing and push what the registry lacks."""
        reference = self.reference(name)
        step(f"clara-{name}", lambda: self._code(name, reference), lambda: registry.has(reference))

    def _code(self, name: str, reference: str) -> None:
        layer = IMAGES[name].layer
        base = f"localhost/clara-{layer}:{self.python_tag(layer)}"
        step(f"  python layer {layer}", lambda: self._python(layer, base), lambda: is_built(base))
        with _context() as context:
            for package in IMAGES[name].packages:
                target = context / "code" / Path(package).name
                shutil.copytree(ROOT / package, target, ignore=shutil.ignore_patterns("__pycache__"))
            (context / "metadata").mkdir()
            if name == "engine":
                metadata = context / "metadata" / VLLM_METADATA[0]
                metadata.parent.mkdir()
                metadata.write_text(VLLM_METADATA[1])
            buildah_build(HERE / "Containerfile.code", context, reference, BASE_IMAGE=base)
        registry.push(reference)

    def _python(self, layer: str, tag: str) -> None:
        base = f"localhost/clara-os:{content.os_tag(self.base_image)}"
        step("    operating system", lambda: self._os(base), lambda: is_built(base))
        with _context() as context:
            (context / "requirements.txt").write_text(self.requirements(layer))
            shutil.copy2(uv().resolve(), context / "uv")
            drop = content.drop(layer, self.variant)
            buildah_build(HERE / "Containerfile.python", context, tag, BASE_IMAGE=base, DROP=drop)

    def _os(self, tag: str) -> None:
        with _context() as context:
            root = context / "root"
            root.mkdir()
            if not self.base_image:
                run("debootstrap", "--variant=minbase", f"--include={OS_PACKAGES}", content.DEBIAN, root)
            for junk in JUNK:
                shutil.rmtree(root / junk, ignore_errors=True)
            not_kept = ("--exclude=./dev/*", "--exclude=./proc/*", "--exclude=./sys/*")
            run("tar", "-C", root, "-cf", context / "rootfs.tar", *not_kept, ".")
            shutil.rmtree(root)
            start = self.base_image or "scratch"
            buildah_build(HERE / "Containerfile.os", context, tag, BASE_IMAGE=start, PACKAGES=OS_PACKAGES)

    def python_tag(self, layer: str) -> str:
        """Names the Python layer."""
        return content.python_tag(layer, self.variant, content.os_tag(self.base_image), self.requirements(layer))

    def requirements(self, layer: str) -> str:
        """The lock for the extras of one layer, with hashes."""
        if layer not in self.exported:
            extras = [word for extra in content.EXTRAS[layer] for word in ("--extra", extra)]
            quiet = ("--quiet", "--frozen", "--no-dev", "--no-emit-project", "--no-header", "--no-annotate")
            self.exported[layer] = run(uv(), "export", *quiet, *extras, cwd=ROOT)
        return self.exported[layer]


@contextmanager
def _context() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=work()) as folder:
        yield Path(folder)
