"""What a colour is called, and captions that say it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccvd_cli.world.captions import Mix, described, random_clip
from ccvd_cli.world.colour import SHADES, called, oklab
from ccvd_cli.world.models import TEXT_LENGTH
from ccvd_cli.world.render import Actor

unit = st.floats(0, 1)


@pytest.mark.parametrize("name", SHADES)
def test_a_shade_is_called_by_its_own_name(name: str) -> None:
    assert called(SHADES[name]) == name


@given(st.tuples(unit, unit, unit))
def test_no_other_shade_is_nearer(rgb: tuple[float, float, float]) -> None:
    far = {
        name: np.linalg.norm(oklab(np.asarray(shade)) - oklab(np.asarray(rgb)))
        for name, shade in SHADES.items()
    }
    assert far[called(rgb)] == min(far.values())


def test_oklab_of_white_and_black() -> None:
    assert np.allclose(oklab(np.asarray([[1.0, 1, 1], [0, 0, 0]])), [[1, 0, 0], [0, 0, 0]], atol=1e-3)


def test_an_actor_is_described_by_what_is_seen() -> None:
    who = Actor("dog", SHADES["teal"], SHADES["pink"], "striped", "hat", SHADES["grey"])
    assert described(who) == "a teal pink striped dog with a grey hat"
    assert described(who, colours=False) == "a striped dog with a hat"
    assert described(Actor("car", SHADES["brown"], SHADES["pink"])) == "a brown car", (
        "plain: no second colour shows"
    )
    assert described(Actor("car", SHADES["red"], (0.9, 0.1, 0.1), "spotted")) == "a red spotted car"


def test_a_strangers_caption_is_never_cut() -> None:
    from importlib.resources import files

    from transformers import CLIPTokenizer

    words = CLIPTokenizer.from_pretrained(str(files("ccvd_cli.world") / "mini" / "tokenizer"))
    rng = np.random.default_rng(0)
    captions = [random_clip(rng, Mix(strangers=True))[1] for _ in range(2000)]
    assert max(len(ids) for ids in words(captions).input_ids) <= TEXT_LENGTH
    assert any("pink" in c and "with a" in c for c in captions)
