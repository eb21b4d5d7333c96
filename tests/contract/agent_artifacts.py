"""Real adapters in a volume store: made with peft on the real base, published with a real manifest and fingerprint."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from clara_api.adapter import engine_name
from clara_api.digests import is_base_model_file, listing_digest, sha256_digest
from clara_api.fingerprint import Fingerprint
from clara_api.handoff.artifact import CONFIG, FINGERPRINT, WEIGHTS, FileEntry, Manifest

MODULES = ["q_proj", "v_proj"]
CACHED_BASES = Path.home() / ".cache" / "clara" / "base-model"


def base_model(scratch: Path) -> Path:
    """The trained demo base when this machine has one, otherwise a random one of the same shape."""
    for folder in sorted(CACHED_BASES.glob("*")):
        if (folder / "model.safetensors").is_file() and (folder / "tokenizer.json").is_file():
            return folder
    return _random_base(scratch / "base")


def _random_base(folder: Path) -> Path:
    import torch
    from clara_api.fingerprint import PROMPTS
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=512, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    bpe.train_from_iterator(PROMPTS, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def base_digest(folder: Path) -> str:
    files = [f for f in folder.iterdir() if is_base_model_file(f.name)]
    return listing_digest((f.name, f.stat().st_size, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files)


class Workshop:
    """Makes adapters of one base and publishes them below `volumes`/store."""

    def __init__(self, base: Path, volumes: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._base = base
        self._digest = base_digest(base)
        self._store = volumes / "store"
        self._tokenizer = AutoTokenizer.from_pretrained(base)
        self._load = lambda: AutoModelForCausalLM.from_pretrained(base, dtype="float32")

    def adapter(
        self,
        family: str,
        *,
        seed: int,
        changes: bool = True,
        recorded: Fingerprint | None = None,
        base: str | None = None,
    ) -> dict[str, Any]:
        """Publish one; returns its wanted entry (engineName, digest, uri). `recorded` forges the fingerprint."""
        import torch
        from clara_trainer.fingerprint import measure
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(seed)
        model = get_peft_model(self._load(), LoraConfig(r=8, lora_alpha=16, target_modules=MODULES))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name and changes:
                    weight.normal_(0, 0.05)
        folder = self._store / family
        model.eval().save_pretrained(folder)
        fingerprint = recorded or measure(model, self._tokenizer, dtype="float32")
        (folder / FINGERPRINT).write_text(json.dumps(fingerprint.wire()))
        return self.publish(family, base=base)

    def publish(self, family: str, *, base: str | None = None) -> dict[str, Any]:
        """Write manifest.json over what lies in the folder."""
        folder = self._store / family
        names = (WEIGHTS, CONFIG, FINGERPRINT)
        manifest = Manifest(
            family=family,
            base_model={"name": "tiny-de", "digest": base or self._digest},
            rank=8,
            alpha=16,
            target_modules=MODULES,
            weights_digest=sha256_digest((folder / WEIGHTS).read_bytes()),
            files=[_entry(folder / name) for name in names],
        )
        (folder / "manifest.json").write_bytes(manifest.to_bytes())
        return wanted(family, manifest.digest())

    def fingerprint(self, family: str) -> Fingerprint:
        return Fingerprint.model_validate_json((self._store / family / FINGERPRINT).read_bytes())


def wanted(family: str, digest: str, state: str = "load") -> dict[str, Any]:
    name = engine_name(family, "1.0.0", digest)
    return {"engineName": name, "digest": digest, "uri": f"volume://store/{family}", "state": state}


def _entry(file: Path) -> FileEntry:
    content = file.read_bytes()
    return FileEntry(path=file.name, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def environment(python_path: list[Path], **more: str) -> dict[str, str]:
    """A child's environment: our folders first on its path, nothing else of ours."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(str(p) for p in python_path)} | more
