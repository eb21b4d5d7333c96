"""Who may ask for what."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from clara_gateway.auth import KeyFileError, load_keys, read_key_file
from clara_gateway.credentials import Credentials
from clara_gateway.refusals import RefusalError
from clara_gateway.settings import Settings

HASH = hashlib.sha256(b"geheim").hexdigest()


def mounted(base: Path, name: str, **files: str) -> Path:
    """A Secret as kubelet mounts it: files are links into ..data, which is a link that is swapped."""
    (base / name).mkdir()
    for key, content in files.items():
        (base / name / key).write_text(content)
        if not (base / key).is_symlink():
            (base / key).symlink_to(Path("..data") / key)
    (base / "..tmp").symlink_to(name)
    (base / "..tmp").rename(base / "..data")
    return base


def test_a_key_is_known_by_its_hash(tmp_path: Path):
    keys = mounted(tmp_path, "..1", team=json.dumps({"sha256": HASH, "namespace": "amt-a"}))
    caller = load_keys(Settings(keys_dir=keys)).caller("Bearer geheim")
    assert (caller.key_id, caller.bound, caller.families) == ("team", "amt-a", None)


def test_a_key_file_may_be_lines():
    key = read_key_file("team", f"{HASH}\namt-a\nsteuerrecht, baurecht\n")
    assert (key.namespace, key.families) == ("amt-a", ("steuerrecht", "baurecht"))


@pytest.mark.parametrize("header", ["", "Bearer falsch", "Basic geheim", "geheim", f"Bearer {HASH}"])
def test_another_key_is_refused(tmp_path: Path, header: str):
    ring = load_keys(Settings(keys_dir=mounted(tmp_path, "..1", team=HASH)))
    with pytest.raises(RefusalError) as caught:
        ring.caller(header)
    assert caught.value.status == 401


@pytest.mark.parametrize("content", ["geheim", "{", '{"sha256": "ABC"}', json.dumps({"sha256": HASH, "familes": []})])
def test_a_broken_key_file_is_named_and_its_content_is_not_shown(content: str):
    with pytest.raises(KeyFileError, match="key file 'team'") as caught:
        read_key_file("team", content)
    assert "geheim" not in str(caught.value)


def test_production_does_not_start_without_a_key(tmp_path: Path):
    for settings in (Settings(), Settings(keys_dir=tmp_path), Settings(keys_dir=tmp_path / "absent")):
        with pytest.raises(KeyFileError, match="put at least one into the Secret"):
            load_keys(settings)


def test_development_answers_anybody_in_the_default_namespace():
    ring = load_keys(Settings(security_mode="development", default_namespace="amt-a"))
    assert ring.caller("").home == ring.caller("Bearer whatever").home == "amt-a"


def test_swapped_keys_are_read_again_and_broken_ones_leave_the_old_in_use(tmp_path: Path):
    keys = mounted(tmp_path, "..1", team=HASH)
    credentials = Credentials(Settings(keys_dir=keys))
    mounted(tmp_path, "..2", team="broken")
    credentials.read_keys_if_changed()
    assert credentials.keys.caller("Bearer geheim").key_id == "team"
    mounted(tmp_path, "..3", team=hashlib.sha256(b"neu").hexdigest())
    credentials.read_keys_if_changed()
    assert credentials.keys.caller("Bearer neu").key_id == "team"
    with pytest.raises(RefusalError):
        credentials.keys.caller("Bearer geheim")


def test_a_renewed_engine_token_is_used_and_a_lost_file_keeps_the_last(tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("one\n")
    credentials = Credentials(Settings(security_mode="development", engine_token_file=token))
    assert credentials.engine_headers() == {"Authorization": "Bearer one"}
    token.write_text("two\n")
    credentials.read_engine_token()
    token.unlink()
    credentials.read_engine_token()
    assert credentials.engine_headers() == {"Authorization": "Bearer two"}
