"""`kubectl clara …`: what a person does with adapters, through kubectl and under the own name.

    kubectl clara review ADAPTER [-n NS]                the decision, the score, and what it rests on
    kubectl clara approve ADAPTER --reason TEXT [-n NS]
    kubectl clara reject ADAPTER --reason TEXT [-n NS]
    kubectl clara withdraw ADAPTER [-n NS]              take the own decision back: the gate speaks again
    kubectl clara doctor [-n NS]                        everything that is not well, with its message
    kubectl clara import [ADAPTER …] [-n NS]            create Adapters again from what lies beside their artifacts
    kubectl clara reproduce ADAPTER [--approximate]     train it again from its manifest and compare the weights, bit by bit
    kubectl clara key create NAME [--for-namespace NS]  an API key for the gateway, and the Secret entry that admits it

Everything goes through the kubectl of the PATH: its context, its credentials, its rights. Nothing is impersonated.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from clara_api import labels

from kubectl_clara import import_job, reproduce_job
from kubectl_clara.show import doctor_lines, review_lines

Object = dict[str, Any]


class Problem(Exception):
    """kubectl's own words, or ours."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 1 with kubectl's message when it refuses."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.run
    try:
        command(options)
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def review(options: argparse.Namespace) -> None:
    """Show one Adapter."""
    print("\n".join(review_lines(_get("adapter", options.adapter, options.namespace))))


def decide(options: argparse.Namespace) -> None:
    """Write spec.approval under the own user name; the API server checks both."""
    approval = {"decision": options.decision, "by": _user(), "reason": options.reason}
    _kubectl(
        "patch",
        "adapter",
        options.adapter,
        *_in(options.namespace),
        "--type=merge",
        "-p",
        json.dumps({"spec": {"approval": approval}}),
    )
    print(f"{options.adapter}: {options.decision} by {approval['by']}")


def withdraw(options: argparse.Namespace) -> None:
    """Remove spec.approval. A decision that an import found in the store is answered by another, not by silence."""
    decision = (_get("adapter", options.adapter, options.namespace).get("status") or {}).get("decision") or {}
    if decision.get("adopted"):
        raise Problem(
            f"the decision on {options.adapter} was found beside its artifact (by {decision.get('by')}): "
            "answer it with 'kubectl clara reject' or 'kubectl clara approve'"
        )
    _kubectl(
        "patch",
        "adapter",
        options.adapter,
        *_in(options.namespace),
        "--type=merge",
        "-p",
        '{"spec": {"approval": null}}',
    )
    print(f"{options.adapter}: decision withdrawn")


def doctor(options: argparse.Namespace) -> None:
    """List what is not well."""
    listed = json.loads(_kubectl("get", "tj,adp,gds,sdep", *_in(options.namespace), "-o", "json"))
    print("\n".join(doctor_lines(listed["items"])))


def import_adapters(options: argparse.Namespace) -> None:
    """Read the Adapters from the store in a pod that has its key; create those that are missing, change none."""
    account = _get("serviceaccount", "clara-trainer", options.namespace)
    space = ("-n", account["metadata"]["namespace"])
    try:
        listing = import_job.read_log(_log_of_import(account, space), account["metadata"]["namespace"])
    except KeyError as error:
        raise Problem(f"ServiceAccount clara-trainer has no annotation {error}; upgrade Clara's chart first") from error
    except ValueError as error:
        raise Problem(str(error)) from error
    for sentence in listing.passed_over:
        print(sentence, file=sys.stderr)
    wanted = [a for a in listing.adapters if not options.adapters or a["metadata"]["name"] in options.adapters]
    missing = set(options.adapters) - {a["metadata"]["name"] for a in wanted}
    results = {a["metadata"]["name"]: "in the store" if options.dry_run else _create(a, space) for a in wanted}
    for name, result in (results | dict.fromkeys(sorted(missing), "not in the store")).items():
        print(f"{name}: {result}")
    print(
        f"{len(listing.adapters)} Adapters lie in the store; kubectl get adp {' '.join(space)} shows what becomes of them"
    )
    if missing or any(result.startswith("refused") for result in results.values()):
        raise Problem("not all were brought back, see above")


def _log_of_import(account: Object, space: tuple[str, ...]) -> str:
    """What the Job printed. A Job that failed stays for ten minutes, to be looked at."""
    name = f"clara-import-{secrets.token_hex(4)}"
    job, config = import_job.build(account, name)
    made = json.loads(_kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(job)))
    try:
        _kubectl("create", "-f", "-", stdin=json.dumps(import_job.owned(config, made)))
    except Problem:
        _kubectl("delete", "job", name, *space, "--wait=false")
        raise
    print(f"Job {name} reads {account['metadata']['annotations'][labels.ARTIFACT_PREFIX]} …", flush=True)
    _wait_for_end(name, space)
    log = _kubectl("logs", f"job/{name}", *space, "--tail=-1")
    _kubectl("delete", "job", name, *space, "--wait=false")
    return log


