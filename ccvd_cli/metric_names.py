"""What metrics are called on the screen."""

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
