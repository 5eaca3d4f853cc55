"""What pretraining knows of its material without drawing it."""

from __future__ import annotations

import numpy as np

from ccvd_cli.world.corpus import described, headings, undrawn
from ccvd_cli.world.motions import MOTIONS


def test_undrawn_clips_are_those_that_are_described() -> None:
    drawn = described(30, 5)
    assert undrawn(30, 5) == list(zip(drawn.clips, drawn.captions, strict=True))


def test_headings_turn_only_what_spins_and_mirror_what_goes_left() -> None:
    clips = [clip for clip, _ in undrawn(250, 0)]
    assert {c.motion for c in clips} == set(MOTIONS)
    for clip, heading in zip(clips, headings(clips), strict=True):
        assert (np.ptp(heading[:, 1]) > 1.9) == (clip.motion == "spinning")
        assert (heading[:, 2] < 0).all() == (clip.motion == "moving left")
