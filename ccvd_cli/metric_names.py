"""What metrics are called on the screen, and what they can be."""

import math

SAID = {
    "clip_t": "CLIP-T",
    "clip_i": "CLIP-I",
    "dino_i": "DINO-I",
    "motion": "MOTION",
    "t_cons": "T-CONS",
    "dynamic": "DYNAMIC",
    # What the embedded world knows exactly: shares of clips; of a path, 1 less its error.
    "identity": "IDENTITY",
    "nearest": "NEAREST",
    "motion_class": "MOTION CLASS",
    "path": "PATH",
    "style": "STYLE",
    "noun": "NOUN",
    "colour": "COLOUR",
    "texture": "TEXTURE",
    "scene": "SCENE",
    "in_box": "IN BOX",
    "in_box_nearest": "IN BOX, NEAREST",
}
# Of these a clip is right or wrong, or right in so many of its boxes.
SHARES = frozenset(
    [
        "identity",
        "nearest",
        "motion_class",
        "style",
        "noun",
        "colour",
        "texture",
        "scene",
        "in_box",
        "in_box_nearest",
    ]
)
# Of cosines, and of what is counted from nothing or up to 1.
_BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(["clip_t", "clip_i", "dino_i", "motion", "t_cons"], (-1.0, 1.0)),
    "dynamic": (0.0, math.inf),
    "path": (-math.inf, 1.0),
}


def bounds_of(metric: str) -> tuple[float, float]:
    """What no score of it is beyond."""
    return _BOUNDS.get(metric, (-math.inf, math.inf))
