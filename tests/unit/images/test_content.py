"""Tags name content: what is equal is built once, what differs has another name."""

from __future__ import annotations

import ast
import shutil

import pytest
from clara_images import content
from clara_images.layers import Build
from clara_images.registry import is_local, manifest_url
from clara_images.tools import Problem

LAYER = "0123456789ab"


@pytest.fixture
def sources(tmp_path):
    for image in content.IMAGES.values():
        for package in image.packages:
            folder = tmp_path / package
            if not folder.exists():
                shutil.copytree(content.ROOT / package, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def tags(root):
    return {name: content.code_tag(name, LAYER, root) for name in content.IMAGES}


def test_a_change_of_one_program_moves_only_its_own_image(sources):
    before = tags(sources)
    (sources / "server/clara_gateway/app.py").write_text("changed")
    after = tags(sources)
    assert {name for name in before if before[name] != after[name]} == {"gateway"}


def test_a_change_of_the_shared_contract_moves_every_image(sources):
    before = tags(sources)
    (sources / "crds/clara_api/meta.py").write_text("changed")
    assert all(before[name] != tag for name, tag in tags(sources).items())


def test_bytecode_left_behind_by_a_run_changes_no_tag(sources):
    before = tags(sources)
    cache = sources / "crds/clara_api/__pycache__"
    cache.mkdir()
    (cache / "meta.cpython-311.pyc").write_bytes(b"x")
    assert tags(sources) == before


def test_a_moved_border_between_two_parts_is_another_digest():
    assert content.digest(["ab", "c"]) != content.digest(["a", "bc"])


def test_the_python_layer_is_named_by_lock_variant_and_operating_system():
    tag = content.python_tag("ml", "cpu", "os-1", "torch==2.13.0")
    assert tag != content.python_tag("ml", "gpu", "os-1", "torch==2.13.0")
    assert tag != content.python_tag("ml", "cpu", "os-2", "torch==2.13.0")
    assert tag != content.python_tag("ml", "cpu", "os-1", "torch==2.13.1")
    assert content.os_tag("") != content.os_tag("debian:bookworm-slim")


def test_only_the_cpu_variant_of_the_ml_layer_loses_files():
    assert "triton" in content.drop("ml", "cpu").split()
    assert content.drop("ml", "gpu") == content.drop("slim", "cpu") == content.drop("slim", "gpu") == ""


@pytest.mark.parametrize("name", content.IMAGES)
def test_an_image_holds_every_package_of_ours_that_its_program_imports(name):
    held = {package.rsplit("/", 1)[1] for package in content.IMAGES[name].packages}
    imported = set()
    for file in content.source_files(name):
        if file.suffix == ".py":
            for node in ast.walk(ast.parse(file.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                imported |= {n.split(".")[0] for n in names if n.startswith("clara_")}
    assert "clara_api" in imported
    assert imported <= held


def test_a_registry_elsewhere_is_only_spoken_to_with_tls():
    assert manifest_url("198.18.0.1:5000/clara-engine:1") == "http://198.18.0.1:5000/v2/clara-engine/manifests/1"
    assert manifest_url("reg.example:443/a/b:1") == "https://reg.example:443/v2/a/b/manifests/1"
    assert not is_local("reg.example/198.18.0.1")


def test_the_gpu_variant_has_no_engine_and_says_which_images_it_has():
    assert content.chosen([], "gpu") == ["operator", "gateway", "trainer"]
    assert content.chosen([], "cpu") == ["operator", "gateway", "trainer", "engine"]
    with pytest.raises(Problem, match="no gpu image is named engine\n  cure: choose from operator, gateway, trainer"):
        content.chosen(["engine"], "gpu")


def test_a_gpu_image_never_takes_the_name_of_a_cpu_image():
    lock = {"ml": "torch==2.13.0"}
    cpu, gpu = (Build("registry.example", variant, exported=lock).reference("trainer") for variant in ("cpu", "gpu"))
    assert cpu != gpu
    assert gpu.endswith("-gpu")
