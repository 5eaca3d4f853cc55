"""What a prompt says of whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccvd_cli.prompts import named, plainly, told_apart, without_styles

NOUNS = {"V1": "dog", "V2": "cat", "V3": "car", "V10": "cat"}


@pytest.mark.parametrize(
    ("prompt", "apart"),
    [
        (
            "a <V1> dog and a <V2> cat jumping on the beach",
            ["a <V1> dog jumping on the beach", "a <V2> cat jumping on the beach"],
        ),
        (
            "in the snow, a <V2> cat, the <V1> dog and my <V3> car",
            ["in the snow, a <V2> cat", "in the snow, the <V1> dog", "in the snow, my <V3> car"],
        ),
        (
            "a <V1> dog performing <V4> next to a <V2> cat performing <V5> in the snow in <V7> style",
            [
                "a <V1> dog performing <V4> in the snow in <V7> style",
                "a <V2> cat performing <V5> in the snow in <V7> style",
            ],
        ),
        (
            "a <V1> dog on the left and a <V2> cat on the right in the snow",
            ["a <V1> dog on the left in the snow", "a <V2> cat on the right in the snow"],
        ),
        (
            "a <V1> dog jumping and a <V2> cat spinning on the beach",
            ["a <V1> dog jumping on the beach", "a <V2> cat spinning on the beach"],
        ),
        ("a <V1> dog and a <V2> cat, in the snow", ["a <V1> dog, in the snow", "a <V2> cat, in the snow"]),
        ("a <V1> dog and a <V10> cat", ["a <V1> dog", "a <V10> cat"]),
        ("a <V1> and a <V2> performing <V4>", ["a <V1> performing <V4>", "a <V2> performing <V4>"]),
        (
            "a red <V1> dog and a big blue <V2> cat on the beach",
            ["a red <V1> dog on the beach", "a big blue <V2> cat on the beach"],
        ),
        (
            "the photo of a <V1> dog with a ball and <V2> cat",
            ["the photo of a <V1> dog with a ball", "the photo of <V2> cat"],
        ),
        ("a <V1> dog on the moon", ["a <V1> dog on the moon"]),
        ("a red dog", []),
    ],
)
def test_subjects_are_told_apart(prompt: str, apart: list[str]) -> None:
    assert told_apart(prompt, NOUNS) == apart


@given(
    st.permutations(["V1", "V2", "V3"]),
    st.lists(st.sampled_from([" and ", ", ", " with ", " chasing "]), min_size=2, max_size=2),
    st.sampled_from(["", " on the beach", " performing <V9> in the snow"]),
)
def test_each_is_told_of_one_subject_and_of_all_that_they_share(
    names: list[str], joints: list[str], tail: str
) -> None:
    phrases = [f"a <{n}> {NOUNS[n]}" for n in names]
    prompt = f"{phrases[0]}{joints[0]}{phrases[1]}{joints[1]}{phrases[2]}{tail}"
    apart = told_apart(prompt, NOUNS)
    assert [[n for n in named(text) if n in NOUNS] for text in apart] == [[n] for n in names]
    shared = tail.removeprefix(" performing <V9>") if " chasing " in joints else tail
    assert all(text.endswith(shared.strip()) for text in apart)


@pytest.mark.parametrize(
    ("prompt", "plain"),
    [
        ("a <V1> dog surfing", "a dog surfing"),
        ("a <V1> surfing, <V1> dogs", "a dog surfing, dog dogs"),
        ("a <V6> teddy bear and a <V6> bear", "a teddy bear and a teddy bear"),
        ("a man performing <V3> in <V7> style", "a man performing tai chi in drawing style"),
        ("a <V2> on the moon, performing <V4> in the <V8> style", "a thing on the moon, moving"),
        ("a dog performing the <V4>", "a dog moving"),
        ("a dog", "a dog"),
        ("a <V9> dog", "a <V9> dog"),
    ],
)
def test_class_nouns_stand_for_names(prompt: str, plain: str) -> None:
    concepts = {
        "V1": ("subject", "dog"),
        "V2": ("subject", ""),
        "V3": ("motion", "tai chi"),
        "V4": ("motion", ""),
        "V6": ("subject", "teddy bear"),
        "V7": ("style", "drawing style"),
        "V8": ("style", ""),
    }
    assert plainly(prompt, concepts) == plain


def test_nouns_may_end_in_any_sign_and_blanks_cost_nothing() -> None:
    assert plainly("a <V1> c++ running", {"V1": ("subject", "c++")}) == "a c++ running"
    wide = " " * 20_000
    assert told_apart(f"a <V1>{wide}dog{wide}and a <V2> cat", {"V1": "dog", "V2": "cat"}) == [
        "a <V1> dog",
        "a <V2> cat",
    ]


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("a <V1> dog on the beach in <V7> style", "a <V1> dog on the beach"),
        ("a <V1> dog in the <V7> style on the beach", "a <V1> dog on the beach"),
        ("a dog, in the style of <V7>", "a dog"),
        ("a dog painted in <V7> style.", "a dog"),
        ("In <V7> style, a dog", "a dog"),
        ("a dog in <V7> style in <V8> style", "a dog"),
        ("a dog in <V9> style", "a dog in <V9> style"),  # none of those asked about
        ("in <V7> style.", ""),
        ("a <V7> painting of a dog", ""),
        ("a dog in <V7> and <V8> style", ""),
    ],
)
def test_what_is_shown_is_what_is_left_of_a_style(prompt: str, shown: str) -> None:
    assert without_styles(prompt, ["V7", "V8"]) == shown


@given(
    st.sampled_from(["", " in the snow", ", jumping"]),
    st.sampled_from(["in <V7> style", "in the style of <V7>"]),
)
def test_a_style_leaves_no_trace_wherever_it_stands(more: str, style: str) -> None:
    assert without_styles(f"a <V1> dog{more} {style}", ["V7"]) == f"a <V1> dog{more}"
    assert without_styles(f"a <V1> dog {style}{more}", ["V7"]) == f"a <V1> dog{more}"
