"""Paths of motions: found in their clips, kept, and followed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_aggregate import concept
from test_learn_and_sample import QUICK, clips, stored
from torch import Tensor

from ccvd_cli.engine import contrast, path_finding
from ccvd_cli.engine.bases import EMBEDDED, open_base
from ccvd_cli.engine.bases.contract import Base
from ccvd_cli.engine.compose import _heard, generate, generate_batch
from ccvd_cli.engine.concept import Learner
from ccvd_cli.engine.content import Asked, asked_apart
from ccvd_cli.engine.contrast import contrasts
from ccvd_cli.engine.edit import edit
from ccvd_cli.engine.learn import learn_motion
from ccvd_cli.engine.optimise import StepReport
from ccvd_cli.engine.path_finding import around, found_path
from ccvd_cli.engine.path_following import led, silent
from ccvd_cli.engine.sample import windows_of
from ccvd_cli.errors import CcvdError
from ccvd_cli.measure.methods.contract import learner_of, learner_tensors
from ccvd_cli.measure.streams import Task
from ccvd_cli.path_boxes import at_frames, further, within
from ccvd_cli.regions import Region, parse
from ccvd_cli.row import fills_windows, in_a_row
from ccvd_cli.settings import RECIPES, EditSettings, SampleSettings
from ccvd_cli.world import heldout
from ccvd_cli.world.motions import trajectory
from ccvd_cli.world.parts import pixels

FOLLOWING = SampleSettings(
    steps=2, frames=5, height=32, width=32, guidance_scale=3.0, estimate_of="box", path_strength=1.0
)
ACROSS = torch.tensor([[0.25, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [0.75, 0.5, 0.5, 0.5]])

shares = st.floats(0, 1)


def moving(base: Base, name: str = "V3", path: Tensor = ACROSS) -> Learner:
    pictures = torch.ones(1, base.image_width)
    return replace(concept(base, name, "motion"), path=path, image_prototypes=pictures)


# --- found ---------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.2, 5), shares, shares, st.integers(0, 9))
def test_noise_is_drawn_within(base: Base, shift: float, one: float, other: float, seed: int) -> None:
    ends = torch.tensor(sorted((one, other)))
    found = base.timesteps(64, torch.Generator().manual_seed(seed), shift, (float(ends[0]), float(ends[1])))
    low, high = base.times_of(shift * ends / (1 + (shift - 1) * ends)).tolist()
    assert low - 1 <= found.min() and found.max() <= high + 1


def test_pictures_are_asked_a_few_at_a_time_and_between(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = list(torch.rand(5, 3, 32, 32) * 2 - 1)
    monkeypatch.setattr(contrast, "AT_ONCE", 2)
    asked: list[Tensor] = []
    real = type(base).timesteps

    def timesteps(self: Base, *a: object, **how: object) -> Tensor:
        asked.append(real(self, *a, **how))  # type: ignore[arg-type]
        return asked[-1]

    monkeypatch.setattr(type(base), "timesteps", timesteps)
    heard: list[tuple[int, int]] = []
    maps = contrasts(base, pictures, "thing", 0, lambda *at: heard.append(at), noises=2, within=(0.3, 0.45))
    assert maps.shape == (5, *base.latent_shape(1, 32, 32)[2:]) and bool((maps >= 0).all())
    assert [len(times) for times in asked] == [2, 2, 2, 2, 1, 1]
    assert heard == [(k + 1, 6) for k in range(6)]
    times = torch.cat(asked).float()
    assert times.min() >= 295 and times.max() <= 455


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 9), st.integers(0, 5), st.integers(3, 6), st.integers(3, 6), st.floats(0.1, 3))
def test_a_box_is_around_what_stands_out(left: int, top: int, wide: int, tall: int, level: float) -> None:
    maps = level * torch.ones(1, 12, 16)
    maps[0, top : top + tall, left : left + wide] += 1
    ((x, y, width, height),) = around(maps).tolist()
    assert (x, y) == pytest.approx(((left + wide / 2) / 16, (top + tall / 2) / 12), abs=1e-3)
    assert wide <= 16 * width <= 2 * wide and tall <= 12 * height <= 2 * tall


def test_where_nothing_stands_out_a_box_is_the_frame() -> None:
    (box,) = around(torch.ones(1, 8, 8))
    assert torch.allclose(box, torch.tensor([0.5, 0.5, 1.0, 1.0]))


def heaps(middles: list[float]) -> Tensor:
    """Maps with something at these heights."""
    maps = torch.zeros(len(middles), 16, 16)
    for one, middle in zip(maps, middles, strict=True):
        at = round(16 * middle)
        one[at - 2 : at + 2, 6:10] = 1
    return maps


def test_a_path_is_the_mean_over_clips(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = torch.cat([heaps([0.25, 0.5, 0.75]), heaps([0.5, 0.5, 0.5])])
    monkeypatch.setattr(path_finding, "contrasts", lambda *a, **how: maps)
    path = found_path(base, torch.zeros(2, 3, 3, 32, 32), "thing")
    assert path is not None and path.shape == (3, 4)
    assert path[:, 0].tolist() == pytest.approx([0.5] * 3, abs=1e-3)
    assert path[:, 1].tolist() == pytest.approx([0.375, 0.5, 0.625], abs=1e-3)


def test_what_stays_where_it_is_has_no_path(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_finding, "contrasts", lambda *a, **how: heaps([0.5, 0.5, 0.5, 0.5625]))
    assert found_path(base, torch.zeros(1, 4, 3, 32, 32), "thing") is None


def test_motions_have_paths_if_the_recipe_asks(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_finding, "NOISES", 1)
    monkeypatch.setattr(path_finding, "STAYS", 0.0)
    heard: list[StepReport] = []
    recipe = QUICK.model_copy(update={"find_path": True})
    given = clips()
    found = learn_motion(base, given, name="V3", class_noun="", recipe=recipe, on_step=heard.append)
    assert found.path is not None and found.path.shape == (5, 4)
    assert torch.equal(found.path, found_path(base, torch.stack(given), "thing"))  # type: ignore[arg-type]
    assert {at.stage for at in heard} >= {"path", "adapter"}
    snapshot = next(at.snapshot for at in reversed(heard) if at.snapshot)
    assert torch.equal(snapshot()[0].path, found.path)  # type: ignore[arg-type]
    without = learn_motion(base, given, name="V3", class_noun="", recipe=QUICK)
    assert without.path is None
    assert without.adapter_bytes() == found.adapter_bytes()  # looking for it changes nothing else


def test_only_minis_motions_have_paths_by_default() -> None:
    asked = {(family, kind) for family, kinds in RECIPES.items() for kind, r in kinds.items() if r.find_path}
    assert asked == {("mini", "motion")}


# --- kept ----------------------------------------------------------------------------------------------


def test_a_path_is_stored(base: Base, tmp_path: Path) -> None:
    learner = moving(base)
    again = Learner.load(stored(learner, tmp_path), base)
    assert again.path is not None and torch.equal(again.path, ACROSS)
    task = Task(1, "motion", "V3", "")
    other = learner_of(task, learner_tensors(learner), base).path
    assert other is not None and torch.equal(other, ACROSS)
    still = replace(learner, path=None)
    assert Learner.load(stored(still, tmp_path), base).path is None
    assert learner_of(task, learner_tensors(still), base).path is None


@pytest.mark.parametrize(
    "path",
    [
        torch.zeros(3, 3),
        torch.zeros(4),
        torch.tensor([[0.5, 0.5, 0.2, 0.2]]),
        torch.tensor([[0.5, 0.5, 0.2, 0.2], [1.2, 0.5, 0.2, 0.2]]),
        torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.0, 0.2]]),
        torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.5, torch.nan, 0.2, 0.2]]),
    ],
)
def test_a_path_that_is_none_is_told(base: Base, tmp_path: Path, path: Tensor) -> None:
    kept = stored(moving(base), tmp_path)
    save_file(load_file(kept.embedding_path) | {"path": path}, kept.embedding_path)
    with pytest.raises(CcvdError, match="concept V3 has a path"):
        Learner.load(kept, base)


# --- followed ------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 20), st.integers(2, 40))
def test_a_path_has_as_many_frames_as_a_clip(own: int, frames: int) -> None:
    path = np.random.default_rng(own).random((own, 4))
    found = at_frames(path, frames)
    assert found.shape == (frames, 4)
    assert np.allclose(found[0], path[0]) and np.allclose(found[-1], path[-1])
    if own == frames:
        assert np.allclose(found, path)
    line = np.linspace(0, 1, own)[:, None].repeat(4, 1)
    assert np.allclose(at_frames(line, frames)[:, 0], np.linspace(0, 1, frames))


@settings(max_examples=50, deadline=None)
@given(st.floats(0.1, 3))
def test_a_path_leads_so_many_times_as_far(strength: float) -> None:
    path = np.random.default_rng(0).random((7, 4))
    found = further(path, strength)
    assert np.allclose(found.mean(0)[:2], path.mean(0)[:2])
    assert np.allclose(found.std(0)[:2], strength * path.std(0)[:2])
    assert np.array_equal(found[:, 2:], path[:, 2:])


@settings(max_examples=100, deadline=None)
@given(shares, shares, st.floats(0.05, 1), st.floats(0.05, 1), st.tuples(*[st.floats(-0.5, 1.5)] * 2), shares)
def test_boxes_of_a_path_lie_within(
    left: float, top: float, wide: float, tall: float, middle: tuple[float, float], size: float
) -> None:
    outer = left * (1 - wide), top * (1 - tall), left * (1 - wide) + wide, top * (1 - tall) + tall
    ((x0, y0, x1, y1),) = within(np.array([[*middle, size, size]]), outer)
    assert outer[0] - 1e-9 <= x0 < x1 <= outer[2] + 1e-9 and outer[1] - 1e-9 <= y0 < y1 <= outer[3] + 1e-9
    assert within(np.array([[0.5, 0.5, 1.0, 1.0]]), outer)[0] == pytest.approx(outer)


def asked_of(base: Base, prompt: str, *regions: str, **how: object) -> Asked:
    learners = [
        *(concept(base, name) for name in ("V1", "V2")),
        *(moving(base, name) for name in ("V3", "V4")),
        concept(base, "V5", "motion"),
    ]
    placed = tuple(parse(region) for region in regions)
    return Asked([prompt], learners, FOLLOWING.model_copy(update={"regions": placed, **how}))


def middles(region: Region) -> list[float]:
    return [round((k.box[0] + k.box[2]) / 2, 3) for k in region.keyframes]


LEFT, RIGHT = "a <V1> dog performing <V3> @ 0,0,0.5,1", "a <V2> dog performing <V4> @ 0.5,0,1,1"
PATH, HALF = [0.25, 0.375, 0.5, 0.625, 0.75], [0.125, 0.188, 0.25, 0.312, 0.375]


@pytest.mark.parametrize("prompt", ["a dog performing <V3>", "a <V1> dog performing <V3> in the snow"])
def test_a_prompt_is_a_region_that_follows_its_motion(base: Base, prompt: str) -> None:
    before = asked_of(base, prompt)
    after = led(base, before)
    (region,) = after.settings.regions
    assert region.prompt == prompt and middles(region) == PATH
    assert after.prompts == before.prompts
    beside = {site.name for site in base.sites_of("moment")}
    for one, other in zip(before.learners, after.learners, strict=True):
        said = beside if one.name == "V3" else set()
        assert set(other.adapters) == set(one.adapters) - said
        assert one.path is other.path
    assert beside <= set(before.learners[2].adapters)  # what it was asked of is as before


def test_regions_follow_their_own_motions(base: Base) -> None:
    prompt = "a <V1> dog performing <V3> and a <V2> dog performing <V4>"
    after = led(base, asked_of(base, prompt, LEFT, RIGHT))
    assert [middles(r) for r in after.settings.regions] == [HALF, [round(0.5 + x, 3) for x in HALF]]
    after = led(base, asked_of(base, prompt, LEFT, "a <V2> dog @ 0.5,0,1,1"))
    assert [len(r.keyframes) for r in after.settings.regions] == [5, 1]


def test_a_motion_speaks_where_it_does_not_lead(base: Base) -> None:
    moved = "a <V2> dog performing <V3> @ 0: 0,0,0.5,1 ; 4: 0.5,0,1,1"
    before = asked_of(base, "a <V1> dog performing <V3> and a <V2> dog performing <V3>", LEFT, moved)
    after = led(base, before)
    assert [middles(r) == HALF for r in after.settings.regions] == [True, False]
    assert all(one is other for one, other in zip(before.learners, after.learners, strict=True))


@pytest.mark.parametrize(
    ("prompt", "regions", "how"),
    [
        ("a dog performing <V3>", (), {"path_strength": 0.0}),
        ("a dog performing <V3>", (), {"frames": 1}),
        ("a dog performing <V5>", (), {}),  # it leads nowhere
        ("a dog performing <V3> and <V4>", (), {}),
        ("a <V1> dog and a <V2> dog performing <V3>", (), {}),
        ("a dog performing <V3> beside <V9>", (), {}),  # whom nobody knows
        ("a dog performing <V3> or <V5>", (), {}),
        ("a <V1> dog performing <V3>", ("a <V1> dog @ 0,0,0.5,1",), {}),
        (
            "a <V1> dog performing <V3>",
            ("a <V1> dog performing <V3> @ 0: 0,0,0.5,1 ; 4: 0.5,0,1,1",),
            {},
        ),  # who has been told where
        (
            "a <V1> dog and a <V2> dog performing <V3>",
            ("a <V1> dog @ 0,0,0.5,1", "a <V2> dog @ 0.5,0,1,1"),
            {},
        ),
    ],
)
def test_elsewhere_nobody_is_led(
    base: Base, prompt: str, regions: tuple[str, ...], how: dict[str, object]
) -> None:
    asked = asked_of(base, prompt, *regions, **how)
    assert led(base, asked) is asked


def test_being_led_is_being_told_the_boxes(base: Base) -> None:
    motion = moving(base)
    prompt = "a dog performing <V3>"
    after = led(base, Asked([prompt], [motion], FOLLOWING))
    told = after.settings.model_copy(update={"path_strength": 0.0})
    clip = generate(base, prompt, [motion], FOLLOWING)
    assert torch.equal(clip, generate(base, prompt, [silent(base, motion)], told))
    alone = generate(base, prompt, [motion], FOLLOWING.model_copy(update={"path_strength": 0.0}))
    assert not torch.equal(clip, alone)


def test_prompts_of_a_batch_are_led_one_by_one(base: Base) -> None:
    motion = moving(base)
    prompts = ["a dog", "a dog performing <V3>"]
    heard: list[tuple[int, int]] = []
    both = generate_batch(base, prompts, [motion], FOLLOWING, lambda *at: heard.append(at))
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert torch.equal(both[0], generate(base, prompts[0], [motion], FOLLOWING))
    alike = generate_batch(base, prompts[1:] * 2, [motion], FOLLOWING)
    assert torch.equal(both[1], alike[1])  # from the same noise
    assert not torch.allclose(alike[0], alike[1], atol=1e-3)  # each from its own
    assert torch.equal(alike[0], generate(base, prompts[1], [motion], FOLLOWING))


@pytest.mark.parametrize("second", ["a <V2> dog performing <V3>", "a <V2> dog"])
def test_a_window_is_all_its_subjects_though_it_is_led(mini_folder: Path, second: str) -> None:
    """What the clip's prompt says of the others is not heard there; nor is who is led towards the neighbour."""
    base = open_base(str(mini_folder), device="cpu", dtype="float32")
    assert base.own_size
    learners = [concept(base, "V1"), concept(base, "V2"), moving(base)]
    height, width = base.own_size
    how = FOLLOWING.model_copy(
        update={"height": height, "width": width, "windows": None, "path_strength": 3.0}
    )
    row = in_a_row(how, ["a <V1> dog performing <V3>", second], base.own_size)
    assert fills_windows(row, base.own_size)
    asked = led(base, Asked(["two dogs"], learners, row))
    assert asked.housed == {0, 1} if "V3" in second else asked.housed == {0}
    clip = generate(base, "two dogs", learners, row)
    assert torch.allclose(clip, generate(base, "a cat in the snow", learners, row), atol=1e-5)
    views = windows_of(base, base.latent_shape(row.frames, row.height, row.width), row)
    heard = [len(voices.layout.boxes) for voices, _ in _heard(base, asked, views, row.frames).windows]
    assert heard == [1, 1]


