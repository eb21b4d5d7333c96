"""Keys of the progress endpoint over the years, proven by handshakes."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from clara_operator.certificates import CA_LIFE, CA_OVERLAP, LEAF_LIFE, Keys, renewed
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

NOW = datetime(2026, 11, 21, tzinfo=UTC)
HOST = "clara-progress.clara-system.svc"


def trusts(bundle: str, keys: Keys, at: datetime) -> bool:
    """Whether a pod with `bundle` believes the endpoint at that time."""
    chain = x509.load_pem_x509_certificates(keys.certificate.encode())
    store = Store(x509.load_pem_x509_certificates(bundle.encode()))
    verifier = PolicyBuilder().store(store).time(at).build_server_verifier(x509.DNSName(HOST))
    try:
        verifier.verify(chain[0], chain[1:])
    except x509.verification.VerificationError:
        return False
    return True


def test_fresh_keys_stay_as_they_are_and_are_believed():
    keys = renewed(None, "clara-system", NOW)
    assert renewed(keys, "clara-system", NOW + timedelta(days=30)) == keys
    assert trusts(keys.bundle, keys, NOW)


def test_the_leaf_is_replaced_at_two_thirds_of_its_life_under_the_same_ca():
    keys = renewed(None, "clara-system", NOW)
    later = renewed(keys, "clara-system", NOW + LEAF_LIFE * 2 / 3 + timedelta(hours=2))
    assert later.certificate != keys.certificate
    assert later.bundle == keys.bundle
    assert trusts(keys.bundle, later, NOW + LEAF_LIFE)


def test_a_new_ca_is_believed_by_pods_that_know_only_the_old_one_and_by_new_pods():
    old = renewed(None, "clara-system", NOW)
    then = NOW + CA_LIFE - CA_OVERLAP + timedelta(days=1)
    new = renewed(old, "clara-system", then)
    assert new.bundle != old.bundle
    assert old.bundle in new.bundle
    assert trusts(old.bundle, new, then)
    assert trusts(new.bundle, new, then)
    assert not trusts(renewed(None, "clara-system", then).bundle, new, then)


def test_another_namespace_gets_another_leaf():
    keys = renewed(None, "clara-system", NOW)
    assert renewed(keys, "elsewhere", NOW).certificate != keys.certificate


def test_a_secret_with_a_missing_entry_is_made_anew():
    keys = renewed(None, "clara-system", NOW)
    data = keys.to_secret()
    assert Keys.from_secret(data) == keys
    del data["tls.key"]
    assert Keys.from_secret(data) is None


def test_a_server_context_takes_the_keys(tmp_path: Path):
    keys = renewed(None, "clara-system", NOW)
    (tmp_path / "pem").write_text(keys.certificate + keys.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    (tmp_path / "pem").write_text(keys.certificate + renewed(None, "x", NOW).key)
    with pytest.raises(ssl.SSLError):
        context.load_cert_chain(tmp_path / "pem")
