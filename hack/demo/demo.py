"""The demo: from manifests to answers, each step with its time. `make demo` installs Clara and calls this.

    1 base and data into the store      4 two adapters trained, evaluated, approved
    2 golden sets and engines           5 three voices side by side
    3 training jobs, one disturbed      6 a second version takes over under load

Objects are made anew at each run, so nothing is cached that a user would expect to be computed; only the base model is.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import clara_chain as chain
from clara_install import kubectl

NS = "recht"
FAMILIES = ("steuerrecht", "baurecht")
QUESTIONS = {
    "steuerrecht": "An welchem Tag gilt ein mit der Post versandter Steuerbescheid als bekannt gegeben?",
    "baurecht": "Welche Arten der Nutzung erlaubt ein allgemeines Wohngebiet?",
}
NEXT = f"""
  curl -s {chain.GATEWAY}/v1/chat/completions -H 'Content-Type: application/json' -d \\
    '{{"model": "steuerrecht", "messages": [{{"role": "user", "content": "Wie lange ist die Einspruchsfrist?"}}]}}'
  eval "$(python3 hack/local-cluster env)"; export PATH="$PWD/.venv/bin:$PATH"     kubectl and kubectl clara, for this shell
  kubectl get clara -n {NS}                         everything, and whether it works
  kubectl clara review steuerrecht-1.1.0 -n {NS}    what was decided, and on what evidence
  docs/first-adapter.md                               your own rows, in ten minutes"""
JOBS = ("steuerrecht-first", "baurecht-first")
T = TypeVar("T")


def step(name: str, work: Callable[[], T]) -> T:
    """Run one step, say how long it took; on failure say which command shows more."""
    print(f"\n▶ {name}", flush=True)
    start = time.monotonic()
    try:
        result = work()
    except (AssertionError, RuntimeError) as error:
        print(f"✗ {name} failed after {time.monotonic() - start:.0f} s:\n{error}\n\nmore: kubectl clara doctor -n {NS}")
        raise SystemExit(1) from error
    print(f"  {time.monotonic() - start:5.1f} s", flush=True)
    return result


def main() -> None:
    """The whole chain."""
    began = time.monotonic()
    base = step("train the base model (cached by the digest of its script)", chain.make_base)
    step("put base and data into the store", lambda: chain.fill_store(base))
    step("remove what an earlier demo left", clean)
    step("apply golden sets, engines and training jobs", lambda: apply_all(base))
    step("train both families; one pod is killed in the middle", lambda: watch_training(JOBS, kill="baurecht-first"))
    step("evaluate and decide", lambda: decided(("steuerrecht-1.0.0", "baurecht-1.0.0")))
    step("load and verify on both engines", lambda: chain.wait_for("sdep", "verwaltung", NS, seconds=300))
    print(kubectl("get", "tj,adp,gds,sdep", "-n", NS))
    step("three voices", voices)
    step("a second version from more data takes over under load", lambda: change(base))
    print(kubectl("get", "adp,sdep", "-n", NS))
    print(f"\nThe demo took {time.monotonic() - began:.0f} s. Ask it yourself:\n{NEXT}")


def clean() -> None:
    """Earlier objects go; the store keeps their artifacts."""
    for kind in ("sdep", "adp", "tj", "gds"):
        kubectl("delete", kind, "--all", "-n", NS, "--wait", "--timeout=120s")


def apply_all(base: chain.Base) -> None:
    """What a user would apply."""
    chain.apply(
        *(chain.golden(f"{family}-golden-v1", NS) for family in FAMILIES),
        chain.serving_deployment("verwaltung", NS, list(FAMILIES), base),
        chain.training_job("steuerrecht-first", NS, "steuerrecht", ["steuerrecht-v1.jsonl"], base),
        chain.training_job("baurecht-first", NS, "baurecht", ["baurecht-v1.jsonl", "baurecht-v1-faq.jsonl"], base),
    )


def watch_training(jobs: tuple[str, ...], kill: str = "") -> None:
    """Live progress until all have succeeded. The pod of `kill` is evicted once it is half way, as a node drain would."""
    shown = ""
    deadline = time.monotonic() + 900
    while True:
        found = [chain.get("tj", name, NS) for name in jobs]
        lines = [progress_line(name, obj) for name, obj in zip(jobs, found, strict=True)]
        if (text := "  " + "   ".join(lines)) != shown:
            print(text, flush=True)
            shown = text
        if kill and half_way(dict(zip(jobs, found, strict=True))[kill]):
            print(f"  ✂ evict the pod of {kill}", flush=True)
            evict(kill)
            kill = ""
        states = [chain.condition(obj, "Succeeded") for obj in found]
        for state in states:
            if state.get("status") == "False":
                raise RuntimeError(state["message"])
        if all(state.get("status") == "True" for state in states):
            return
        if time.monotonic() > deadline:
            raise RuntimeError("training did not end within 900 s")
        time.sleep(1)


def half_way(obj: chain.Object | None) -> bool:
    """Whether half of the steps are taken."""
    progress = ((obj or {}).get("status") or {}).get("progress") or {}
    return 50 <= progress.get("percent", 0) < 95


def evict(job: str) -> None:
    """Through the eviction API: the pod saves a checkpoint, and its Job makes another."""
    pods = kubectl("get", "pods", "-n", NS, "-l", f"clara.vcc.dev/training-job={job}", "-o", "name").split()
    for name in (pod.partition("/")[2] for pod in pods):
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NS}}
        path = f"/api/v1/namespaces/{NS}/pods/{name}/eviction"
        kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


def progress_line(name: str, obj: chain.Object | None) -> str:
    """One job as people read it."""
    display = ((obj or {}).get("status") or {}).get("display") or {}
    resumed = (((obj or {}).get("status") or {}).get("progress") or {}).get("resumedFromStep")
    note = f" (resumed at step {resumed})" if resumed else ""
    return f"{name}: {display.get('state', '')} {display.get('progress', '')} loss {display.get('loss') or '-'}{note}"


def decided(adapters: tuple[str, ...]) -> None:
    """Wait for each decision and show it; what the gate leaves to a person is approved under the own name."""
    for name in adapters:
        print(f"  {name}: {chain.wait_for_decision(name, NS)}")


def voices() -> None:
    """The same questions to both families and the base."""
    for question in QUESTIONS.values():
        print(f"\n  „{question}“")
        for model in (*FAMILIES, chain.BASE_NAME):
            answer = chain.ask(model, question)
            print(f"    {model:<12} {answer.text if answer.status == 200 else answer.error}")


def change(base: chain.Base) -> None:
    """Train version 1.1.0 while clients keep asking; count what they got."""
    stop, counts = threading.Event(), Counter[str]()

    def ask_on() -> None:
        while not stop.is_set():
            answer = chain.ask("steuerrecht", QUESTIONS["steuerrecht"], max_tokens=48)
            counts[answer.body["model"] if answer.status == 200 else f"HTTP {answer.status}"] += 1

    client = threading.Thread(target=ask_on, daemon=True)
    client.start()
    chain.apply(chain.training_job("steuerrecht-second", NS, "steuerrecht", ["steuerrecht-v2.jsonl"], base))
    watch_training(("steuerrecht-second",))
    decided(("steuerrecht-1.1.0",))
    chain.wait_for("adp", "steuerrecht-1.1.0", NS, seconds=200)
    time.sleep(3)
    stop.set()
    client.join(60)
    failed = sum(n for name, n in counts.items() if name.startswith("HTTP"))
    wrong = sum(n for name, n in counts.items() if not name.startswith(("HTTP", "steuerrecht-1.")))
    print(f"  answers: {dict(counts)}; failed {failed}, from a wrong model {wrong}")
    if failed or wrong:
        raise RuntimeError("the version change was not without a gap")


if __name__ == "__main__":
    main()
