"""How the API server is found."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from clara_watch.connection import ConfigurationError, Connection, from_kubeconfig, in_cluster


def test_the_token_file_is_read_again_for_each_request(tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("old\n")
    target = Connection("https://api", token_file=token)
    assert target.headers() == {"Authorization": "Bearer old"}
    token.write_text("new")
    assert target.headers() == {"Authorization": "Bearer new"}


def test_a_pod_finds_its_api_server_by_environment_and_mounted_token(tmp_path: Path):
    (tmp_path / "token").write_text("t")
    env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert in_cluster(env, tmp_path).server == "https://[fd00::1]:6443"


def test_outside_of_a_pod_the_error_names_the_missing_variable(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="KUBERNETES_SERVICE_HOST"):
        in_cluster({}, tmp_path)


def test_a_kubeconfig_with_a_token_is_read(tmp_path: Path):
    file = tmp_path / "config"
    file.write_text(
        "current-context: here\n"
        "contexts: [{name: here, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1/'}}]\n"
        "users: [{name: u, user: {token: abc}}]\n"
    )
    target = from_kubeconfig(file)
    assert (target.server, target.headers()) == ("http://127.0.0.1:1", {"Authorization": "Bearer abc"})


def test_a_kubeconfig_whose_context_is_missing_says_so(tmp_path: Path):
    file = tmp_path / "config"
    file.write_text("current-context: gone\ncontexts: []\n")
    with pytest.raises(ConfigurationError, match="'gone' is not among its contexts"):
        from_kubeconfig(file)


def test_inline_authorities_are_decoded(tmp_path: Path):
    file = tmp_path / "config"
    broken = base64.b64encode(b"not a certificate").decode()
    file.write_text(
        "current-context: here\n"
        "contexts: [{name: here, context: {cluster: c, user: u}}]\n"
        f"clusters: [{{name: c, cluster: {{server: 'https://x', certificate-authority-data: {broken}}}}}]\n"
        "users: [{name: u, user: {}}]\n"
    )
    with pytest.raises((ValueError, OSError)):
        from_kubeconfig(file)
