"""What metrics are called on the screen."""

SAID = {
    "clip_t": "CLIP-T",
    "clip_i": "CLIP-I",
    "dino_i": "DINO-I",
    "motion": "MOTION",
    "t_cons": "T-CONS",
    "dynamic": "DYNAMIC",
    "identity": "IDENTITY",
    "motion_class": "MOTION CLASS",
    "style": "STYLE",
    "noun": "NOUN",
    "colour": "COLOUR",
    "scene": "SCENE",
    "motion_word": "MOTION WORD",
}
