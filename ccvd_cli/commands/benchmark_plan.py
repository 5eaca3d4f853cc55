"""What a benchmark is asked for, checked before a base is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from ..measure.benchmark import Plan
    from ..measure.results import Result
    from ..measure.streams import Stream
    from ..settings import SampleSettings
    from .benchmark import BenchmarkOptions
    from .options import BaseOptions, SampleOptions

_WHICH = ("stream", "methods", "out", "sheet", "table", "json")


def check_table(options: BenchmarkOptions, sampling: SampleOptions, base: BaseOptions) -> None:
    """Raises UsageError for an option that says how to run."""
    from .overrides import option_of

    every = [(bundle, field) for bundle in (options, sampling, base) for field in fields(bundle)]
    for bundle, field in every:
        if field.name not in _WHICH and (given := getattr(bundle, field.name)) != field.default:
            said = " ".join(given) if isinstance(given, list) else given
            raise UsageError(
                f"{option_of(field.name)} {said}: --table runs nothing.", "Leave one of them out."
            )


def asked_for(results: Sequence[Result], options: BenchmarkOptions) -> list[Result]:
    """Of the stream and the methods that are named, or all. Raises UsageError if there are none."""
    every = {r.stream for r in results}
    # By its name, or by its file.
    asked = options.stream if options.stream in every else Path(options.stream or "").stem
    found = [r for r in results if not options.stream or r.stream == asked]
    if options.stream and not found:
        raise UsageError(
            f"--stream {options.stream}: '{options.out}' holds no results of it.", "Run it, or name another."
        )
    if options.methods and options.methods != "all":
        named = {r.method: r.method.partition(" ")[0] for r in found}
        methods = _listed(options.methods, sorted(set(named.values())), "--methods")
        found = [r for r in found if named[r.method] in methods]
    return found


def methods_of(plan: Plan) -> set[str]:
    """The folders of methods that will be in a stream's results."""
    there = (plan.out / plan.stream.name).glob("*/seed*")
    return {seed.parent.name for seed in (*there, *(plan.folder(method, 0) for method in plan.methods))}


def check_methods_decide(settings: SampleSettings, default: SampleSettings) -> None:
    """Raises UsageError for an option that methods answer each in its own way."""
    who = "aggregation", "relevance_threshold", "top_k", "subject_schedule", "style_guidance", "path_strength"
    for field in who:
        value = getattr(settings, field)
        if value != getattr(default, field):
            raise UsageError(
                f"--{field.replace('_', '-')} {value}: who acts, and how much, is what methods differ in.",
                "Leave it out; --ablate leaves out parts of ccvd.",
            )


def shard_of(text: str) -> tuple[int, int]:
    """'2/4' -> (2, 4). Raises UsageError."""
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal() and len(n) < 10 and 1 <= int(i) <= int(n)):
        raise UsageError(f"--shard {text}: not the I-th of N.", "Say 1/4 for the first of four.")
    return int(i), int(n)


def stream_of(options: BenchmarkOptions) -> Stream:
    from ..measure.streams import open_stream

    return open_stream(options.stream or "toy10", skip_missing=options.skip_missing)


def check_sizes(stream: Stream, settings: SampleSettings) -> None:
    """Raises UsageError for clips that cannot be measured."""
    if settings.frames < 2:
        raise UsageError("--frames 1: a picture does not move.", "Measure clips of 2 frames or more.")
    if stream.toy and (settings.height, settings.width) != (64, 64):
        raise UsageError(
            f"--stream {stream.name}: the world draws 64x64, not {settings.width}x{settings.height}.",
            "Leave --height and --width out, or give a file of tasks.",
        )


def plan_of(options: BenchmarkOptions, stream: Stream, at_once: int) -> Plan:
    from ..measure.benchmark import Plan
    from ..measure.methods import ABLATIONS, METHODS

    methods = options.methods or "ccvd"
    asked = list(METHODS) if methods == "all" else _listed(methods, METHODS, "--methods")
    without = _listed(options.ablate, ABLATIONS, "--ablate") if options.ablate else []
    if without and "ccvd" not in asked:
        raise UsageError(
            f"--ablate {options.ablate}: parts are left out of ccvd alone.", "Add ccvd to --methods."
        )
    return Plan(
        stream,
        tuple(asked),
        options.out,
        tuple(part for part in ABLATIONS if part in without),
        options.seeds,
        options.effort,
        options.every,
        options.prompts,
        at_once,
        _changes(options.set or (), asked),
    )


def _changes(given: Sequence[str], methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What `--set` changes, by method, in the order in which methods list their settings. Raises UsageError."""
    from pydantic import ValidationError

    from ..measure.methods import METHODS
    from .overrides import first_problem

    found: dict[str, dict[str, str]] = {}
    for text in given:
        what, _, value = text.partition("=")
        method, _, name = what.partition(".")
        if not (name and value):
            raise UsageError(f"--set {text}: not METHOD.NAME=VALUE.", "Say, for example, ewc.weight=100.")
        if method not in methods:
            raise UsageError(
                f"--set {text}: '{method}' is not among --methods.", "Add it, or leave this out."
            )
        known = METHODS[method].Own.model_fields
        if name not in known:
            has = f"It has {', '.join(known)}." if known else "It has none."
            raise UsageError(f"--set {text}: {method} has no setting '{name}'.", has)
        if found.setdefault(method, {}).setdefault(name, value) != value:
            raise UsageError(f"--set {method}.{name} is given twice.", "Measure one after the other.")
    changes = {}
    for method, values in found.items():
        try:
            settings = METHODS[method].Own.model_validate(values)
        except ValidationError as error:
            name, problem = first_problem(error)
            name = name or next(iter(values))
            raise UsageError(f"--set {method}.{name}={values[name]}: {problem}.") from error
        changes[method] = settings.model_dump(exclude_defaults=True)
    return {method: changed for method, changed in changes.items() if changed}


def _listed(text: str, known: Any, option: str) -> list[str]:
    """Names between commas, each once. Raises UsageError for one that is not known."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            raise UsageError(f"{option} {text}: unknown '{name}'.", f"There are {', '.join(known)}.")
    return names
