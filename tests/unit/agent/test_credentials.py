"""Who is let in by which token, as files come and change."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import jwt
import pytest
from clara_agent.credentials import AGENT, GATEWAY, KEYS, LOCAL_TOKEN, Credentials
from contract.agent_tokens import GATEWAY as SUBJECT
from contract.agent_tokens import ISSUER, Signer


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


def credentials(
    folder: Path, signer: Signer | None = None, local: str | None = "secret", **more: object
) -> Credentials:
    if local:
        (folder / LOCAL_TOKEN).write_text(local)
    if signer:
        (folder / KEYS).write_text(json.dumps(signer.jwks()))
    return Credentials(**({"folder": folder, "issuer": ISSUER, "gateway": SUBJECT} | more))


def test_the_local_token_is_the_agent_and_anything_else_is_nobody(tmp_path: Path, signer: Signer):
    known = credentials(tmp_path, signer)
    assert known.identify("secret") == AGENT
    for token in ("", "secre", "secretx", "a.b.c", "é", "\x00"):
        assert known.identify(token) is None


def test_without_files_everybody_is_a_stranger_even_with_an_empty_token(tmp_path: Path, signer: Signer):
    known = credentials(tmp_path, local=None)
    assert known.identify("") is None
    assert known.identify(signer.token()) is None
    (tmp_path / LOCAL_TOKEN).write_text("")
    known.clock = lambda: 2e12
    assert known.identify("") is None


def test_a_token_written_later_is_found(tmp_path: Path):
    clock = Clock()
    known = credentials(tmp_path, local=None, clock=clock)
    assert known.identify("secret") is None
    (tmp_path / LOCAL_TOKEN).write_text("secret\n")
    clock.now += 2
    assert known.identify("secret") == AGENT


def test_the_gateways_service_account_token_is_verified_offline(tmp_path: Path, signer: Signer):
    known = credentials(tmp_path, signer)
    token = signer.token()
    assert known.identify(token) == GATEWAY
    (tmp_path / KEYS).unlink()
    assert known.identify(token) == GATEWAY  # remembered until it ends


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["other"]},
        {"iss": "https://elsewhere"},
        {"sub": "system:serviceaccount:amt:default"},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"nbf": 4_000_000_000},
    ],
)
def test_a_token_for_somebody_or_something_else_is_refused(tmp_path: Path, signer: Signer, claims: dict[str, object]):
    assert credentials(tmp_path, signer).identify(signer.token(**claims)) is None


def test_a_token_of_another_key_is_refused_though_it_names_ours(tmp_path: Path, signer: Signer):
    assert credentials(tmp_path, signer).identify(Signer(kid="k1").token()) is None


def test_the_public_key_used_as_a_shared_secret_is_refused(tmp_path: Path, signer: Signer):
    claims = {"iss": ISSUER, "sub": SUBJECT, "aud": "clara-engine", "exp": 4_000_000_000}
    public = base64.urlsafe_b64decode(signer.jwks()["keys"][0]["n"] + "==")
    forged = jwt.encode(claims, public, algorithm="HS256", headers={"kid": "k1"})
    unsigned = jwt.encode(claims, None, algorithm="none", headers={"kid": "k1"})
    known = credentials(tmp_path, signer)
    assert known.identify(forged) is None
    assert known.identify(unsigned) is None


def test_an_unknown_key_makes_the_file_be_read_again_but_not_for_every_request(tmp_path: Path, signer: Signer):
    clock, new = Clock(), Signer(kid="k2")
    known = credentials(tmp_path, signer, clock=clock)
    assert known.identify(new.token()) is None
    (tmp_path / KEYS).write_text(json.dumps(new.jwks()))
    assert known.identify(new.token()) is None
    clock.now += 2
    assert known.identify(new.token()) == GATEWAY


def test_the_agent_is_asked_for_newer_keys_but_not_by_every_request(tmp_path: Path, signer: Signer):
    clock, asked = Clock(), []
    known = credentials(tmp_path, signer, clock=clock, ask_for_keys=lambda: asked.append(clock.now))
    for _ in range(5):
        known.identify(Signer(kid="k9").token())
        clock.now += 2
    assert len(asked) == 1
    known.identify(signer.token())
    clock.now += 60
    known.identify(Signer(kid="k9").token())
    assert len(asked) == 2


def test_a_remembered_token_is_forgotten_when_it_ends(tmp_path: Path, signer: Signer):
    clock = Clock()
    clock.now = 0.0
    known = credentials(tmp_path, signer, clock=clock)
    token = signer.token()
    assert known.identify(token) == GATEWAY
    clock.now = 1e12
    (tmp_path / KEYS).write_text(json.dumps({"keys": []}))
    known._keys.clear()
    assert known.identify(token) is None


def test_no_gateway_is_let_in_where_none_is_configured(tmp_path: Path, signer: Signer):
    assert credentials(tmp_path, signer, gateway="").identify(signer.token()) is None
    assert credentials(tmp_path, signer, issuer="").identify(signer.token()) is None
