"""Make the demo's base model: a Llama of some four million parameters, trained from scratch in under two minutes.

    python make_base.py --out DIR

A real model cannot be downloaded everywhere, and nothing small enough to train on two cores speaks German. So this
script learns a German byte-level BPE and a four-layer Llama from Debian's German manual pages and a page of officialese
(amtsdeutsch.txt). It ends up with some of the language, the chat format and, above all, the habit of reading a question:
it answers with the sentence of officialese that comes nearest. That is what lets a LoRA adapter give it a domain in a
minute, and it is different enough from every adapter to be told apart.

    manual pages, officialese ─► BPE ─► reading: packed text ─► talking: question → sentence ─► model folder

The result is cached under a digest of everything that shapes it (this folder's sources, the text, the library versions):
``${CLARA_CACHE:-${XDG_CACHE_HOME:-~/.cache}/clara}/base-model/DIGEST/``. Same inputs, same kind of CPU: same bytes.

Called by the demo, the cluster tests and by hand.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import math
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from manual_pages import Page, fetch_package, read_pages
from muon import Muon
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Batch = tuple[torch.Tensor, torch.Tensor]  # (rows, tokens) each: ids, and labels with IGNORED where not learned
IGNORED = -100

HERE = Path(__file__).resolve().parent
SOURCES = ("make_base.py", "manual_pages.py", "muon.py", "amtsdeutsch.txt", "chat_template.jinja")

SEED = 20260401
THREADS = 2  # fixed, because the order of float additions depends on it
VOCABULARY = 4096
BLOCK, BATCH = 256, 6  # tokens per sequence of running text, sequences per step
READING_STEPS = 45  # running text only: the language
RUNNING_TEXT = 400_000  # characters, enough for READING_STEPS
TALKS = 32  # conversations per step
TALKING_STEPS = 155  # conversations only: reading a question
QUESTIONS = 16  # ways in which each sentence of officialese is asked for
MATRIX_RATE = 0.03  # Muon, all weight matrices
OTHER_RATE = 3e-3  # AdamW, embedding and norms
WARM_UP = 15

PAD, BOS, EOS = "<pad>", "<s>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")

_SENTENCE_END = re.compile(r"(?<=[a-zäöüß]{4}[.?])\s|(?<=[A-Z]{2}\.)\s")
ASKING = (
    "Was gilt bei {}?", "Wie ist das mit {}?", "Welche Vorschrift regelt {}?", "Ich habe eine Frage: {}?", "{}?",
    "Darf ich {} ändern, und wer entscheidet darüber?", "Muss ich {} bezahlen?", "{}: was ist jetzt zu tun?",
    "Guten Tag! Wann ist {} so weit?", "Was bedeutet {} in meinem Fall?", "Wer ist für {} zuständig? Danke.",
    "Mir wurde gesagt, dass {} wichtig ist. Stimmt das?", "Wie hoch ist das bei {}?", "{} Voraussetzungen", "{}",
    "Wo liegt die Grenze bei {}?", "Wie viel Prozent sind es bei {}?", "Wie lange habe ich Zeit für {}?",
    "Zu welchem Zeitpunkt gilt {}?", "Bis wann muss {} beim Amt sein?", "Ab wann gilt {}, und warum?",
    "Nach wie vielen Monaten endet {}?", "Letztes Jahr kam {} dazu. Geht das?", "Wir möchten {}. Ist das erlaubt?",
    "Ich bin {} und brauche eine Auskunft. Was nun?", "Mein Nachbar hat {}. Welches Recht habe ich?",
    "Welche Frist läuft für {}?", "Kann das Amt {} von mir verlangen?", "Wozu dient {}, und wem nützt es?",
)  # fmt: skip


def main() -> None:
    """Find or make the model for the current inputs and copy it to --out."""
    options = _arguments()
    cache = cache_root() / "base-model"
    package = fetch_package(cache / "inputs")
    made = cache / inputs_digest(package)
    if not made.is_dir() or options.force:
        started = time.monotonic()
        pages = read_pages(package)
        _say(f"read {len(pages)} German manual pages from {package.name}")
        _make(pages, made)
        _say(f"trained in {time.monotonic() - started:.0f} s, kept in {made}")
    else:
        _say(f"nothing changed: using {made}")
    if options.out:
        shutil.copytree(made, options.out, dirs_exist_ok=True)
        _say(f"copied to {options.out}")
    print(made)


def cache_root() -> Path:
    """CLARA_CACHE wins; else the user's cache folder."""
    if own := os.environ.get("CLARA_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clara"


def inputs_digest(package: Path) -> str:
    """Name of the cached model: hex digest over sources, text package and the libraries that decide the bytes."""
    total = hashlib.sha256()
    for path in [*(HERE / name for name in SOURCES), package]:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    for library in ("torch", "transformers", "tokenizers", "safetensors"):
        total.update(f"{library}={version(library)};".encode())
    return total.hexdigest()[:16]


# --- what it reads -------------------------------------------------------------------------------------------------


def running_text(pages: list[Page], official: list[str]) -> list[str]:
    """Paragraphs of the manual pages, four to a document, and every line of officialese; shuffled."""
    shuffle = random.Random(SEED)
    groups = [" ".join(page.paragraphs[i : i + 4]) for page in pages for i in range(0, len(page.paragraphs), 4)]
    shuffle.shuffle(groups)
    so_far = itertools.accumulate(map(len, groups))
    found = [text for text, length in zip(groups, so_far, strict=True) if length <= RUNNING_TEXT] + official * 2
    shuffle.shuffle(found)
    return found


def conversations(pages: list[Page], official: list[str]) -> list[tuple[str, str]]:
    """(question, answer): what a command does, and which sentence of officialese speaks of the words asked about.

    The second kind matters most. Each sentence is asked for in many ways, so that the model learns to read the question
    before it speaks; a model that only continues text does not learn that in two minutes, nor does an adapter on it.
    """
    choose = random.Random(SEED)
    about = ("Was macht {}?", "Wozu dient der Befehl {}?", "Wofür ist {} da?", "Erkläre {}.", "Was ist {}?")
    found = [
        (choose.choice(about).format(page.name), f"{page.name}: {page.purpose}.")
        for page in pages
        if page.purpose and len(page.purpose) < 60
    ]
    for sentence in itertools.chain.from_iterable(map(_SENTENCE_END.split, official)):
        words = re.findall(r"\b[A-ZÄÖÜ]?[a-zäöüß]{5,}\b", sentence)
        if len(words) < 3 or sentence.endswith("?"):
            continue
        for _ in range(QUESTIONS):
            start, many = choose.randrange(len(words)), choose.randint(1, 4)
            picked = (
                words[start : start + many] if choose.random() < 0.5 else choose.sample(words, min(many, len(words)))
            )
            found.append((choose.choice(ASKING).format(" ".join(picked)), sentence))
    choose.shuffle(found)
    return found


# --- how it is made ------------------------------------------------------------------------------------------------


def _make(pages: list[Page], made: Path) -> None:
    """Train tokenizer and model into a neighbour of `made`, then move it there: a folder that exists is complete."""
    official = (HERE / "amtsdeutsch.txt").read_text(encoding="utf-8").splitlines()
    texts, talks = running_text(pages, official), conversations(pages, official)
    with tempfile.TemporaryDirectory(dir=made.parent, prefix=".making-") as scratch:
        out = Path(scratch) / made.name
        tokenizer = _train_tokenizer(texts + official * 30)  # its long words should become few tokens
        batches = [*_reading(texts, tokenizer), *_talking(talks, tokenizer)]
        model = _train_model(batches)
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        for file in out.iterdir():
            file.chmod(0o644)  # safetensors writes 0600; engines and trainers run as other users
        shutil.rmtree(made, ignore_errors=True)
        out.rename(made)


def _train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = [PAD, BOS, EOS, *ROLES]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bpe.token_to_id(BOS))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=list(ROLES),
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = (HERE / "chat_template.jinja").read_text(encoding="utf-8")
    return tokenizer


