"""From the store to a sealed folder, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from clara_agent.errors import AdapterError, Permanent, Temporary
from clara_agent.fetch import delete, fetch, sealed
from clara_api.engine import EngineObjectSpec, WantedAdapter
from unit.agent.agent_store import make_adapter, make_base, place, spec, wanted


class Pod:
    def __init__(self, root: Path) -> None:
        self.place = place(root)
        self.base_digest = make_base(root / "base")
        self.artifact = root / "volumes" / "store" / "a"
        self.wanted = wanted(make_adapter(self.artifact, self.base_digest))
        self.spec = spec(self.base_digest)

    def fetch(self, adapter: WantedAdapter | None = None, engine: EngineObjectSpec | None = None) -> Path:
        adapter = adapter or self.wanted
        fetch(adapter, engine or self.spec, self.place)
        return self.place.folder(adapter.engine_name)

    def visible(self) -> list[str]:
        return [f.name for f in self.place.adapter_dir.iterdir()]


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


def test_a_good_artifact_becomes_a_sealed_folder_named_by_its_digest(pod: Pod):
    folder = pod.fetch()
    files = sorted(folder.iterdir())
    names = ["adapter_config.json", "adapter_model.safetensors", "fingerprint.json", "manifest.json"]
    assert [f.name for f in files] == names
    assert all(f.stat().st_mode & 0o222 == 0 for f in (folder, *files))
    assert sealed(pod.place.adapter_dir) == {pod.wanted.engine_name: pod.wanted.digest}


def tampered(name: str) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        file = pod.artifact / name
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    return change


def longer(pod: Pod) -> None:
    with (pod.artifact / "adapter_model.safetensors").open("ab") as file:
        file.write(b"more")


def missing(pod: Pod) -> None:
    (pod.artifact / "adapter_model.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "kind", "reason"),
    [
        (tampered("adapter_model.safetensors"), Permanent, "DigestMismatch"),
        (tampered("adapter_config.json"), Permanent, "DigestMismatch"),
        (tampered("manifest.json"), Permanent, "DigestMismatch"),
        (longer, Permanent, "DigestMismatch"),
        (missing, Temporary, "ArtifactMissing"),
    ],
)
def test_other_bytes_than_the_manifest_lists_never_become_visible(
    pod: Pod, spoil: Callable[[Pod], None], kind: type[AdapterError], reason: str
):
    spoil(pod)
    with pytest.raises(kind) as error:
        pod.fetch()
    assert error.value.reason == reason
    assert pod.visible() == []


def test_an_artifact_for_another_base_is_refused(pod: Pod):
    with pytest.raises(Permanent) as error:
        pod.fetch(engine=spec("sha256:" + "0" * 64))
    assert error.value.reason == "BaseMismatch"


def test_a_rank_above_the_engines_is_refused_before_the_weights_are_read(pod: Pod):
    missing(pod)
    with pytest.raises(Permanent) as error:
        pod.fetch(engine=spec(pod.base_digest, max_lora_rank=1))
    assert error.value.reason == "NotServable"


def test_a_folder_that_is_away_may_come_back(pod: Pod):
    with pytest.raises(Temporary, match=r"gone/manifest\.json does not exist"):
        pod.fetch(wanted(pod.wanted.digest, "volume://store/gone"))


def test_an_uri_that_leads_out_of_its_claim_is_refused(pod: Pod):
    with pytest.raises(Permanent):
        pod.fetch(pod.wanted.model_copy(update={"uri": "volume://store/../../etc"}))
    (pod.artifact / "manifest.json").unlink()
    (pod.artifact / "manifest.json").symlink_to("/etc/passwd")
    with pytest.raises(Temporary, match="leads out of its claim"):
        pod.fetch()


def test_an_engine_name_that_is_a_path_is_refused(pod: Pod):
    with pytest.raises(Permanent, match="no folder name"):
        pod.fetch(pod.wanted.model_copy(update={"engine_name": "../x"}))


def test_what_an_interrupted_fetch_left_is_removed_at_the_next_start(pod: Pod):
    (pod.place.adapter_dir / ".fetching-x").mkdir()
    assert sealed(pod.place.adapter_dir) == {}
    assert pod.visible() == []


def test_a_sealed_folder_can_be_deleted_and_deleting_twice_is_fine(pod: Pod):
    folder = pod.fetch()
    delete(folder)
    delete(folder)
    assert pod.visible() == []
