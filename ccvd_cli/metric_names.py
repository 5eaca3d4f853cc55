"""What metrics are called on the screen."""

SAID = {
    "clip_t": "CLIP-T",
    "clip_i": "CLIP-I",
    "dino_i": "DINO-I",
    "motion": "MOTION",
    "t_cons": "T-CONS",
    "dynamic": "DYNAMIC",
    "identity": "IDENTITY",
    "nearest": "NEAREST",
    "motion_class": "MOTION CLASS",
    "style": "STYLE",
    "noun": "NOUN",
    "colour": "COLOUR",
    "scene": "SCENE",
    "texture": "TEXTURE",
}
