"""GoldenDataset (gds): an immutable benchmark that judges the adapters of one family."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from clara_api.meta import Digest, Family, LocalRef, Model, ShortText, Status

Text = Annotated[str, StringConstraints(min_length=1, max_length=8192)]
Difficulty = Literal["easy", "medium", "hard"]
ScorerName = Literal["exact", "tokenF1", "citation", "regex"]


class Constraints(Model):
    """Hard constraints of one sample: breaking one sends the adapter to review, whatever its score."""

    must_cite: list[Annotated[str, StringConstraints(min_length=3, max_length=128)]] = Field(
        default_factory=list, max_length=16, description="Norms the answer must cite, for example '§ 122 AO'."
    )
    must_match: list[Annotated[str, StringConstraints(min_length=1, max_length=512)]] = Field(
        default_factory=list, max_length=8, description="Regular expressions (RE2 subset) the answer must match."
    )
    must_not_match: list[Annotated[str, StringConstraints(min_length=1, max_length=512)]] = Field(
        default_factory=list, max_length=8, description="Regular expressions the answer must not match."
    )


class Sample(Model):
    """One question with its reference answer."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=63)] = Field(
        description="Unique in the set."
    )
    group: Annotated[str, StringConstraints(max_length=63)] | None = Field(
        default=None, description="Samples of one source count as one cluster; without it each sample is its own."
    )
    prompt: Text = Field(description="What the adapter is asked, as one user message.")
    reference: Text = Field(description="The answer an expert would give.")
    difficulty: Difficulty = Field(default="medium", description="easy, medium or hard; shown in the report.")
    pattern: Annotated[str, StringConstraints(max_length=512)] | None = Field(
        default=None, description="What the scorer 'regex' looks for in the answer."
    )
    constraints: Constraints | None = Field(default=None, description="What the answer must or must not hold.")


class Scorer(Model):
    """A local scorer and its weight in the mean."""

    name: ScorerName = Field(description="exact, tokenF1, citation (norms such as '§ 35 VwVfG') or regex.")
    weight: float = Field(default=1, gt=0, le=100, description="Weight in the mean.")


class Judge(Model):
    """An OpenAI-compatible endpoint that grades answers by weighted criteria (accuracy 2.0, relevance 1.5, style 1.0,
    completeness 1.5, coherence 1.0)."""

    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=512)] = Field(
        description="Base URL up to and with /v1."
    )
    model: Annotated[str, StringConstraints(min_length=1, max_length=253)] = Field(description="Model name sent to it.")
    secret_ref: LocalRef | None = Field(
        default=None,
        description="Secret with the key 'token'. Whoever writes this must be allowed to read that Secret.",
    )


class Thresholds(Model):
    """Scores from 0 to 100."""

    approve: float = Field(default=85, ge=0, le=100, description="From here on an adapter is approved.")
    review: float = Field(default=70, ge=0, le=100, description="From here on a person decides; below it is rejected.")
    sample_pass: float = Field(default=70, ge=0, le=100, description="A sample at or above counts in the pass rate.")


class GoldenDatasetSpec(Model):
    """The benchmark. Everything but judge.endpoint and judge.secretRef is immutable: make a new set instead."""

    family: Family = Field(description="The domain it judges.")
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")] = Field(
        default="de", description="Language of the samples, ISO 639-1."
    )
    samples: list[Sample] = Field(
        min_length=1,
        max_length=200,
        description="The questions, unique by id.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"]},
    )
    scorers: list[Scorer] = Field(
        default_factory=lambda: [Scorer(name="tokenF1"), Scorer(name="citation", weight=2)],
        min_length=1,
        max_length=8,
        description="Local scorers; without a judge the score is 100 x their weighted mean.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    judge: Judge | None = Field(default=None, description="With a judge the score is the judge's.")
    thresholds: Thresholds = Field(
        default_factory=Thresholds,
        description="Where a score is approved, reviewed or rejected.",
    )
    mode: Literal["raw"] = Field(default="raw", description="raw: the plain mean decides, and the message says so.")
    max_new_tokens: int = Field(default=256, ge=1, le=4096, description="Longest answer, in tokens.")


class GoldenDatasetDisplay(Model):
    """Composed strings for people."""

    approves_from: ShortText = ""
    judge: ShortText = ""


class GoldenDatasetStatus(Status):
    """What is known about the benchmark."""

    digest: Digest | None = Field(default=None, description="Digest of all that decides a score; reports lie under it.")
    samples: int = Field(default=0, description="Number of samples.")
    groups: int = Field(default=0, description="Number of clusters.")
    display: GoldenDatasetDisplay = Field(default_factory=GoldenDatasetDisplay)