def _wait_for_end(job: str, space: tuple[str, ...]) -> None:
    """The Job's own deadline ends it, so this does not wait for ever. Problem: what its pod, or else its events, say."""
    while True:
        conditions = json.loads(_kubectl("get", "job", job, *space, "-o", "json"))["status"].get("conditions") or []
        ended = {c["type"]: c.get("message", "") for c in conditions if c["status"] == "True"}
        if "Complete" in ended:
            return
        if "Failed" in ended:
            raise Problem(f"Job {job} failed: {ended['Failed']}\n{_what_it_said(job, space)}")
        time.sleep(0.5)


def _what_it_said(job: str, space: tuple[str, ...]) -> str:
    try:
        return _kubectl("logs", f"job/{job}", *space, "--tail=5")
    except Problem:  # it never had a pod, or the deadline took it
        return _kubectl("events", *space, "--for", f"job/{job}")


def _create(adapter: Object, space: tuple[str, ...]) -> str:
    try:
        _kubectl("create", *space, "-f", "-", stdin=json.dumps(adapter))
    except Problem as problem:
        return "there already" if "AlreadyExists" in str(problem) else f"refused: {problem}"
    return "created"


def reproduce(options: argparse.Namespace) -> None:
    """Train again in a pod like the one that trained, publish nothing, say whether the bits are the same."""
    adapter = _get("adapter", options.adapter, options.namespace)
    space = ("-n", adapter["metadata"]["namespace"])
    by_hand = f"python3 -m clara_trainer reproduce {adapter['spec']['artifact']['uri']}"
    try:
        job, attempt = reproduce_job.attempt_of(adapter)
    except ValueError as error:
        raise Problem(f"{options.adapter} cannot be repeated: {error}") from error
    chosen = f"{labels.TRAINING_JOB}={job},{labels.PURPOSE}={labels.PURPOSE_TRAIN},{labels.ATTEMPT}={attempt}"
    found = json.loads(_kubectl("get", "jobs", *space, "-l", chosen, "-o", "json"))["items"]
    if not found:
        raise Problem(f"TrainingJob {job} is gone, and with it its pod's template; in the trainer image: {by_hand}")
    name = f"clara-reproduce-{secrets.token_hex(4)}"
    made = reproduce_job.build(found[0], adapter, name, approximate=options.approximate)
    _kubectl("create", "-f", "-", stdin=json.dumps(made))
    print(f"Job {name} trains {options.adapter} again …", flush=True)
    _wait_for_end(name, space)
    print(json.loads(_kubectl("logs", f"job/{name}", *space, "--tail=1"))["message"].removeprefix("done: "))
    _kubectl("delete", "job", name, *space, "--wait=false")


def create_key(options: argparse.Namespace) -> None:
    """Print a new key once, and the Secret entry that holds only its hash."""
    key = f"clara-{secrets.token_urlsafe(32)}"
    entry: Object = {"sha256": hashlib.sha256(key.encode()).hexdigest()}
    if options.for_namespace:
        entry["namespace"] = options.for_namespace
    print(f"key (shown once): {key}")
    print(f"Secret entry: {options.name}: '{json.dumps(entry)}'")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kubectl clara", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, decision in (
        ("review", review, ""),
        ("approve", decide, "Approved"),
        ("reject", decide, "Rejected"),
        ("withdraw", withdraw, ""),
    ):
        command = commands.add_parser(name)
        command.add_argument("adapter", help="FAMILY-X.Y.Z")
        command.add_argument("-n", "--namespace", default="")
        if decision:
            command.add_argument("--reason", required=True, help="why; kept for the audit")
        command.set_defaults(run=run, decision=decision)
    check = commands.add_parser("doctor")
    check.add_argument("-n", "--namespace", default="")
    check.set_defaults(run=doctor)
    again = commands.add_parser("reproduce")
    again.add_argument("adapter", help="FAMILY-X.Y.Z")
    again.add_argument("-n", "--namespace", default="")
    again.add_argument("--approximate", action="store_true", help="accept another machine; compare effects, not bits")
    again.set_defaults(run=reproduce)
    restore = commands.add_parser("import")
    restore.add_argument("adapters", nargs="*", metavar="ADAPTER", help="FAMILY-X.Y.Z; none: all")
    restore.add_argument("-n", "--namespace", default="")
    restore.add_argument("--dry-run", action="store_true", help="only say what lies in the store")
    restore.set_defaults(run=import_adapters)
    key = commands.add_parser("key").add_subparsers(required=True, metavar="create").add_parser("create")
    key.add_argument("name")
    key.add_argument("--for-namespace", default="", help="namespace whose families plain names mean")
    key.set_defaults(run=create_key)
    return parser


def _user() -> str:
    """Who the API server says we are: the only name an approval may carry."""
    found = json.loads(_kubectl("auth", "whoami", "-o", "json"))
    return str(found["status"]["userInfo"]["username"])


def _get(kind: str, name: str, namespace: str) -> Object:
    found: Object = json.loads(_kubectl("get", kind, name, *_in(namespace), "-o", "json"))
    return found


def _in(namespace: str) -> tuple[str, ...]:
    return ("-n", namespace) if namespace else ()


def _kubectl(*arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(  # noqa: S603
        ("kubectl", *arguments),  # noqa: S607
        input=stdin, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Problem((done.stderr or done.stdout).strip())
    return done.stdout
