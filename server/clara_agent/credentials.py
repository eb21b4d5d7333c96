"""Who a bearer token belongs to: this pod's agent, or the gateway's ServiceAccount. Used by `engine_guard` inside vLLM.

The agent writes two files into the shared memory emptyDir: `local-token`, and `jwks.json`, the API server's signing keys. Tokens
of the gateway are verified with them, without asking anyone.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jwt

Identity = Literal["agent", "gateway"]
AGENT: Identity = "agent"
GATEWAY: Identity = "gateway"

LOCAL_TOKEN = "local-token"
KEYS = "jwks.json"
AUDIENCE = "clara-engine"
ALGORITHMS = ["RS256", "ES256"]  # what API servers sign with; never HS256, the keys are public
KNOWN_TOKENS = 256
REREAD_SECONDS = 1.0
ASK_SECONDS = 30.0  # a stranger's tokens may name unknown keys as often as they like


@dataclass
class Credentials:
    """`issuer` and `gateway` (the token's subject) empty: no gateway is ever let in. `ask_for_keys` is called when a token
    names a key that is not in the file."""

    folder: Path
    issuer: str
    gateway: str
    ask_for_keys: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.time
    _local: bytes = b""
    _local_read: float = float("-inf")
    _keys: dict[str, jwt.PyJWK] = field(default_factory=dict)
    _keys_read: float = float("-inf")
    _keys_asked: float = float("-inf")
    _known: dict[bytes, float] = field(default_factory=dict)

    def identify(self, token: str) -> Identity | None:
        """The owner of `token`, or None."""
        if not token:
            return None
        if self._is_local(token.encode("utf-8", "surrogateescape")):
            return AGENT
        return GATEWAY if self.issuer and self.gateway and self._is_gateway(token) else None

    def _is_local(self, token: bytes) -> bool:
        """Constant time. The file is read until it is there, and again after a mismatch: the agent may have restarted."""
        if self._local and hmac.compare_digest(token, self._local):
            return True
        if not self._may_read(self._local_read):
            return False
        self._local_read = self.clock()
        try:
            self._local = (self.folder / LOCAL_TOKEN).read_bytes().strip()
        except OSError:
            self._local = b""
        return bool(self._local) and hmac.compare_digest(token, self._local)

    def _is_gateway(self, token: str) -> bool:
        fingerprint = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        until = self._known.get(fingerprint)
        if until is not None and self.clock() < until:
            return True
        self._known.pop(fingerprint, None)
        expiry = self._verified_expiry(token)
        if expiry is None:
            return False
        while len(self._known) >= KNOWN_TOKENS:
            self._known.pop(next(iter(self._known)))
        self._known[fingerprint] = expiry
        return True

    def _verified_expiry(self, token: str) -> float | None:
        """When the token ends, or None when it is not the gateway's or not valid."""
        try:
            key = self._key(str(jwt.get_unverified_header(token).get("kid", "")))
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=AUDIENCE,
                issuer=self.issuer,
                options={"require": ["exp", "iss", "sub", "aud"]},
            )
        except (jwt.PyJWTError, ValueError):
            return None
        return float(claims["exp"]) if claims["sub"] == self.gateway else None

    def _key(self, kid: str) -> jwt.PyJWK | None:
        """The signing key. An unknown one makes the file be read again, and then the agent be asked for a newer file."""
        if kid not in self._keys and self._may_read(self._keys_read):
            self._keys_read = self.clock()
            self._keys = _read_keys(self.folder / KEYS) or self._keys
        if kid not in self._keys and self.clock() - self._keys_asked >= ASK_SECONDS:
            self._keys_asked = self.clock()
            self.ask_for_keys()
        return self._keys.get(kid)

    def _may_read(self, last: float) -> bool:
        return self.clock() - last >= REREAD_SECONDS


def _read_keys(file: Path) -> dict[str, jwt.PyJWK]:
    try:
        found = jwt.PyJWKSet.from_json(file.read_text()).keys
    except (OSError, ValueError, jwt.PyJWTError):
        return {}
    return {str(key.key_id): key for key in found if key.key_id}