def test_styles_are_guided_apart_where_somebody_is_led(base: Base) -> None:
    ink = concept(base, "V7", "style")
    asked = Asked(
        ["a <V1> dog performing <V3> in <V7> style"],
        [concept(base, "V1"), moving(base), ink],
        FOLLOWING.model_copy(update={"style_guidance": 1.5}),
    )
    content, styled = asked_apart(led(base, asked))
    for one in (content, styled):
        assert [middles(r) for r in one.settings.regions] == [PATH]
    assert content.settings.regions[0].prompt == "a <V1> dog performing <V3>"
    assert styled.settings.regions[0].prompt == "a dog performing <V3> in <V7> style"
    clip = generate(base, asked.prompts[0], asked.learners, asked.settings)
    hardly = generate(
        base, asked.prompts[0], asked.learners, asked.settings.model_copy(update={"style_guidance": 1e-6})
    )
    without = generate(base, "a <V1> dog performing <V3>", asked.learners[:2], asked.settings)
    assert torch.allclose(hardly, without, atol=1e-3) and not torch.allclose(clip, without, atol=1e-3)


@pytest.mark.parametrize("how", [{"relevance_threshold": 0.0}, {"aggregation": "mean"}])
def test_others_may_join_where_somebody_is_led(base: Base, how: dict[str, object]) -> None:
    learners = [concept(base, "V1"), concept(base, "V2"), moving(base)]
    settings = FOLLOWING.model_copy(update=how)
    clip = generate(base, "a <V1> dog performing <V3>", learners, settings)
    alone = generate(base, "a <V1> dog performing <V3>", [learners[0], learners[2]], settings)
    assert not torch.allclose(clip, alone, atol=1e-4)


def test_an_edit_leads_nobody(base: Base) -> None:
    clip, motion = torch.rand(5, 3, 32, 32) * 2 - 1, moving(base)
    for strength in (0.6, 1.0):
        made = [
            edit(
                base,
                clip,
                "a dog performing <V3>",
                [motion],
                FOLLOWING.model_copy(update=how),
                EditSettings(strength=strength),
            )
            for how in ({}, {"path_strength": 0.0})
        ]
        assert torch.equal(*made)


@pytest.mark.slow
@pytest.mark.parametrize("motion", ["circling", "diving"])
def test_the_embedded_base_sees_where_things_go(motion: str) -> None:
    base = open_base(str(EMBEDDED))
    given = pixels(heldout.motion_clips(motion, 4), torch.device("cpu"))
    path = found_path(base, given, "thing")
    assert path is not None
    true = trajectory(motion, 16)
    went = torch.stack([torch.from_numpy(true.dx), torch.from_numpy(true.dy)], 1)
    middles = path[:, :2]
    assert float(((middles - middles.mean(0)) - (went - went.mean(0))).norm(dim=1).mean()) < 0.07
    still = pixels(heldout.motion_clips("rocking", 4), torch.device("cpu"))
    assert found_path(base, still, "thing") is None
