"""How strongly subjects act from step to step: CustomCrafter's dynamic weighted sampling (arXiv 2408.13239, section 3.3).

Early steps decide where things are and how they move, late ones what they look like. A subject learned from photos knows nothing of
motion, so it had better say little at first: "0.4@0.1,0.8" is 0.4 for the first tenth of the steps, then 0.8.
"""

from __future__ import annotations


def weights(schedule: str, steps: int) -> list[float]:
    """A weight per step.

    Raises:
        ValueError: not of the form W@UNTIL,...,W with rising shares between 0 and 1; says what is wrong, and how it is written.
    """
    try:
        return _weights(schedule, steps)
    except ValueError as error:
        raise ValueError(f"{error}; write it as 0.4@0.1,0.8") from None


def _weights(schedule: str, steps: int) -> list[float]:
    *phases, last = (part.strip() for part in schedule.split(","))
    ends = [_phase(part) for part in phases]
    final = _number(last, "weight", 2)
    untils = [until for _, until in ends]
    if untils != sorted(set(untils)):
        raise ValueError("the shares after @ must rise")
    shares = ((step + 0.5) / steps for step in range(steps))
    return [next((w for w, until in ends if share < until), final) for share in shares]


def _phase(text: str) -> tuple[float, float]:
    weight, at, until = text.partition("@")
    if not at:
        raise ValueError(f"'{text}' says not until when")
    return _number(weight, "weight", 2), _number(until, "share of the steps", 1)


def _number(text: str, what: str, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a {what}") from None
    if not 0 <= value <= most:
        raise ValueError(f"a {what} is between 0 and {most:g}, not {text}")
    return value
