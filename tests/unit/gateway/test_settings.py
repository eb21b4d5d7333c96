"""What can be set from outside."""

from __future__ import annotations

import pytest
from clara_gateway.settings import Settings


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLARA_SECURITY_MODE", "development")
    monkeypatch.setenv("CLARA_ENGINE_TOKEN_FILE", "/var/run/token")
    monkeypatch.setenv("CLARA_GATEWAY_WATCH_NAMESPACES", "amt-a, amt-b")
    monkeypatch.setenv("CLARA_GATEWAY_WAIT_SECONDS", "3")
    monkeypatch.setenv("CLARA_GATEWAY_DEFAULT_NAMESPACE", "")
    settings = Settings()
    assert settings.security_mode == "development"
    assert settings.watch_namespaces == ("amt-a", "amt-b")
    assert settings.wait_seconds == 3
    assert settings.default_namespace is None
    assert str(settings.engine_token_file) == "/var/run/token"


def test_production_is_the_default():
    assert Settings().security_mode == "production"
