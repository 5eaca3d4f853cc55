"""Prompts as numbers: what every family's tokenizer does with placeholders and class nouns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...errors import UsageError


def token_ids(tokenizer: Any, prompts: Sequence[str], placeholders: Sequence[str], length: int) -> Tensor:
    """(B, length), on the CPU: what is asked of them is no device's business. Every placeholder is one token of its own, a new one if need be.

    Raises:
        UsageError: a placeholder stands behind the last token that is read.
    """
    from transformers import AddedToken

    fresh = [p for p in placeholders if p not in tokenizer.get_added_vocab()]
    if fresh:  # lower-casing would fold <V1> into <v1>
        tokenizer.add_tokens([AddedToken(p, normalized=False, special=True) for p in fresh])
    encoded = tokenizer(
        list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    ids: Tensor = encoded.input_ids
    known = tokenizer.get_added_vocab()
    for prompt, row in zip(prompts, ids, strict=True):
        lost = [p for p in placeholders if p in prompt and not (row == known[p]).any()]
        if lost:
            raise UsageError(
                f"{lost[0]} stands too late in '{prompt}': this base reads "
                f"{length - tokenizer.num_special_tokens_to_add()} tokens",
                "shorten the prompt",
            )
    return ids


def noun_ids(tokenizer: Any, noun: str) -> Tensor:
    """(1, T): a class noun's tokens alone. Raises UsageError if it has none."""
    ids: Tensor = tokenizer(noun, add_special_tokens=False, return_tensors="pt").input_ids
    if ids.numel() == 0:
        raise UsageError(
            f"the class noun {noun!r} has no letters", "name the kind of thing, such as dog or toy"
        )
    return ids
