"""Where in the frame something is to be: boxes with a prompt of their own, still or moving along keyframes.

<V1> dog @ 0.05,0.4,0.45,0.95                                     one box: x0,y0,x1,y1 in fractions of width and height
<V1> dog @ 0: 0.05,0.4,0.45,0.95 ; 15: 0.55,0.4,0.95,0.95         from frame 0 to frame 15, linear between
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from . import prompts
from .errors import UNREADABLE, UsageError

Box = tuple[float, float, float, float]
MOST = 4  # that are placed side by side; boxes of more would be slits
# What somebody wrote, cut short: aliases of YAML can nest more than memory holds written out.
_QUOTED = reprlib.Repr()
_QUOTED.maxlevel, _QUOTED.maxlist, _QUOTED.maxstring = 2, 4, 120
_FORM = "Write it as '<V1> dog @ 0.05,0.4,0.45,0.95': a prompt, @, and x0,y0,x1,y1 in fractions of the frame."
_ENTRY = (
    "An entry has a prompt, and a box [x0, y0, x1, y1] in fractions of the frame, "
    "or keyframes {0: [...], 15: [...]} by frame."
)


class Keyframe(BaseModel):
    """The box of one frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frame: int = Field(ge=0)
    box: Annotated[Box, Field(description="x0, y0, x1, y1 in fractions of the frame")]

    @field_validator("box", mode="before")
    @classmethod
    def _four(cls, box: Any) -> Any:
        if not isinstance(box, (list, tuple)) or len(box) != 4:
            raise ValueError(f"the box {_QUOTED.repr(box)} is not the four numbers x0, y0, x1, y1")
        return box

    @field_validator("box")
    @classmethod
    def _inside(cls, box: Box) -> Box:
        x0, y0, x1, y1 = box
        if not all(0 <= v <= 1 for v in box):
            raise ValueError(
                f"the box {_plain(box)} is outside the frame: all four numbers lie between 0 and 1"
            )
        if x0 >= x1 or y0 >= y1:
            raise ValueError(f"the box {_plain(box)} is empty: x0 must be below x1, and y0 below y1")
        return box


