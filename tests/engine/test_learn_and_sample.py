"""From pictures and clips to a learner, through bytes and back, into clips: on tiny untrained models."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ccvd_cli.engine import aggregate, lesson, prior
from ccvd_cli.engine.adapters import Placed, attached
from ccvd_cli.engine.aggregate import Share, fold, guide
from ccvd_cli.engine.bases import open_base
from ccvd_cli.engine.bases.contract import Base, TokenVectors
from ccvd_cli.engine.compose import generate, generate_batch
from ccvd_cli.engine.concept import Learner
from ccvd_cli.engine.learn import learn_motion, learn_subject
from ccvd_cli.engine.optimise import StepReport
from ccvd_cli.errors import CcvdError, UsageError
from ccvd_cli.row import side_by_side
from ccvd_cli.settings import Recipe, SampleSettings

QUICK = Recipe(
    token_steps=6, adapter_steps=8, token_lr=1e-2, adapter_lr=1e-2, batch_size=2, text_dropout=0.1, frames=5
)
CLIP = SampleSettings(steps=3, frames=5, height=32, width=32, guidance_scale=3.0)


@dataclass(frozen=True)
class Stored:
    name: str
    kind: str
    class_noun: str
    adapter_path: Path
    embedding_path: Path
    prototype_path: Path


def stored(learner: Learner, folder: Path) -> Stored:
    parts = {}
    for part in ("adapter", "embedding", "prototype"):
        parts[part] = folder / f"{learner.name}-{part}.safetensors"
        parts[part].write_bytes(getattr(learner, f"{part}_bytes")())
    return Stored(
        learner.name,
        learner.kind,
        learner.class_noun,
        parts["adapter"],
        parts["embedding"],
        parts["prototype"],
    )


def alone(learners: Sequence[Learner]) -> list[Share]:
    """Each acts with weight 1."""
    return [Share(x.name, x.kind, "named", torch.ones(len(x.tokens))) for x in learners]


def pictures(n: int = 3) -> list[torch.Tensor]:
    return [torch.rand(3, 32, 32) * 2 - 1 for _ in range(n)]


def clips(n: int = 2) -> list[torch.Tensor]:
    return [torch.rand(5, 3, 32, 32) * 2 - 1 for _ in range(n)]


@pytest.fixture(scope="module")
def subject(base: Base) -> Learner:
    torch.manual_seed(0)
    return learn_subject(base, pictures(), name="V1", class_noun="dog", recipe=QUICK)


@pytest.fixture(scope="module")
def motion(base: Base) -> Learner:
    torch.manual_seed(0)
    return learn_motion(base, clips(), name="V2", class_noun="spinning", recipe=QUICK)


def test_a_subject_is_tokens_and_spatial_adapters(base: Base, subject: Learner) -> None:
    assert subject.tokens.shape == (base.text_layers, base.token_width)
    assert set(subject.adapters) == {s.name for s in base.sites_of("spatial")}
    assert subject.text_prototypes.shape == (base.text_layers, base.text_width)
    assert subject.image_prototypes.shape == (3, base.image_width)
    start = base.noun_vector("dog")
    assert all(not torch.equal(row, start) for row in subject.tokens), (
        "stage 1 left a layer's token where it was"
    )
    assert any(a.up.weight.abs().sum() > 0 for a in subject.adapters.values())


def test_a_motion_is_temporal_adapters_guided_by_appearance(base: Base, motion: Learner) -> None:
    assert set(motion.adapters) == {s.name for s in base.sites_of("temporal", "moment")}
    guided = [a.cond is not None for a in motion.adapters.values()]
    assert all(guided) if base.image_width else not any(guided)


def test_learning_lowers_the_loss_and_leaves_the_base_alone(base: Base) -> None:
    before = {k: v.clone() for k, v in base.denoiser.state_dict().items()}
    recipe = QUICK.model_copy(
        update={"token_steps": 0, "adapter_steps": 120, "batch_size": 8, "adapter_lr": 2e-2}
    )
    picture = torch.ones(3, 32, 32)
    learner = learn_subject(base, [picture], name="V1", class_noun="dog", recipe=recipe)

    @torch.no_grad()
    def loss(learners: list[Learner]) -> float:
        """On the same noise before and after: a run's own losses differ more by their noise levels than by what is learned."""
        latents = base.encode_video(picture[None, None]).expand(32, -1, -1, -1, -1)
        text = base.encode_text(["a <V1> dog"], [learner.token_vectors()]).expand(32, -1, -1, -1)
        generator = torch.Generator().manual_seed(7)
        with base.still(), attached(base.denoiser, fold(base, learners, alone(learners))):
            return float(
                lesson.diffusion_loss(base, lesson.noised(base, latents, generator), text, generator)
            )

    assert loss([learner]) < 0.95 * loss([])
    assert all(torch.equal(v, before[k]) for k, v in base.denoiser.state_dict().items())
    assert not any(p.requires_grad for p in base.denoiser.parameters())


