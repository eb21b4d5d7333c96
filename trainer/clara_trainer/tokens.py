"""Rows → token ids and labels. The loss is on what the assistant says only; of plain text on everything.

Called by train.py with the base's tokenizer. The chat template decides the layout; where it marks the assistant's words
({% generation %}) its mask is used, otherwise the words are found as the difference between a conversation with and without
the answer, and that the template only ever appends is checked, not assumed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clara_trainer.rows import Message, Row

IGNORED = -100  # the label that torch's cross entropy leaves out
ANY_DAY = datetime(
    2026, 1, 1, tzinfo=UTC
)  # some templates write today's date; what is learned must not depend on the day
GENERATION_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True, slots=True)
class Example:
    """One row as the model sees it; equally long."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    cut: int = 0  # tokens beyond maxLength, left out

    @property
    def truncated(self) -> bool:
        """Whether something was left out."""
        return self.cut > 0

    @property
    def supervised(self) -> int:
        """Tokens that carry loss: the first token of all has nothing before it."""
        return sum(label != IGNORED for label in self.labels[1:])


def example_of(row: Row, tokenizer: Any, *, max_length: int) -> Example:
    """One row, cut at `max_length` tokens; ValueError, with the rest of a sentence, when nothing is left to learn."""
    example = encode(row, tokenizer, max_length=max_length)
    if example.supervised == 0:
        raise ValueError(nothing_left(example))
    return example


def encode(row: Row, tokenizer: Any, *, max_length: int) -> Example:
    """One row, cut at `max_length` tokens, even if no answer is left; ValueError when the template cannot lay it out."""
    ids, learned = _text(row.text, tokenizer) if row.text else _conversation(row.messages, tokenizer)
    labels = [token if learn else IGNORED for token, learn in zip(ids, learned, strict=True)]
    cut = max(0, len(ids) - max_length)
    return Example(tuple(ids[:max_length]), tuple(labels[:max_length]), cut)


def nothing_left(example: Example) -> str:
    """Why an example without supervised tokens has none, as the rest of a sentence."""
    where = f"begins its answer after maxLength ({len(example.ids)} tokens)" if example.cut else "has no answer tokens"
    return f"{where}; nothing is left to learn"


def _text(text: str, tokenizer: Any) -> tuple[list[int], list[bool]]:
    ids = list(tokenizer(text)["input_ids"])
    if tokenizer.eos_token_id is not None and ids[-1:] != [tokenizer.eos_token_id]:
        ids.append(tokenizer.eos_token_id)  # where texts end is learned too
    return ids, [True] * len(ids)


def _conversation(messages: Sequence[Message], tokenizer: Any) -> tuple[list[int], list[bool]]:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    template = tokenizer.chat_template
    if not template:
        raise ValueError("is a conversation, but the base model has no chat template; use the format text")
    try:
        if isinstance(template, str) and GENERATION_MARK.search(template):
            marked = _templated(turns, tokenizer, return_assistant_tokens_mask=True)
            return list(marked["input_ids"]), [bool(mark) for mark in marked["assistant_masks"]]
        return _by_prefix_difference(turns, tokenizer)
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "jinja2":
            raise
        raise ValueError(f"is refused by the base model's chat template ({error})") from error


def _by_prefix_difference(turns: list[dict[str, str]], tokenizer: Any) -> tuple[list[int], list[bool]]:
    """An answer is what the conversation with it has more than the conversation that asks for it."""
    whole = _ids(turns, tokenizer)
    learned = [False] * len(whole)
    for place, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        asked = _ids(turns[:place], tokenizer, add_generation_prompt=True)
        answered = _ids(turns[: place + 1], tokenizer)
        if answered[: len(asked)] != asked or whole[: len(answered)] != answered:
            raise ValueError(
                "cannot be masked: the base model's chat template rewrites earlier turns; "
                "add {% generation %} marks to the template"
            )
        learned[len(asked) : len(answered)] = [True] * (len(answered) - len(asked))
    return whole, learned


def _ids(turns: list[dict[str, str]], tokenizer: Any, *, add_generation_prompt: bool = False) -> list[int]:
    return list(_templated(turns, tokenizer, add_generation_prompt=add_generation_prompt)["input_ids"])


def _templated(turns: list[dict[str, str]], tokenizer: Any, **options: bool) -> Any:
    return tokenizer.apply_chat_template(turns, return_dict=True, strftime_now=ANY_DAY.strftime, **options)