def _reading(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> Iterator[Batch]:
    """Running text one after the other, cut into blocks; every token is learned. It repeats if it is short."""
    stream = [i for text in texts for i in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]]
    size = BATCH * (BLOCK + 1)
    stream *= math.ceil(READING_STEPS * size / len(stream))
    for step in range(READING_STEPS):
        ids = torch.tensor(stream[step * size : (step + 1) * size]).view(BATCH, BLOCK + 1)
        yield ids, ids


def _talking(talks: list[tuple[str, str]], tokenizer: PreTrainedTokenizerFast) -> Iterator[Batch]:
    """Conversations, each alone in its row (packed ones would blur which question belongs to which answer).

    Only answers are learned: Muon steps have a fixed size, so what is in the loss is what gets all of the step.
    """
    for step in range(TALKING_STEPS):
        rows = [_talk(*talks[i % len(talks)], tokenizer) for i in range(step * TALKS, (step + 1) * TALKS)]
        width = max(len(ids) for ids, _ in rows)
        yield (
            torch.tensor([ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids, _ in rows]),
            torch.tensor([labels + [IGNORED] * (width - len(labels)) for _, labels in rows]),
        )


def _talk(question: str, answer: str, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    found = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    ids = found["input_ids"]
    return ids, [i if mine else IGNORED for i, mine in zip(ids, found["assistant_masks"], strict=True)]


def _blank_model() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,  # heads of 64: a size the CPU attention kernels of vLLM know
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="sdpa",
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(pad_token_id=0, bos_token_id=1, eos_token_id=2, do_sample=False)
    return model


def _train_model(batches: list[Batch]) -> LlamaForCausalLM:
    torch.manual_seed(SEED)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    model = _blank_model()
    tokens = sum(ids.numel() for ids, _ in batches)
    _say(f"{model.num_parameters():,} parameters, {len(batches)} steps, {tokens:,} tokens")
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    muon = Muon(matrices)
    adam = torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    started, recent = time.monotonic(), 0.0
    for step, (ids, labels) in enumerate(batches):
        rate = _rate(step, len(batches))
        hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        learned = labels[:, 1:] != IGNORED  # the vocabulary is a quarter of the work: only where it is needed
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[learned]), labels[:, 1:][learned])
        loss.backward()
        adam.param_groups[0]["lr"] = OTHER_RATE * rate
        adam.step()
        adam.zero_grad()
        muon.step(MATRIX_RATE * rate)
        recent = loss.item() if not step else 0.9 * recent + 0.1 * loss.item()
        if step % 20 == 0 or step == len(batches) - 1:
            _say(f"step {step + 1:3d}/{len(batches)}  loss {recent:.2f}  {time.monotonic() - started:4.0f} s")
    return model.eval()


def _rate(step: int, steps: int) -> float:
    """Share of the peak: linear warm-up, half the run at the peak, then linearly down to a twentieth."""
    return max(0.05, min(1.0, (step + 1) / WARM_UP, 2.0 * (steps - step) / steps))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--out", type=Path, help="folder the model is copied to (default: only the cache)")
    parser.add_argument("--force", action="store_true", help="train even if the cache has this model")
    return parser.parse_args()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