class Region(BaseModel):
    """A prompt for a part of the frame. With one keyframe the box stands still."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(min_length=1)
    keyframes: tuple[Keyframe, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        """`box` in the place of `keyframes`; and keyframes as frame -> box, as files have them."""
        if not isinstance(given, dict):
            raise ValueError(f"{_QUOTED.repr(given)} has no prompt and no box")
        given = dict(given)
        if others := [key for key in given if key not in ("prompt", "box", "keyframes")]:
            raise ValueError(f"{_QUOTED.repr(others[0])} is unknown")
        if "box" in given and "keyframes" in given:
            raise ValueError("it has both a box and keyframes")
        if "box" not in given and "keyframes" not in given:
            raise ValueError("there is no box")
        if "box" in given:
            given["keyframes"] = [{"frame": 0, "box": given.pop("box")}]
        if isinstance(given.get("keyframes"), dict):
            given["keyframes"] = [{"frame": f, "box": b} for f, b in given["keyframes"].items()]
        return given

    @field_validator("keyframes")
    @classmethod
    def _rising(cls, keyframes: tuple[Keyframe, ...]) -> tuple[Keyframe, ...]:
        frames = [k.frame for k in keyframes]
        if frames != sorted(set(frames)):
            raise ValueError(f"the frames {', '.join(map(str, frames))} do not rise")
        return keyframes

    @property
    def names(self) -> list[str]:
        """The concepts that its prompt names."""
        return prompts.named(self.prompt)

    def box_at(self, frame: int) -> Box:
        """Linear between keyframes; before the first and after the last, theirs."""
        after = next((i for i, k in enumerate(self.keyframes) if k.frame >= frame), len(self.keyframes))
        if after in (0, len(self.keyframes)):
            return self.keyframes[min(after, len(self.keyframes) - 1)].box
        a, b = self.keyframes[after - 1 : after + 1]
        share = (frame - a.frame) / (b.frame - a.frame)
        x0, y0, x1, y1 = ((1 - share) * p + share * q for p, q in zip(a.box, b.box, strict=True))
        return x0, y0, x1, y1

    def at(self, frames: Sequence[int]) -> Region:
        """The region of a clip that has only these frames of this one."""
        if len(self.keyframes) == 1:
            return self
        boxes = tuple(Keyframe(frame=k, box=self.box_at(frame)) for k, frame in enumerate(frames))
        return self.model_copy(update={"keyframes": boxes})

    def __str__(self) -> str:
        if len(self.keyframes) == 1:
            return f"{self.prompt} @ {_plain(self.keyframes[0].box)}"
        return f"{self.prompt} @ " + " ; ".join(f"{k.frame}: {_plain(k.box)}" for k in self.keyframes)


def parse(text: str) -> Region:
    """A region as a command line says it. Raises UsageError, which quotes what is wrong."""
    prompt, at, where = text.rpartition("@")
    if not at or not prompt.strip():
        raise UsageError(f"--region '{text}': there is no box.", _FORM)
    frames = [part.strip() for part in where.split(";")]
    keyed = (
        [_keyframe(part, text) for part in frames]
        if ":" in where
        else [{"frame": 0, "box": _box(where, text)}]
    )
    return _checked({"prompt": " ".join(prompt.split()), "keyframes": keyed}, f"--region '{text}'", _FORM)


def read(path: Path) -> list[Region]:
    """A list of regions from YAML or JSON: `prompt`, and `box` or `keyframes` (frame -> box). Raises UsageError."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        listed = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"Cannot read '{path}': {error.strerror}.", "Give a YAML or JSON file.") from error
    except (*UNREADABLE, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UsageError(f"'{path}' is neither YAML nor JSON: {reason}.", "Check its syntax.") from error
    if not isinstance(listed, list) or not listed:
        raise UsageError(f"'{path}' holds no list of regions.", _ENTRY)
    return [_checked(entry, f"'{path}', region {i}", _ENTRY) for i, entry in enumerate(listed, 1)]


def check(regions: Iterable[Region], *, frames: int, cells: tuple[int, int]) -> None:
    """Whether regions fit a clip of `frames` frames, whose latents are `cells` (width, height).

    Raises:
        UsageError: more regions than concepts, a region that names none, a frame that the clip has not, or a box smaller than a cell.
    """
    regions = list(regions)
    for region in regions:
        if not region.names:
            raise UsageError(
                f"The region '{region}' names no concept.",
                "Its prompt says who is there, such as '<V1> dog'.",
            )
        last = region.keyframes[-1].frame
        if last >= frames:
            raise UsageError(
                f"The region '{region}' has a box at frame {last}; the clip's last frame is {frames - 1}.",
                "Frames count from 0.",
            )
        for x0, y0, x1, y1 in (k.box for k in region.keyframes):
            if (x1 - x0) * cells[0] < 1 - 1e-6 or (y1 - y0) * cells[1] < 1 - 1e-6:
                least = f"{1 / cells[0]:.3g} wide and {1 / cells[1]:.3g} high"
                raise UsageError(
                    f"The box {_plain((x0, y0, x1, y1))} is too small.", f"Make it at least {least}."
                )
    names = {name for region in regions for name in region.names}
    if len(regions) > len(names):
        raise UsageError(
            f"There are {len(regions)} regions, but only {len(names)} concept{'s' * (len(names) != 1)} in them.",
            "Give each concept one region; a moving one has keyframes.",
        )


def _keyframe(text: str, whole: str) -> dict[str, Any]:
    frame, colon, box = text.partition(":")
    if not colon or not frame.strip().isdecimal() or len(frame.strip()) > 9:
        raise UsageError(
            f"--region '{whole}': '{text}' is no keyframe.", "Write keyframes as 0: x0,y0,x1,y1 ; 15: ..."
        )
    return {"frame": int(frame), "box": _box(box, whole)}


def _box(text: str, whole: str) -> list[float]:
    try:
        numbers = [float(v) for v in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise UsageError(f"--region '{whole}': '{text.strip()}' is no box.", _FORM)
    return numbers


def _checked(given: Any, where: str, form: str) -> Region:
    try:
        region = Region.model_validate(given)
        prompts.named(region.prompt)
    except ValidationError as error:
        first = error.errors()[0]
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] not in ("value_error", "missing", "extra_forbidden"):
            reason = f"{reason.removeprefix('Input ')}, not {_QUOTED.repr(first['input'])}"
        quoted = first["type"] == "value_error"  # by what it says
        at = "" if quoted else "".join(f"{part}: " for part in first["loc"][:1])
        raise UsageError(f"{where}: {at}{reason}.", form) from error
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", error.hint) from error
    return region


def _plain(box: Box) -> str:
    return ",".join(f"{v:.9g}" for v in box)
