"""Which concepts a prompt names: `<V1>` stands for the concept V1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from .errors import UsageError

_PLACEHOLDER = re.compile(r"<([^<>]*)>")
_NO_TEXT = re.compile("[\ud800-\udfff]")  # what Python makes of bytes in another encoding
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")  # the registry's rule for names
# How a sentence names a kind, and which kinds have no business there. A subject stands anywhere, and "a <V7> painting" may mean a style.
_ROLES = {
    "motion": (
        re.compile(r"\b(?:performing|doing)\s+(?:the\s+|an?\s+)?<(?P<name>[^<>]*)>", re.IGNORECASE),
        {"subject", "style"},
    ),
    "style": (
        re.compile(
            r"\b(?:style\s+of|in(?:\s+the|\s+an?)?(?=\s+<[^<>]*>\s+style\b))\s+<(?P<name>[^<>]*)>(?:\s+style\b)?",
            re.IGNORECASE,
        ),
        {"subject", "motion"},
    ),
    "subject": (
        re.compile(
            r"\b(?P<performed>(?:performing|doing)\s+)?(?:an?|my|one)\s+<(?P<name>[^<>]*)>", re.IGNORECASE
        ),
        {"motion"},
    ),
}
_SAID = {"subject": "a <{}>", "motion": "performing <{}>", "style": "in <{}> style"}
_HINT = "A prompt names a concept as <V1>: a letter, then at most 31 letters, digits, '-' or '_'."


def named(prompt: str) -> list[str]:
    """The names of the placeholders in `prompt`, in order, each once.

    Raises:
        UsageError: the prompt is empty, is no text, or holds `<` or `>` in anything but a placeholder.
    """
    if not prompt.strip():
        raise UsageError("The prompt is empty.", 'Say what to show, such as "a <V1> dog surfing".')
    if _NO_TEXT.search(prompt):
        raise UsageError(f"The prompt '{prompt}' is not UTF-8.", "Type it in a terminal that is.")
    names: dict[str, None] = {}
    for found in _PLACEHOLDER.finditer(prompt):
        if not NAME.fullmatch(found[1]):
            raise UsageError(f"'{found[0]}' in the prompt is no concept's name.", _HINT)
        names[found[1]] = None
    if stray := re.search("[<>]", _PLACEHOLDER.sub("", prompt)):
        raise UsageError(f"A single '{stray[0]}' in the prompt '{prompt}'.", _HINT)
    return list(names)


def a_subject(name: str, class_noun: str) -> str:
    """How a sentence names one: "a <V1> dog", or "a <V1>" of whom nobody says what it is."""
    return " ".join(f"a <{name}> {class_noun}".split())


def is_noun(text: str) -> bool:
    """Whether a class noun can stand in a prompt; one without letters can, and says nothing."""
    return text.isprintable() and not set("<>") & set(text)


def check_kinds(prompt: str, kinds: Mapping[str, str]) -> None:
    """Whether every concept stands where its kind belongs: motions are performed, pictures are in a style.

    Args:
        kinds: "subject", "motion" or "style" by the concept's name; names that it lacks are not looked at.

    Raises:
        UsageError: `performing <V7>`, though V7 is no motion, `in <V3> style`, though V3 is no style, or `a <V4>`, though V4 is a motion.
    """
    for role, (words, others) in _ROLES.items():
        for found in words.finditer(prompt):
            name = found["name"]
            if kinds.get(name) in others and not found.groupdict().get("performed"):
                said = _SAID[kinds[name]].format(name)
                raise UsageError(
                    f"'{found[0]}' in the prompt: {name} is a {kinds[name]}, not a {role}.",
                    f"Say '{said}', or name a {role}; `ccvd list concepts` tells which is which.",
                )


def told_apart(prompt: str, nouns: Mapping[str, str]) -> list[str]:
    """What a prompt says of each of its subjects alone, in their order.

    'a <V1> dog and a <V2> cat jumping on the beach' -> 'a <V1> dog jumping on the beach', 'a <V2> cat jumping on the beach'. What stands
    between two subjects belongs to the first of them, and then what answers to it behind the last belongs to that one alone: of 'a <V1> dog
    performing <V4> and a <V2> cat performing <V5> in the snow' both are in the snow.

    Args:
        nouns: of the subjects, the class noun by the concept's name.
    """
    prompt = " ".join(prompt.split())
    found = [_spoken_of(prompt, name, noun) for name, noun in nouns.items() if f"<{name}>" in prompt]
    spans = sorted(m.span() for m in found if m)
    if len(spans) < 2:
        return [prompt] * len(spans)
    head, tail = prompt[: spans[0][0]], prompt[spans[-1][1] :]
    gaps = [prompt[end:start] for (_, end), (start, _) in pairwise(spans)]
    between = [_CONNECTIVE.sub("", gap).strip() for gap in gaps]
    tails = [f" {own} {_shared(tail, between)}" for own in between] + [tail]
    told = [f"{head}{prompt[start:end]}{after}" for (start, end), after in zip(spans, tails, strict=True)]
    return [" ".join(text.split()).replace(" ,", ",").rstrip(",") for text in told]


def plainly(prompt: str, concepts: Mapping[str, tuple[str, str]]) -> str:
    """A prompt as it reads to who knows no concept: class nouns stand for the names.

    'a <V1> dog performing <V3> in <V7> style' -> 'a dog performing tai chi in ink painting style'. Without a noun, a subject is a thing,
    a motion is moving, and of a style nothing is said.

    Args:
        concepts: kind and class noun by the concept's name.
    """
    for name, (kind, noun) in concepts.items():
        called = rf"<{re.escape(name)}>"
        if noun:
            again = "|".join(re.escape(words) for words in (noun, noun.split()[-1]))
            prompt = re.sub(rf"{called}(?:\s+(?:{again})(?!\w))?", lambda _, noun=noun: noun, prompt)  # type: ignore[misc]
        else:
            for words, instead in _UNSAID[kind]:
                prompt = re.sub(words.format(called), instead, prompt, flags=re.IGNORECASE)
    return prompt


def without_styles(prompt: str, names: Sequence[str]) -> str:
    """What a prompt shows, whatever it is drawn like: 'a <V1> dog, in the style of <V7>' -> 'a <V1> dog'.

    '' where nothing is left, or where a style is named in other words: then nobody knows which of them are its own.
    """
    for name in names:
        prompt = re.sub(_DRAWN.format(f"<{re.escape(name)}>"), "", prompt, flags=re.IGNORECASE)
    if any(f"<{name}>" in prompt for name in names):
        return ""
    left = " ".join(prompt.split()).strip(" ,;:.")
    return left if any(map(str.isalnum, left)) else ""


_DRAWN = (
    r"[\s,;]*(?:\b(?:painted|drawn|rendered|shown)\s+)?"
    r"\bin\s+(?:(?:the\s+|an?\s+)?{0}\s+style\b|the\s+style\s+of\s+{0})"
)
_UNSAID = {
    "subject": [("{}", "thing")],
    "motion": [(r"\b(?:performing|doing)\s+(?:the\s+|an?\s+)?{}", "moving"), ("{}", "moving")],
    "style": [(r"\s*\bin\s+(?:the\s+|an?\s+)?{}\s+style\b", ""), ("{}", "picture")],
}
_CONNECTIVE = re.compile(r"(?:[\s,;]|\b(?:and|with|beside|next to|behind|near|while)\b)+$", re.IGNORECASE)
# What may stand between an article and a name: 'a big red <V1> dog', but not 'a ball and <V1>' or 'the photo of <V1>'.
_ADJECTIVES = (
    r"(?:(?!(?:and|or|with|beside|next|to|behind|near|while|of|in|on|at|under|inside|by|from|an?|the|my|one)\b)"
    r"[\w'-]+\s+){0,3}"
)
_PLACE = re.compile(r"\s+(?=(?:in|on|at|under|inside|by|near)\b)", re.IGNORECASE)


def _shared(tail: str, between: Sequence[str]) -> str:
    """Of what stands behind the last subject, that which is said of all. Nothing between the subjects: all of it."""
    if not any(between):
        return tail
    _, *places = _PLACE.split(f" {tail.lstrip()}" if _PLACE.match(f" {tail.lstrip()}") else tail)
    own_place = any(_PLACE.match(f" {own}") for own in between)  # then the last subject has its own as well
    return " ".join(places[own_place:])


def _spoken_of(prompt: str, name: str, noun: str) -> re.Match[str] | None:
    """'a red <V1> dog' in a prompt: the article, what comes after it and the noun belong to the name."""
    behind = rf"(?:\s+{re.escape(noun)}(?!\w))?" if noun else ""
    return re.search(
        rf"(?:\b(?:an?|the|my|one)\s+{_ADJECTIVES})?<{re.escape(name)}>{behind}", prompt, re.IGNORECASE
    )
