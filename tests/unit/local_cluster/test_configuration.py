"""The rendered files and command lines keep the promises others build on."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from local_cluster import addons, certificates, commands, control_plane, node, stores
from local_cluster.images import archive, image_name
from local_cluster.settings import Settings
from local_cluster.steps import Problem

BINARY = Path("/cache/bin/kubernetes-0123456789ab")


def test_containerd_keeps_images_in_the_checkout_and_sockets_in_the_run_folder(settings: Settings):
    config = tomllib.loads(node.containerd_config(settings, "localhost/pause:1"))
    assert config["root"] == f"{settings.state}/containerd"
    assert config["grpc"]["address"] == "/run/clara-local-cluster/containerd.sock"
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["sandbox_image"] == "localhost/pause:1"
    assert cri["restrict_oom_score_adj"] is True


def test_plain_http_is_allowed_for_the_local_registry_only(settings: Settings):
    hosts = tomllib.loads(node.registry_hosts(settings.registry))
    assert list(hosts["host"]) == [hosts["server"]] == ["http://198.18.0.1:5000"]


def test_the_node_takes_sixty_pods_and_a_full_disk_evicts_none(settings: Settings):
    config = node.kubelet_config(settings)
    assert config["maxPods"] >= 60
    assert config["evictionHard"]["nodefs.available"] == "1Gi"
    assert config["imageGCHighThresholdPercent"] == 100


def test_no_server_listens_on_the_machines_outer_address(settings: Settings):
    api = control_plane.api_server(settings, BINARY).argv
    assert "--bind-address=198.18.0.1" in api
    for process in (control_plane.controller_manager, control_plane.scheduler):
        assert "--bind-address=127.0.0.1" in process(settings, BINARY).argv
    assert "--listen-client-urls=http://127.0.0.1:2379" in control_plane.etcd(settings, BINARY).argv
    assert stores.registry_config(settings)["http"] == {"addr": "198.18.0.1:5000"}


def test_only_the_front_proxy_may_speak_for_others(settings: Settings):
    assert "--requestheader-allowed-names=front-proxy-client" in control_plane.api_server(settings, BINARY).argv


def test_groups_become_organisations_in_a_subject():
    assert certificates.subject(certificates.Identity("anna", "anna", ("a", "b"))) == "/O=a/O=b/CN=anna"


def test_the_api_server_is_known_by_every_name_pods_call_it(settings: Settings):
    server = certificates.identities(settings)[0]
    assert {"DNS:kubernetes.default.svc", "IP:198.18.0.1", "IP:198.18.128.1"} <= set(server.serves)


def test_a_user_name_cannot_smuggle_in_a_group(settings: Settings):
    with pytest.raises(Problem, match="cannot be a user"):
        certificates.issue_user(settings, "anna/O=system:masters")


def test_a_namespace_gets_a_volume_that_no_other_claim_can_take(settings: Settings):
    _, volume, claim = addons.volume_manifests(settings.state / "volumes", "team-a")
    assert volume["spec"]["claimRef"]["namespace"] == "team-a"
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"] == "clara-artifacts-team-a"
    assert claim["metadata"]["name"] == "clara-artifacts"
    assert claim["spec"]["accessModes"] == volume["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_environment_names_cluster_registry_and_store(settings: Settings):
    stores.write_configs(settings)
    found = commands.environment(settings)
    expected = {
        "KUBECONFIG",
        "CLARA_REGISTRY",
        "CLARA_S3_ENDPOINT",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "PATH",
    }
    assert expected <= set(found)
    assert found["CLARA_REGISTRY"] == "198.18.0.1:5000"
    assert found["PATH"].startswith(str(settings.bin))


def test_the_stores_keys_are_made_once_and_are_for_root_only(settings: Settings):
    stores.write_configs(settings)
    first = stores.read_s3_keys(settings)
    stores.write_configs(settings)
    assert stores.read_s3_keys(settings) == first
    assert stores.s3_keys_file(settings).stat().st_mode & 0o777 == 0o600


def test_an_image_is_named_by_its_programs_digest_and_is_the_same_each_time():
    name = image_name(Path("/cache/bin/coredns-0123456789ab"))
    assert name == "localhost/coredns:0123456789ab"
    assert archive(name, b"program") == archive(name, b"program") != archive(name, b"another")


def test_rendered_files_are_json_that_yaml_readers_understand(settings: Settings):
    for value in (node.cni_config(settings), node.kubelet_config(settings), stores.registry_config(settings)):
        assert json.loads(json.dumps(value)) == value
