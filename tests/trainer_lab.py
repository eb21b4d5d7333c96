"""A tiny random base, a volume store and runs for the trainer's tests: everything made here, in seconds, nothing downloaded."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clara_api.digests import is_base_model_file, json_digest, listing_digest
from clara_api.handoff.outcome import Outcome, parse_outcome
from clara_api.handoff.run import RUN
from clara_trainer.settings import Settings

MARKED_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEXT = (
    "Wann gilt ein schriftlicher Verwaltungsakt als bekannt gegeben? Am vierten Tag nach der Aufgabe zur Post.",
    "Gegen diesen Bescheid kann Einspruch eingelegt werden. Maßgeblich ist § 122 AO. Sei knapp. Nach der AO.",
    "Welche Vorschrift gilt für den Bebauungsplan? Maßgeblich ist § 30 BauGB. Wann? Norm? Ja.",
)
SPECIAL = ["<pad>", "<s>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
CLAIM = "clara-artifacts"
GOLDEN_DIGEST = json_digest("golden")


def tiny_tokenizer(template: str = MARKED_TEMPLATE) -> Any:
    """A byte-level BPE of 320 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<|end|>", pad_token="<pad>", model_max_length=256
    )
    fast.chat_template = template
    return fast


@functools.cache
def tiny_base() -> Path:
    """A random Llama of 40,000 parameters with tokenizer and chat template; made once per test process."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = Path(tempfile.mkdtemp(prefix="clara-tiny-base-"))
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def base_digest(folder: Path) -> str:
    """As the API defines it."""
    files = [path for path in folder.iterdir() if is_base_model_file(path.name)]
    return listing_digest((f.name, f.stat().st_size, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files)


def pairs(count: int = 24) -> list[dict[str, Any]]:
    """Rows that can be learned."""
    laws = (("Bekanntgabe", "§ 122 AO"), ("Bebauungsplan", "§ 30 BauGB"), ("Verwaltungsakt", "§ 35 VwVfG"))
    return [
        {"prompt": f"Norm für {laws[n % 3][0]}, Fall {n}?", "completion": f"Maßgeblich ist {laws[n % 3][1]}."}
        for n in range(count)
    ]


class Lab:
    """One namespace's volume, with a base and training data in it."""

    def __init__(self, root: Path) -> None:
        # One thread: spinning worker threads of a shared machine cost more than a model of this size gains.
        os.environ["OMP_NUM_THREADS"] = "1"
        self.root = root
        self.claim = root / "volumes" / CLAIM
        self.claim.mkdir(parents=True)
        (self.claim / "models").mkdir()
        (self.claim / "models" / "tiny").symlink_to(self.claim / "models" / "tiny-files")
        (self.claim / "models" / "tiny-files").mkdir()
        for path in tiny_base().iterdir():
            (self.claim / "models" / "tiny-files" / path.name).write_bytes(path.read_bytes())
        self.base = {"name": "tiny", "uri": f"volume://{CLAIM}/models/tiny", "digest": base_digest(tiny_base())}
        self.write_rows("steuerrecht.jsonl", pairs())

    def write_rows(self, name: str, rows: list[Any]) -> None:
        """A JSONL file below data/; a string is written as it is."""
        (self.claim / "data").mkdir(exist_ok=True)
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        (self.claim / "data" / name).write_text("\n".join(lines) + "\n")

    def train_run(self, uid: str = "uid-1", **hyperparameters: Any) -> dict[str, Any]:
        """A small run that takes a second."""
        defaults = {"rank": 4, "alpha": 8, "learningRate": 5e-3, "epochs": 2, "globalBatchSize": 8, "maxLength": 128}
        return {
            "kind": "Train",
            "namespace": "amt",
            "name": "steuerrecht-1",
            "uid": uid,
            "attempt": 1,
            "family": "steuerrecht",
            "baseModel": self.base,
            "hyperparameters": defaults | hyperparameters,
            "data": [{"name": "steuerrecht.jsonl", "uri": f"volume://{CLAIM}/data/steuerrecht.jsonl"}],
            "validationFraction": 0.1,
            "artifactUri": f"volume://{CLAIM}/adapters/amt/steuerrecht/{uid}/1",
            "license": "CC0-1.0",
        }

    def evaluation_run(self, trained: Outcome, **fields: Any) -> dict[str, Any]:
        """Judge what was trained by six questions."""
        samples = [
            {"id": f"s{n}", "group": f"g{n % 3}", "prompt": row["prompt"], "reference": row["completion"]}
            for n, row in enumerate(pairs(6))
        ]
        run = {
            "kind": "Evaluate",
            "namespace": "amt",
            "name": "steuerrecht-1.0.0",
            "uid": "adp-1",
            "family": "steuerrecht",
            "version": "1.0.0",
            "baseModel": self.base,
            "artifactUri": trained.artifact_uri,
            "artifactDigest": trained.artifact_digest,
            "adapterObject": {
                "apiVersion": "clara.vcc.dev/v1alpha1",
                "kind": "Adapter",
                "metadata": {"name": "steuerrecht-1.0.0", "namespace": "amt"},
                "spec": {"approval": {}},
            },
            "goldenName": "steuerrecht-golden-v1",
            "goldenDigest": GOLDEN_DIGEST,
            "samples": samples,
            "scorers": [{"name": "tokenF1"}, {"name": "citation", "weight": 2}],
            "maxNewTokens": 8,
        }
        return run | fields

    def spoil_base(self) -> None:
        """Make the base compute not-a-number, under its own new digest."""
        import numpy
        from safetensors.numpy import load_file, save_file

        path = self.claim / "models" / "tiny-files" / "model.safetensors"
        tensors = load_file(path)
        tensors["model.norm.weight"] = numpy.full_like(tensors["model.norm.weight"], numpy.nan)
        save_file(tensors, path, metadata={"format": "pt"})
        self.base = self.base | {"digest": base_digest(path.parent)}

    def path(self, uri: str) -> Path:
        """Where a volume URI lies on this disk."""
        return self.root / "volumes" / uri.removeprefix("volume://")

    def do(self, run: dict[str, Any]) -> Outcome:
        """Carry a run out in this process; failures are raised."""
        from clara_trainer.__main__ import carry_out

        settings = Settings.from_env(self._env())
        with tempfile.TemporaryDirectory(dir=self.root) as scratch, sigterm_kept():
            fresh = Settings(
                termination_log=settings.termination_log,
                volume_root=settings.volume_root,
                scratch=Path(scratch),
                judge_token_file=settings.judge_token_file,
                store_patience=2,
            )
            return carry_out(RUN.validate_python(run), fresh)

    def start(self, run: dict[str, Any], *, program: str | None = None) -> subprocess.Popen[bytes]:
        """Start the real program, as a pod does; stderr is its log."""
        (self.root / "run.json").write_text(json.dumps(run))
        command = [sys.executable, "-c", program] if program else [sys.executable, "-m", "clara_trainer"]
        env = os.environ | self._env() | {"PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.Popen([*command, str(self.root / "run.json")], env=env, stderr=subprocess.PIPE)

    def outcome(self) -> Outcome | None:
        """The termination message the last program left."""
        log = self.root / "termination-log"
        return parse_outcome(log.read_text()) if log.exists() else None

    def _env(self) -> dict[str, str]:
        return {
            "CLARA_TERMINATION_LOG": str(self.root / "termination-log"),
            "CLARA_VOLUME_ROOT": str(self.root / "volumes"),
            "CLARA_SCRATCH_DIR": str(self.root / "scratch"),
            "CLARA_JUDGE_TOKEN_FILE": str(self.root / "judge-token"),
        }


@contextmanager
def sigterm_kept() -> Iterator[None]:
    """Publishing ignores SIGTERM from the manifest on; a test process wants its own handler back."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
