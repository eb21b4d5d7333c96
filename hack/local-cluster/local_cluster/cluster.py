"""The steps of `up`, top to bottom in the order in which they happen, and the state they leave.

Each step looks at the world before it works: a second run is a check of about a second, and a run
after an interruption or a kill -9 repairs what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from . import addons, certificates, control_plane, images, network, node, prerequisites, stores
from .build import (
    STRIP,
    build_here,
    build_program,
    kubernetes_binary,
    link_programs,
    links_are_there,
    pause_binary,
    program_binary,
    version_flags,
)
from .machine import Marker, boot_id, read_marker, write_marker
from .processes import Process, Processes
from .settings import GO_PROGRAMS, Settings
from .steps import Problem, Step, run_steps, wait_until
from .teardown import teardown_steps

START_ORDER = (
    "containerd", "etcd", "registry", "versitygw",
    "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy",
)  # fmt: skip


def make_process(settings: Settings, name: str) -> Process:
    """The process of that name, as it should run today."""
    kubernetes: dict[str, Callable[[Settings, Path], Process]] = {
        "etcd": control_plane.etcd,
        "kube-apiserver": control_plane.api_server,
        "kube-controller-manager": control_plane.controller_manager,
        "kube-scheduler": control_plane.scheduler,
        "kubelet": node.kubelet,
        "kube-proxy": node.kube_proxy,
    }
    if name == "containerd":
        return node.containerd(settings)
    if name == "registry":
        return stores.registry(settings, program_binary(settings, name))
    if name == "versitygw":
        return stores.s3(settings, program_binary(settings, name))
    return kubernetes[name](settings, kubernetes_binary(settings))


def clear_the_machine(settings: Settings) -> None:
    """Make room: tidy up after a dead cluster; ask before a living one of another checkout is stopped."""
    marker = read_marker(settings.run)
    if marker is None or (marker.state == str(settings.state) and marker.of_this_boot()):
        return
    living = [record.name for record in Processes(settings.run, settings.logs).all() if record.alive()]
    if marker.of_this_boot() and living and not settings.take_over:
        raise Problem(
            f"the cluster of {marker.checkout} is running on this machine ({', '.join(living)}), and there is room for one",
            f"make -C {marker.checkout} cluster-down   or, to stop it from here: CLARA_TAKE_OVER=1 make cluster-up",
        )
    print(f"cleaning up after the cluster of {marker.checkout}")
    run_steps(teardown_steps(replace(settings, state=Path(marker.state)), marker))


def claim_the_machine(settings: Settings) -> None:
    """Write down whose cluster it is before anything is changed, so that a kill -9 can be cleaned."""
    if read_marker(settings.run) is None:
        write_marker(settings.run, Marker(str(settings.state), boot_id(), network.read_switches()))


def build_steps(settings: Settings) -> list[Step]:
    def check() -> None:
        prerequisites.require_disk(settings)
        prerequisites.require_go()

    kubernetes, pause = kubernetes_binary(settings), pause_binary(settings)
    steps = [
        Step("disk and Go", check, kubernetes.exists),
        Step("build kubernetes", lambda: build_here(settings, ".", kubernetes, version_flags()), kubernetes.exists),
        Step("build pause", lambda: build_here(settings, "./pause", pause, STRIP), pause.exists),
    ]
    for name in GO_PROGRAMS:
        build = lambda name=name: build_program(settings, name)  # noqa: E731
        steps.append(Step(f"build {name}", build, program_binary(settings, name).exists))
    return [*steps, Step("link programs", lambda: link_programs(settings), lambda: links_are_there(settings))]


def package_steps() -> list[Step]:
    return [Step("Debian packages", prerequisites.install_packages, lambda: not prerequisites.missing_packages())]


def start_steps(settings: Settings) -> list[Step]:
    """From an empty machine with all programs to a node that runs pods."""
    processes = Processes(settings.run, settings.logs)
    pause, coredns = pause_binary(settings), program_binary(settings, "coredns")
    dns_image = images.image_name(coredns)

    def configure() -> None:
        prerequisites.require_free_ports(settings, processes)
        claim_the_machine(settings)
        node.write_configs(settings, images.image_name(pause))
        stores.write_configs(settings)

    def start(title: str, *names: str) -> Step:
        """Those that do not need each other start together."""
        return Step(
            title,
            lambda: processes.ensure(*(make_process(settings, name) for name in names)),
            lambda: all(processes.up_to_date(make_process(settings, name)) for name in names),
        )

    def import_images() -> None:
        for binary in (pause, coredns):
            if not images.is_imported(settings, binary):
                images.import_image(settings, binary)

    def imported() -> bool:
        return all(images.is_imported(settings, binary) for binary in (pause, coredns))

    def wait_for_node() -> None:
        log = settings.logs / "kubelet.log"
        wait_until("the node's registration", lambda: addons.node_exists(settings), 60, f"read {log}")

    def start_dns() -> None:
        addons.apply(settings, *addons.dns_manifests(settings, dns_image))
        cure = "kubectl -n kube-system describe pods"
        wait_until("CoreDNS becoming ready", lambda: addons.dns_is_ready(settings, dns_image), 120, cure)

    return [
        Step("configuration", configure),
        Step("network", lambda: network.set_up(settings.network), lambda: network.is_up(settings.network)),
        Step("certificates", lambda: certificates.make_all(settings), lambda: certificates.all_there(settings)),
        start("containerd, etcd", "containerd", "etcd"),
        start("registry, S3", "registry", "versitygw"),
        Step("images", import_images, imported),
        start("API server", "kube-apiserver"),
        start("controllers, kubelet", "kube-controller-manager", "kube-scheduler", "kubelet"),
        Step("node", wait_for_node, lambda: addons.node_exists(settings)),
        start("kube-proxy", "kube-proxy"),  # earlier it would wait for the node and complain
        Step("cluster DNS", start_dns, lambda: addons.dns_is_ready(settings, dns_image)),
    ]
