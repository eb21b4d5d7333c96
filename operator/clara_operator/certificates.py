"""The progress endpoint's own CA and certificate, kept in the Secret `clara-progress-tls`. Pure but for the dice of openssl.

The leaf lives 90 days and is replaced at two thirds of its life without a restart; the CA lives 10 years and is replaced two
years before its end. Pods started before know the old CA only: it signs the new one, and that signature is sent with the leaf.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LEAF_LIFE = timedelta(days=90)
CA_LIFE = timedelta(days=3650)
CA_OVERLAP = timedelta(days=730)
SKEW = timedelta(hours=1)  # clocks of pods may be behind ours
NAME = "clara-progress"


@dataclass(frozen=True, slots=True)
class Keys:
    """PEM texts, as the Secret holds them. `bundle` is what pods trust: the newest CA first."""

    bundle: str
    ca_key: str
    certificate: str
    key: str

    def to_secret(self) -> dict[str, str]:
        """Secret data, base64."""
        texts = {"ca.crt": self.bundle, "ca.key": self.ca_key, "tls.crt": self.certificate, "tls.key": self.key}
        return {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}

    @staticmethod
    def from_secret(data: Mapping[str, str]) -> Keys | None:
        """None when an entry is missing: then they are made anew."""
        try:
            texts = [base64.b64decode(data[name]).decode() for name in ("ca.crt", "ca.key", "tls.crt", "tls.key")]
        except KeyError:
            return None
        return Keys(*texts)


def renewed(keys: Keys | None, namespace: str, now: datetime) -> Keys:
    """The same keys while they are fresh, otherwise new ones; the CA outlives its leaves."""
    if keys is None:
        authority, ca_key = _make_ca(now)
        return _with_leaf(_pem(authority), ca_key, namespace, now)
    bundle = x509.load_pem_x509_certificates(keys.bundle.encode())
    if bundle[0].not_valid_after_utc - now < CA_OVERLAP:
        authority, ca_key = _make_ca(now)
        bridge = _pem(_signed_ca(authority.subject, ca_key, bundle[0].subject, _loaded(keys.ca_key), now))
        kept = "".join(_pem(c) for c in bundle if c.not_valid_after_utc > now)
        made = _with_leaf(_pem(authority) + kept, ca_key, namespace, now)
        return replace(made, certificate=made.certificate + bridge)
    leaf = x509.load_pem_x509_certificate(keys.certificate.encode())
    born, dies = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if now > born + (dies - born) * 2 / 3 or _names(leaf) != host_names(namespace):
        return _with_leaf(keys.bundle, _loaded(keys.ca_key), namespace, now)
    return keys


def host_names(namespace: str) -> list[str]:
    """Names under which pods call the endpoint."""
    return [f"{NAME}.{namespace}.svc", f"{NAME}.{namespace}.svc.cluster.local"]


def _make_ca(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"clara-progress-ca {now:%Y-%m-%d}")])
    return _signed_ca(name, key, name, key, now), key


def _signed_ca(
    name: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        _builder(name, issuer, key.public_key(), now, CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _with_leaf(bundle: str, ca_key: ec.EllipticCurvePrivateKey, namespace: str, now: datetime) -> Keys:
    authority = x509.load_pem_x509_certificates(bundle.encode())[0]
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    names = x509.SubjectAlternativeName([x509.DNSName(n) for n in host_names(namespace)])
    leaf = (
        _builder(name, authority.subject, key.public_key(), now, LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return Keys(bundle, _key_pem(ca_key), _pem(leaf), _key_pem(key))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + life)
    )


def _names(leaf: x509.Certificate) -> list[str]:
    return leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)


def _loaded(pem: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