def test_the_same_seed_learns_the_same_bytes(base: Base) -> None:
    images = pictures()
    learned = [learn_subject(base, images, name="V1", class_noun="dog", recipe=QUICK) for _ in range(2)]
    assert learned[0].adapter_bytes() == learned[1].adapter_bytes()
    assert learned[0].embedding_bytes() == learned[1].embedding_bytes()
    other = learn_subject(
        base, images, name="V1", class_noun="dog", recipe=QUICK.model_copy(update={"seed": 1})
    )
    assert other.adapter_bytes() != learned[0].adapter_bytes()


def test_progress_counts_both_stages(base: Base) -> None:
    reports: list[StepReport] = []
    learn_subject(base, pictures(), name="V1", class_noun="dog", recipe=QUICK, on_step=reports.append)
    assert [(r.stage, r.step) for r in reports] == [
        ("tokens", 5),
        ("tokens", 6),
        ("adapter", 5),
        ("adapter", 8),
    ]


def test_prior_pictures_take_their_share(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of every batch comes from the base's own picture of the noun, under the noun's prompt."""
    monkeypatch.setattr(prior, "PRIOR_STEPS", 2)
    monkeypatch.setattr(type(base), "tell", lambda self, text, moments: text)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    real = lesson.diffusion_loss
    monkeypatch.setattr(
        lesson, "diffusion_loss", lambda b, x, t, *a, **k: seen.append((x.noisy, t)) or real(b, x, t, *a, **k)
    )
    recipe = QUICK.model_copy(
        update={"prior_share": 0.5, "batch_size": 4, "token_steps": 0, "adapter_steps": 1}
    )
    learn_subject(base, pictures(), name="V1", class_noun="dog", recipe=recipe)
    (latents, text), noun = seen[0], base.encode_text(["a dog"])[0]
    assert latents.shape[0] == 4
    assert [torch.allclose(row, noun, atol=1e-5) for row in text] == [False, False, True, True]


def test_a_motions_tokens_are_learned_from_frames_that_know_their_moment(
    unet: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where text says which frame it is; elsewhere from whole clips, as its adapters always are."""
    seen: list[tuple[int, int]] = []
    real = lesson.diffusion_loss
    monkeypatch.setattr(
        lesson,
        "diffusion_loss",
        lambda b, x, *a, **k: seen.append((x.noisy.shape[0], x.noisy.shape[2])) or real(b, x, *a, **k),
    )
    recipe = QUICK.model_copy(update={"token_steps": 2, "adapter_steps": 1})
    learn_motion(unet, clips(), name="V2", class_noun="spinning", recipe=recipe)
    frames = (2 * lesson.FRAMES_FOR_A_CLIP, 1) if unet.tells_moments else (2, 5)
    assert seen == [frames, frames, (2, 5)]


def test_adapters_join_the_sites_that_the_recipe_names(unet: Base) -> None:
    recipe = QUICK.model_copy(update={"only_sites": r"^up_blocks\.", "token_steps": 0, "adapter_steps": 1})
    learner = learn_subject(unet, pictures(), name="V1", class_noun="dog", recipe=recipe)
    assert set(learner.adapters) == {s.name for s in unet.sites_of("spatial") if s.name.startswith("up_")}
    with pytest.raises(UsageError, match="nowhere"):
        nowhere = recipe.model_copy(update={"only_sites": "nowhere"})
        learn_subject(unet, pictures(), name="V1", class_noun="dog", recipe=nowhere)


def test_adapters_join_the_last_layers_of_the_denoiser(unet: Base) -> None:
    """In the order in which latents pass them: what comes last is not what is listed last."""
    passed: list[str] = []
    sites = unet.sites_of("spatial")
    hooks = [
        unet.denoiser.get_submodule(s.name).register_forward_pre_hook(
            lambda *_, name=s.name: passed.append(name)
        )
        for s in sites
    ]
    x = torch.randn(1, *unet.latent_shape(2, 16, 16))
    unet.predict(x, torch.tensor([500]), unet.encode_text(["a dog"]))
    for hook in hooks:
        hook.remove()
    assert passed == [s.name for s in sorted(sites, key=lambda s: s.depth)]
    few = {"last_layers": 2, "token_steps": 0, "adapter_steps": 1}
    learner = learn_subject(
        unet, pictures(), name="V1", class_noun="dog", recipe=QUICK.model_copy(update=few)
    )
    assert set(learner.adapters) == set(passed[-2:])
    with pytest.raises(UsageError, match="last 2 layers"):
        other = QUICK.model_copy(update={**few, "only_sites": "^down"})
        learn_subject(unet, pictures(), name="V1", class_noun="dog", recipe=other)


def test_each_stage_has_its_own_noise(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    shifts: list[float] = []
    real = type(base).timesteps
    monkeypatch.setattr(
        type(base), "timesteps", lambda self, n, g, shift: shifts.append(shift) or real(self, n, g, shift)
    )
    recipe = QUICK.model_copy(update={"token_shift": 3.0, "timestep_shift": 0.6})
    learn_subject(base, pictures(), name="V1", class_noun="dog", recipe=recipe)
    assert shifts == [3.0] * QUICK.token_steps + [0.6] * QUICK.adapter_steps


def test_a_motions_name_is_learned_at_several_places(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    real = type(base).encode_text

    def listen(self: Base, prompts: Sequence[str], tokens: Sequence[TokenVectors] = ()) -> torch.Tensor:
        told.extend(prompts)
        return real(self, prompts, tokens)

    monkeypatch.setattr(type(base), "encode_text", listen)
    recipe = QUICK.model_copy(update={"token_steps": 30})
    learn_motion(base, clips(), name="V2", class_noun="spinning", recipe=recipe)
    stage1 = [prompt for prompt in told if "<V2>" in prompt][:30]
    before = {prompt.partition("<V2>")[0] for prompt in stage1}
    assert {len(words.split()) for words in before} == {1, 3, 4}


def test_a_style_is_named_behind_several_things(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    real = type(base).encode_text

    def listen(self: Base, prompts: Sequence[str], tokens: Sequence[TokenVectors] = ()) -> torch.Tensor:
        told.extend(prompts)
        return real(self, prompts, tokens)

    monkeypatch.setattr(type(base), "encode_text", listen)
    recipe = QUICK.model_copy(update={"token_steps": 30, "token_lr": 1e-9})
    style = learn_subject(base, pictures(), name="V7", class_noun="", recipe=recipe, kind="style")
    stage1 = [prompt for prompt in told if "<V7>" in prompt][:30]
    assert set(stage1) == {"in <V7> style", "a picture in <V7> style", "a thing in <V7> style"}
    assert style.kind == "style" and torch.allclose(style.tokens, base.noun_vector("style"), atol=1e-6)
    assert guide([style]) is None  # a style's pictures show things that are not meant


def test_a_motions_adapter_is_silent_at_other_words(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its adapter beside the clock acts where the motion speaks, in learning and in use; in a dropped prompt it is not named."""
    if not base.tells_moments:
        pytest.skip("nothing acts beside a clock")
    heard: list[torch.Tensor] = []

    def listen(parts: Sequence[tuple[torch.nn.Module, torch.Tensor]]) -> Placed:
        heard.extend(places for _, places in parts)
        return Placed(parts)

    monkeypatch.setattr(lesson, "Placed", listen)
    monkeypatch.setattr(aggregate, "Placed", listen)
    recipe = QUICK.model_copy(update={"text_dropout": 0.5, "batch_size": 8})
    motion = learn_motion(base, clips(), name="V2", class_noun="spinning", recipe=recipe)
    named = torch.cat([places.any(1) for places in heard])
    assert 0.3 < named.float().mean() < 0.7
    assert not any(places[:, :2].any() for places in heard)  # "performing <V2>", "a thing performing <V2>"
    heard.clear()
    prompts = ["a dog performing <V2>", "<V2>"]
    generate_batch(base, prompts, [motion], CLIP)
    named, ended = base.places(prompts, "<V2>")
    places = (named | ended).float()
    assert torch.allclose(heard[0], torch.cat([torch.zeros_like(places), places])) and places.any()


def test_a_stored_learner_comes_back(base: Base, subject: Learner, motion: Learner, tmp_path: Path) -> None:
    for learner in (subject, motion):
        again = Learner.load(stored(learner, tmp_path), base)
        assert torch.allclose(again.tokens, learner.tokens, atol=1e-2)
        assert again.adapter_bytes() == learner.adapter_bytes()
        assert again.image_prototypes.shape == learner.image_prototypes.shape


def test_a_learner_of_another_base_is_refused(base: Base, subject: Learner, tmp_path: Path) -> None:
    short = replace(subject, tokens=subject.tokens[:-1])
    with pytest.raises(CcvdError, match="V1 has tokens"):
        Learner.load(stored(short, tmp_path), base)
    for change in ({"text_prototypes": torch.zeros(1, 3)}, {"image_prototypes": torch.zeros(2, 999)}):
        with pytest.raises(CcvdError, match=r"V1 has (text|image) prototypes"):
            Learner.load(stored(replace(subject, **change), tmp_path), base)
    path = stored(subject, tmp_path)
    site = next(iter(subject.adapters))
    save_file(
        {f"{site}/down.weight": torch.zeros(()), f"{site}/down.bias": torch.zeros(2)}, path.adapter_path
    )
    with pytest.raises(CcvdError, match="cannot be read"):
        Learner.load(path, base)
    path.adapter_path.write_bytes(b"\x00" * 64)
    with pytest.raises(CcvdError, match="cannot be read"):
        Learner.load(path, base)


def test_only_a_subject_guides_appearance(base: Base, subject: Learner, motion: Learner) -> None:
    """A motion's own clips would bring their looks into every prompt."""
    assert guide([motion]) is None
    if base.image_width:
        told = guide([motion, subject])
        assert told is not None and torch.equal(told, subject.image_prototypes[:1])


@pytest.mark.parametrize("scheduler", ["dpm++", "ddim"])
def test_a_clip_is_what_its_seed_says(base: Base, subject: Learner, motion: Learner, scheduler: str) -> None:
    settings = CLIP.model_copy(update={"scheduler": scheduler})
    prompt, learners = "a <V1> dog performing <V2>", [subject, motion]
    first = generate(base, prompt, learners, settings)
    assert first.shape == (5, 3, 32, 32) and first.min() >= 0 and first.max() <= 1
    assert torch.equal(generate(base, prompt, learners, settings), first)
    assert not torch.equal(generate(base, prompt, learners, settings.model_copy(update={"seed": 1})), first)


def test_learners_matter_and_are_gone_afterwards(base: Base, subject: Learner) -> None:
    strong = deepcopy(subject)
    for adapter in strong.adapters.values():
        torch.nn.init.normal_(adapter.up.weight, std=0.5)
    plain = generate(base, "a dog", [], CLIP)
    told = generate(base, "a <V1> dog", [strong], CLIP)
    assert not torch.allclose(plain, told, atol=1e-3)
    assert torch.equal(generate(base, "a dog", [], CLIP), plain)


def test_a_schedule_weighs_subjects_and_leaves_motions_alone(
    base: Base, subject: Learner, motion: Learner
) -> None:
    strong = deepcopy(subject)
    for adapter in strong.adapters.values():
        torch.nn.init.normal_(adapter.up.weight, std=0.5)

    def clip(schedule: str, learners: list[Learner]) -> torch.Tensor:
        settings = CLIP.model_copy(update={"subject_schedule": schedule})
        return generate(base, "a <V1> dog performing <V2>", learners, settings)

    bare = replace(strong, adapters={})
    assert torch.allclose(clip("0", [strong, motion]), clip("1", [bare, motion]), atol=1e-4)
    late, never = clip("0@0.5,1", [strong, motion]), clip("0", [strong, motion])
    always = clip("1", [strong, motion])
    assert not torch.allclose(late, never, atol=1e-3) and not torch.allclose(late, always, atol=1e-3)


def test_every_frame_is_told_its_own_moment_and_a_picture_none(
    unet: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[int]] = []
    still: list[int] = []
    tell, rest = type(unet).tell, type(unet).still
    monkeypatch.setattr(
        type(unet),
        "tell",
        lambda self, x, moments: told.append(moments.flatten().tolist()) or tell(self, x, moments),
    )
    monkeypatch.setattr(type(unet), "still", lambda self: still.append(1) or rest(self))
    generate(unet, "a dog", [], CLIP.model_copy(update={"steps": 1}))
    assert told == [[0, 1, 2, 3, 4]] and not still
    generate(unet, "a dog", [], CLIP.model_copy(update={"steps": 1, "frames": 1}))
    assert told == [[0, 1, 2, 3, 4]] and still  # without the temporal layers


def test_the_same_prompt_twice_is_two_clips(base: Base) -> None:
    one, other = generate_batch(base, ["a dog", "a dog"], [], CLIP.model_copy(update={"steps": 1}))
    assert not torch.allclose(one, other, atol=1e-3)


def test_a_batch_holds_each_prompt(base: Base) -> None:
    batch = generate_batch(base, ["a dog", "a cat", "a car"], [], CLIP)
    assert batch.shape == (3, 5, 3, 32, 32)
    assert not torch.allclose(batch[0], batch[1], atol=1e-4)


def test_an_unguided_clip_asks_the_base_once_a_step(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    unguided = CLIP.model_copy(update={"guidance_scale": 1.0})
    both = generate(base, "a dog", [], CLIP.model_copy(update={"guidance_scale": 1.0 + 1e-6}))
    rows: list[int] = []
    real = type(base).predict
    monkeypatch.setattr(
        type(base), "predict", lambda self, x, t, text: rows.append(len(x)) or real(self, x, t, text)
    )
    assert torch.allclose(generate(base, "a dog", [], unguided), both, atol=1e-3)
    assert rows == [1, 1, 1]


def test_steps_are_reported(base: Base) -> None:
    seen: list[tuple[int, int]] = []
    generate(base, "a dog", [], CLIP, lambda i, n: seen.append((i, n)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_single_frame_can_be_generated(base: Base) -> None:
    assert generate(base, "a dog", [], CLIP.model_copy(update={"frames": 1})).shape == (1, 3, 32, 32)


def test_half_precision_learns_and_composes(mini_folder: Path) -> None:
    """In bfloat16: two subjects in regions, guided, and a motion."""
    half = open_base(str(mini_folder), device="cpu", dtype="bfloat16")
    how = {"class_noun": "dog", "recipe": QUICK}
    one, two = (learn_subject(half, pictures(), name=name, **how) for name in ("V1", "V2"))  # type: ignore[arg-type]
    moving = learn_motion(half, clips(), name="V3", class_noun="spinning", recipe=QUICK)
    regions = tuple(side_by_side(["a <V1> dog", "a <V2> dog"]))
    settings = CLIP.model_copy(update={"regions": regions})
    clip = generate(half, "a <V1> dog and a <V2> dog performing <V3>", [one, two, moving], settings)
    assert clip.isfinite().all() and clip.std() > 0


def test_a_loss_that_is_no_number_names_its_stage(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        lesson, "diffusion_loss", lambda *_, **__: torch.tensor(float("nan"), requires_grad=True)
    )
    with pytest.raises(CcvdError, match="the loss of stage tokens is not a number at step 5"):
        learn_subject(base, pictures(), name="V1", class_noun="dog", recipe=QUICK)


def test_tokens_start_from_the_recipes_word(base: Base) -> None:
    recipe = QUICK.model_copy(update={"token_steps": 0, "token_start": "cat"})
    learner = learn_subject(base, pictures(), name="V1", class_noun="dog", recipe=recipe)
    assert torch.equal(learner.tokens[0], base.noun_vector("cat"))


def test_fine_tuning_goes_on_from_another_adapter_and_leaves_it_alone(base: Base, subject: Learner) -> None:
    before = subject.adapter_bytes()
    recipe = QUICK.model_copy(update={"adapter_steps": 1, "adapter_lr": 1e-6})
    onto = learn_subject(base, pictures(), name="V5", class_noun="cat", recipe=recipe, onto=subject.adapters)
    for name, adapter in onto.adapters.items():
        assert torch.allclose(adapter.up.weight, subject.adapters[name].up.weight, atol=1e-4)
    assert subject.adapter_bytes() == before


def test_adapters_that_go_on_act_while_tokens_are_learned(base: Base, subject: Learner) -> None:
    images, recipe = pictures(), QUICK.model_copy(update={"adapter_steps": 1})

    def tokens(**more: object) -> torch.Tensor:
        return learn_subject(base, images, name="V5", class_noun="cat", recipe=recipe, **more).tokens  # type: ignore[arg-type]

    acting = {site: subject.adapters[site.name] for site in base.sites if site.name in subject.adapters}
    with attached(base.denoiser, acting):
        expected = tokens()
    assert torch.equal(tokens(onto=subject.adapters), expected)
    assert not torch.equal(tokens(), expected)


def test_a_concept_that_has_diverged_is_not_kept(subject: Learner) -> None:
    site, adapter = next(iter(subject.adapters.items()))
    wild = deepcopy(adapter)
    with torch.no_grad():
        wild.up.weight[0, 0] = 1e6  # beyond float16
    with pytest.raises(CcvdError, match="training has diverged") as caught:
        replace(subject, adapters={**subject.adapters, site: wild}).adapter_bytes()
    assert "--lr" in caught.value.hint


def test_frames_that_are_no_numbers_are_told(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(base), "decode_video", lambda self, latents: latents * torch.nan)
    with pytest.raises(CcvdError, match="is not a number"):
        generate(base, "a dog", [], CLIP)
