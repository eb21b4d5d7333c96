"""What a cloud would bring: an OCI registry and an S3 server, as processes on the machine.

The registry's layers lie in the cache, beside the programs: the ML base layer has 3 GB, takes
minutes to push, and serves every checkout. The S3 data is the cluster's own and lies in .cluster.
"""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path

from .processes import Process
from .settings import Settings
from .shell import answers, to_json, write_if_changed


def write_configs(settings: Settings) -> None:
    write_if_changed(settings.config / "registry.json", to_json(registry_config(settings)))
    (settings.cache / "registry").mkdir(parents=True, exist_ok=True)
    for folder in ("s3", "s3iam"):
        (settings.state / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    if not s3_keys_file(settings).exists():
        access, secret = f"clara-{secrets.token_hex(6)}", secrets.token_urlsafe(30)
        write_if_changed(s3_keys_file(settings), keys_text(access, secret), mode=0o600)


def registry_config(settings: Settings) -> dict[str, object]:
    """JSON is YAML, and the registry reads YAML."""
    return {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "http": {"addr": settings.registry},
        "storage": {
            "filesystem": {"rootdirectory": str(settings.cache / "registry")},
            "delete": {"enabled": True},
        },
    }


def s3_keys_file(settings: Settings) -> Path:
    return settings.state / "s3.env"


def keys_text(access: str, secret: str) -> str:
    return f"AWS_ACCESS_KEY_ID={access}\nAWS_SECRET_ACCESS_KEY={secret}\n"


def read_s3_keys(settings: Settings) -> dict[str, str]:
    """The administrator's keys; empty before the first `up`."""
    try:
        lines = s3_keys_file(settings).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)


def registry(settings: Settings, binary: Path) -> Process:
    config = settings.config / "registry.json"
    return Process(
        "registry",
        (str(binary), "serve", str(config)),
        partial(answers, f"http://{settings.registry}/v2/"),
        environ={"OTEL_TRACES_EXPORTER": "none"},
        reads=(config,),
    )


def s3(settings: Settings, binary: Path) -> Process:
    keys = read_s3_keys(settings)
    ports = [f"--port={address}:{settings.s3_port}" for address in ("127.0.0.1", settings.network.node)]
    return Process(
        "versitygw",
        (
            str(binary), *ports, f"--iam-dir={settings.state / 's3iam'}", "--health=/health", "--quiet",
            "posix", str(settings.state / "s3"),
        ),
        partial(answers, f"{settings.s3_endpoint}/health"),
        environ={
            "ROOT_ACCESS_KEY_ID": keys.get("AWS_ACCESS_KEY_ID", ""),
            "ROOT_SECRET_ACCESS_KEY": keys.get("AWS_SECRET_ACCESS_KEY", ""),
        },
    )  # fmt: skip
