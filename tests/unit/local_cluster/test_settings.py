"""Where a cluster's files are, and that its addresses fit together."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

from local_cluster.settings import GO_PROGRAMS, Network, read_settings

SOURCE = Path("/src/clara/hack/local-cluster")


def test_state_lives_in_the_checkout_and_caches_outside_of_it():
    settings = read_settings({"HOME": "/home/ada"}, SOURCE)
    assert settings.state == Path("/src/clara/.cluster")
    assert settings.cache == Path("/home/ada/.cache/clara")


def test_the_cache_follows_xdg_and_clara_cache_wins():
    xdg = {"HOME": "/home/ada", "XDG_CACHE_HOME": "/big"}
    assert read_settings(xdg, SOURCE).cache == Path("/big/clara")
    assert read_settings({**xdg, "CLARA_CACHE": "/fast"}, SOURCE).cache == Path("/fast")


def test_only_the_word_1_takes_another_cluster_over():
    assert read_settings({"CLARA_TAKE_OVER": "1"}, SOURCE).take_over
    assert not read_settings({"CLARA_TAKE_OVER": "0"}, SOURCE).take_over
    assert not read_settings({}, SOURCE).take_over


def test_sockets_stay_short_however_deep_the_checkout_lies():
    settings = read_settings({}, Path("/" + "deep/" * 40) / "hack" / "local-cluster")
    assert len(f"{settings.containerd_socket}.ttrpc") < 108


def test_every_address_lies_in_the_range_and_no_two_networks_overlap():
    network = Network()
    pods, services, whole = (ip_network(net) for net in (network.cluster_cidr, network.service_cidr, network.range))
    assert pods.subnet_of(whole)
    assert services.subnet_of(whole)
    assert not pods.overlaps(services)
    assert ip_network(network.node_pod_cidr) == next(pods.subnets(new_prefix=24))
    assert ip_address(network.kubernetes_service) == services[1]
    assert ip_address(network.dns_service) in services
    assert ip_address(network.node) in whole
    assert ip_address(network.node) not in pods


def test_every_program_is_pinned():
    assert GO_PROGRAMS
    for module in GO_PROGRAMS.values():
        version = module.rpartition("@")[2]
        assert version.startswith("v")
        assert version.count(".") == 2
