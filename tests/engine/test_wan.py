"""Wan's family: what it answers is what diffusers' own parts answer, and what of it is ours."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import cast

import pytest
import torch
from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
from safetensors.torch import load_file, save_file
from test_adapters import trained
from test_aggregate import concept
from test_learn_and_sample import QUICK

from ccvd_cli.engine import attention
from ccvd_cli.engine.adapters import attached
from ccvd_cli.engine.aggregate import candidates, weigh
from ccvd_cli.engine.attention import LayerTextAttention, attention_map
from ccvd_cli.engine.attention_maps import watching
from ccvd_cli.engine.bases import find_base, open_base
from ccvd_cli.engine.bases.contract import TokenVectors
from ccvd_cli.engine.bases.wan import REMEMBERED, WanBase, run_again
from ccvd_cli.engine.compose import generate
from ccvd_cli.engine.edit import edit, start_inverted
from ccvd_cli.engine.learn import learn_motion, learn_subject
from ccvd_cli.engine.regions import in_latents
from ccvd_cli.engine.sample import ClassifierFree, guided, sample
from ccvd_cli.errors import CcvdError, UsageError
from ccvd_cli.regions import parse
from ccvd_cli.settings import RECIPES, SAMPLING, EditSettings, SampleSettings, learning_of

CLIP = SampleSettings(steps=3, frames=5, height=32, width=32, guidance_scale=3.0)


@pytest.fixture(scope="module")
def wan(wan_folder: Path) -> WanBase:
    return cast(WanBase, open_base(str(wan_folder), device="cpu", dtype="float32"))


def test_the_answer_to_a_prompt_is_that_of_diffusers_own_parts(wan: WanBase, wan_folder: Path) -> None:
    """Text per layer, projected beforehand, read by processors of our own."""
    own = WanTransformer3DModel.from_pretrained(wan_folder / "transformer")
    pipeline = WanPipeline(wan.tokenizer, wan.text_encoder, wan.vae, None, own)
    prompts = ["a red dog jumping", ""]
    said = pipeline._get_t5_prompt_embeds(prompts, max_sequence_length=24)
    latents, times = torch.randn(2, *wan.latent_shape(9, 32, 48)), torch.tensor([3.5, 900.0])
    with torch.no_grad():
        expected = own(latents, times, said, return_dict=False)[0]
        answer = wan.predict(latents, times, wan.encode_text(prompts))
    assert torch.allclose(answer, expected, atol=1e-5)
    assert not torch.allclose(answer[0], answer[1], atol=1e-2)


def test_clips_become_latents_as_the_base_knows_them(wan: WanBase, wan_folder: Path) -> None:
    """(z - mean) / std, the mean and the deviation of each channel; the pipeline undoes it before it decodes."""
    own = AutoencoderKLWan.from_pretrained(wan_folder / "vae")
    frames = torch.rand(2, 9, 3, 32, 32) * 2 - 1
    latents = wan.encode_video(frames)
    assert latents.shape == (2, *wan.latent_shape(9, 32, 32)) == (2, 4, 3, 8, 8)
    with torch.no_grad():
        z = own.encode(frames.transpose(1, 2)).latent_dist.mode()
    for c, (mean, std) in enumerate(zip(own.config.latents_mean, own.config.latents_std, strict=True)):
        assert torch.allclose(latents[:, c], (z[:, c] - mean) / std, atol=1e-5)
    with torch.no_grad():
        expected = own.decode(z).sample.transpose(1, 2)
    assert torch.allclose(wan.decode_video(latents), expected, atol=1e-4)
    (picture,) = wan.encode_video(frames[:1, :1])
    assert torch.allclose(picture[:, 0], latents[0, :, 0], atol=1e-5)  # a clip begins with a picture


def test_a_prompt_is_read_once_and_not_at_every_step(wan_folder: Path) -> None:
    """By the text encoder, and by what projects its answer; whoever is named in it."""
    wan = cast(WanBase, open_base(str(wan_folder), device="cpu", dtype="float32"))
    read: list[int] = []
    wan.text_encoder.register_forward_hook(lambda *_: read.append(1))
    generate(wan, "a red dog", [], CLIP)
    assert len(read) == 2  # the prompt, and the empty one
    for name in ("V1", "V2"):
        learn_motion(wan, [torch.rand(5, 3, 32, 32)], name=name, class_noun="jumping", recipe=QUICK)
    asked = len(read)
    moved: list[object] = []
    stays = wan.text_encoder.to
    wan.text_encoder.to = lambda where: moved.append(where) or stays(where)  # type: ignore[method-assign]
    texts = wan.encode_text(["a red dog", "", "a red dog"])
    generate(wan, "a red dog", [], CLIP)
    assert moved == []  # all that was asked is remembered
    generate(wan, "a red cat", [], CLIP)
    assert [str(where) for where in moved] == [
        "cpu",
        "cpu",
    ]  # to the device, and away from it before the first step
    asked += 1
    assert torch.equal(texts[0], texts[2]) and not torch.equal(texts[0], texts[1]) and len(read) == asked
    prompts = [f"a {i}" for i in range(REMEMBERED + 5)]
    many = wan.encode_text(prompts)
    assert len(many) == len(prompts) and len(wan._answered) == REMEMBERED
    assert torch.equal(wan.encode_text(prompts[:1])[0], many[0])


def test_a_name_changes_what_is_read_at_its_place_alone(wan: WanBase) -> None:
    """The encoder reads it as a word left out, whoever is named; a layer's own vector stands in what it answers."""
    one, two = (TokenVectors("<V1>", torch.randn(wan.text_layers, wan.token_width)) for _ in range(2))
    a, b = (wan.encode_text(["a <V1> dog", "a dog"], [t])[:, :, :] for t in (one, two))
    assert torch.equal(a[1], wan.encode_text(["a dog"])[0]) and torch.equal(a[1], b[1])
    differs = (a != b).any(-1)
    assert differs[0].all(0).tolist() == [i == 1 for i in range(24)] == differs[0].any(0).tolist()
    assert torch.allclose(a[0, :, 1], wan.text_embedder(one.vectors), atol=1e-6)
    assert torch.equal(wan.token_states(one), wan.text_embedder(one.vectors))
    other = wan.encode_text(["a <V7> dog"], [TokenVectors("<V7>", one.vectors)])
    assert torch.equal(other[0], a[0])
    left_out = wan.encode_text(["a <extra_id_0> dog and <extra_id_1>"])[0]
    several = wan.encode_text(["a <V1> dog and <V7>"], [one, TokenVectors("<V7>", two.vectors)])[0]
    kept = [0, 2, 3, 5]  # all but the names; the second of them is the second word that is left out
    assert torch.equal(left_out[:, kept], several[:, kept])
    assert not torch.equal(left_out[:, 1], several[:, 1])


def test_names_and_the_end_are_found(wan: WanBase) -> None:
    named, ended = wan.places(["a <V1> dog", "a cat", " a   <V1>"], "<V1>")
    assert [row.nonzero().flatten().tolist() for row in named] == [[1], [], [1]]
    assert [row.nonzero().flatten().tolist() for row in ended] == [[3], [], [2]]
    assert [row.nonzero().flatten().tolist() for row in wan.words(["a red dog", ""])] == [[0, 1, 2], []]
    start = wan.noun_vector("dog")
    assert start.shape == (wan.token_width,) and not torch.equal(start, wan.noun_vector("cat"))
    with pytest.raises(UsageError, match="no letters"):
        wan.noun_vector(" ")
    with pytest.raises(UsageError, match="stands too late"):
        wan.places(["a " * 30 + "<V1>"], "<V1>")


def test_who_is_named_weighs_as_much_as_anybody_else_who_is(wan: WanBase) -> None:
    """A name's state is the concept's own, whatever stands around it."""
    learners = [concept(wan, "V1"), concept(wan, "V2")]
    prompt = "a <V1> dog and a <V2> cat"
    states = wan.encode_text([prompt], [x.token_vectors() for x in learners])
    shares = weigh(wan, [prompt], states, candidates(learners), CLIP)
    assert torch.allclose(torch.stack([s.weights for s in shares]), torch.tensor(0.5))


@pytest.mark.parametrize("scheduler", ["dpm++", "ddim"])
def test_on_a_straight_path_every_step_is_right(wan: WanBase, scheduler: str) -> None:
    """x_s = (1 - s) x_0 + s noise: whoever answers noise - x_0 is led to x_0, in however many steps."""
    shape = (1, *wan.latent_shape(5, 32, 32))
    settings = CLIP.model_copy(update={"scheduler": scheduler, "steps": 4, "seed": 5})
    clean = torch.randn(shape)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    made = sample(wan, lambda latents, t: noise - clean, shape, settings)
    assert torch.allclose(made, clean, atol=1e-2)  # the first level is a hair below all noise
    noisy, target = wan.noise_and_target(clean, noise, torch.tensor([250.0]))
    assert torch.allclose(noisy, 0.75 * clean + 0.25 * noise) and torch.equal(target, noise - clean)


def test_noise_levels_are_shifted_as_the_base_says(wan: WanBase) -> None:
    """s' = k s / (1 + (k - 1) s), with k = 3 here; training's own shift does the same to times drawn evenly."""
    for name in ("dpm++", "ddim"):
        s = torch.linspace(1 - 1 / 1000, 0, 5)
        assert torch.allclose(wan.scheduler(name, 4).sigmas, 3 * s / (1 + 2 * s), atol=1e-3)
        assert torch.equal(wan.scheduler(name, 4).timesteps, 1000 * wan.scheduler(name, 4).sigmas[:-1])
    there, back = wan.scheduler("ddim", 4), wan.scheduler("ddim-inverse", 4)
    assert torch.equal(back.sigmas, there.sigmas.flip(0))
    assert torch.equal(back.timesteps, there.timesteps.flip(0))
    even = wan.timesteps(4000, torch.Generator().manual_seed(0))
    high = wan.timesteps(4000, torch.Generator().manual_seed(0), shift=3.0)
    assert torch.allclose(high, 1000 * 3 * even / (1000 + 2 * even), atol=1e-2)
    assert len(wan.scheduler("dpm++", 1000).timesteps.unique()) == 1000
    with pytest.raises(UsageError, match="unknown scheduler 'euler'"):
        wan.scheduler("euler", 4)


def test_inversion_climbs_the_levels_that_sampling_falls(wan: WanBase) -> None:
    clean = torch.randn(1, *wan.latent_shape(5, 32, 32))
    settings = CLIP.model_copy(update={"scheduler": "ddim", "steps": 20})
    start = start_inverted(wan, clean, "a dog", settings, 0.5)
    assert start.first == 10 and not torch.allclose(start.latents, clean, atol=0.1)
    text = wan.encode_text(["a dog"])
    back = sample(wan, guided(wan, text, ClassifierFree(1)), tuple(clean.shape), settings, start=start)
    assert (back - clean).square().mean() < 0.02 * clean.square().mean()


def test_a_clip_of_any_length_can_be_edited(wan: WanBase) -> None:
    """It is made longer, standing still at its end, and cut again."""
    assert [wan.frames_for(n) for n in (1, 2, 5, 6, 9)] == [1, 5, 5, 9, 9]
    frames = torch.rand(6, 3, 32, 32) * 2 - 1
    for method in ("noise", "ddim"):
        how = EditSettings(method=method)  # type: ignore[arg-type]
        assert edit(wan, frames, "a cat", [], CLIP, how).shape == (6, 3, 32, 32)


def test_a_moving_box_is_where_it_is_on_average_in_frames_that_are_kept_as_one() -> None:
    boxes = torch.arange(9.0).view(1, 9, 1).expand(-1, -1, 4)
    assert in_latents(boxes, 3)[0, :, 0].tolist() == [0, 2.5, 6.5]
    assert torch.equal(in_latents(boxes, 9), boxes) and in_latents(boxes[:, :1], 1).shape == (1, 1, 4)


def test_moving_boxes_move_what_is_in_them(wan: WanBase) -> None:
    learners = [concept(wan, "V1"), concept(wan, "V2")]
    moving = parse("a <V1> dog @ 0: 0,0,0.5,1 ; 8: 0.5,0,1,1")
    settings = CLIP.model_copy(update={"frames": 9, "regions": (moving, parse("a <V2> cat @ 0,0,1,0.5"))})
    clip = generate(wan, "a <V1> dog and a <V2> cat", learners, settings)
    assert clip.shape == (9, 3, 32, 32)
    still = settings.model_copy(update={"regions": (parse("a <V1> dog @ 0,0,0.5,1"), settings.regions[1])})
    assert not torch.allclose(clip, generate(wan, "a <V1> dog and a <V2> cat", learners, still), atol=1e-3)


def test_a_motion_is_learned_beside_self_attention_and_feed_forward(wan: WanBase) -> None:
    clips = [torch.rand(5, 3, 32, 32) * 2 - 1 for _ in range(2)]
    before = {k: v.clone() for k, v in wan.denoiser.state_dict().items()}
    learned = learn_motion(wan, clips, name="V3", class_noun="jumping", recipe=QUICK)
    assert set(learned.adapters) == {f"blocks.{i}.{site}" for i in range(3) for site in ("attn1", "ffn")}
    assert all(a.cond is None and a.up.weight.abs().sum() > 0 for a in learned.adapters.values())
    assert all(torch.equal(v, before[k]) for k, v in wan.denoiser.state_dict().items())


def test_concepts_join_where_their_kinds_do(wan: WanBase) -> None:
    joined = [(s.name, s.norm, s.kind, s.layer) for s in wan.sites if s.name.startswith("blocks.1.")]
    assert joined == [
        ("blocks.1.attn2", "blocks.1.norm2", "spatial", 1),
        ("blocks.1.attn1", "blocks.1.norm1", "temporal", 1),
        ("blocks.1.ffn", "blocks.1.norm3", "temporal", 1),
    ]
    assert [s.layer for s in wan.sites_of("spatial")] == [0, 1, 2] and len(wan.sites) == 9


def test_gradients_of_blocks_that_run_again_are_those_of_blocks_that_are_kept(wan: WanBase) -> None:
    """They are taken when adapters and maps are long detached, and another clip was made in between."""
    sites = {s: trained(s.width, 8).requires_grad_(True) for s in wan.sites}
    names = [s.name for s in wan.sites_of("spatial")][:2]
    vectors = torch.randn(wan.text_layers, wan.token_width, requires_grad=True)
    latents = torch.randn(1, *wan.latent_shape(5, 32, 32))
    learned = [vectors, *(p for a in sites.values() for p in a.parameters())]

    def gradients() -> list[torch.Tensor]:
        text = wan.encode_text(["a <V1> dog"], [TokenVectors("<V1>", vectors)])
        with attached(wan.denoiser, sites), watching(wan.denoiser, names) as maps:
            answer = wan.predict(latents, torch.tensor([500.0]), text)
        loss = answer.square().mean() + sum(seen[..., 1].mean() for seen in maps.values())
        generate(wan, "a cat", [], CLIP)
        return list(torch.autograd.grad(loss, learned))

    again = gradients()
    wan.denoiser.disable_gradient_checkpointing()
    try:
        kept = gradients()
    finally:
        wan.denoiser.enable_gradient_checkpointing(run_again)
    assert all(g.abs().sum() > 0 for g in kept)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(again, kept, strict=True))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in wan.denoiser.modules())


def test_long_prompts_are_read_alike_by_both_ways_to_attend(wan: WanBase) -> None:
    """Short ones on CPUs by a product written out, Wan's own 512 tokens by the fused kernel; large maps head by head."""
    attn = wan.denoiser.get_submodule("blocks.0.attn2")
    hidden, text = torch.randn(2, 6, 24), torch.randn(2, 3, 300, 24)
    fused = LayerTextAttention(0, plain=True)(attn, hidden, text)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        whole = attention_map(attn, hidden, text[:, 0])
        patch.setattr(attention, "_SHORT", 512)
        patch.setattr(attention, "_LARGE", 1)
        assert torch.allclose(LayerTextAttention(0, plain=True)(attn, hidden, text), fused, atol=1e-5)
        assert torch.allclose(attention_map(attn, hidden, text[:, 0]), whole, atol=1e-6)


def test_all_of_it_works_in_half_precision(wan_folder: Path) -> None:
    half = open_base(str(wan_folder), device="cpu", dtype="bfloat16")
    photos = list(torch.rand(2, 3, 32, 32) * 2 - 1)
    recipe = QUICK.model_copy(update={"find_masks": True, "keep_weight": 1.0, "attention_mask_weight": 0.2})
    dog = learn_subject(half, photos, name="V1", class_noun="dog", recipe=recipe)
    cat = learn_subject(half, photos, name="V2", class_noun="cat", recipe=QUICK)
    boxes = (parse("a <V1> dog @ 0,0,0.5,1"), parse("a <V2> cat @ 0.5,0,1,1"))
    settings = CLIP.model_copy(update={"regions": boxes})
    assert generate(half, "a <V1> dog and a <V2> cat", [dog, cat], settings).shape == (5, 3, 32, 32)
    how = EditSettings(method="ddim")
    assert edit(half, torch.rand(5, 3, 32, 32), "a <V1> dog", [dog], CLIP, how).isfinite().all()


def test_weights_that_are_missing_are_told(wan_folder: Path, tmp_path: Path) -> None:
    for part, name in (("text_encoder", "model"), ("transformer", "diffusion_pytorch_model")):
        copy = Path(shutil.copytree(wan_folder, tmp_path / part))
        weights = copy / part / f"{name}.safetensors"
        kept = load_file(weights)
        del kept[sorted(kept)[0]]
        save_file(kept, weights, {"format": "pt"})
        with pytest.raises(CcvdError, match=f"{part} of the base in .* has no weights"):
            open_base(str(copy), device="cpu")


def test_half_precision_keeps_the_time_exact(wan: WanBase, wan_folder: Path) -> None:
    """In bfloat16 996 and 1000 are one number."""
    half = cast(WanBase, open_base(str(wan_folder), device="cpu", dtype="bfloat16"))
    told: list[torch.Tensor] = []
    handle = half.denoiser.condition_embedder.time_embedder.register_forward_hook(
        lambda _, __, out: told.append(out)
    )
    latents, text = torch.randn(2, *half.latent_shape(5, 32, 32)), half.encode_text(["a dog", "a cat"])
    answer = half.predict(latents, torch.tensor([996.0, 1000.0]), text)
    handle.remove()
    assert told[0].dtype == torch.float32 and not torch.equal(told[0][0], told[0][1])
    near = wan.predict(latents, torch.tensor([996.0, 1000.0]), wan.encode_text(["a dog", "a cat"]))
    assert answer.dtype == torch.float32 and (answer - near).abs().max() < 0.1 * near.abs().max()


def test_lengths_and_sizes_are_told_before_anything_is_loaded(wan_folder: Path, tmp_path: Path) -> None:
    found = find_base(str(wan_folder))
    assert (found.family, found.stride, found.frame_stride, found.own_size) == ("wan", 4, 4, None)
    found.check_size(32, 40, 9)
    for frames, near in ((16, 17), (4, 5), (2, 5), (31, 33)):
        with pytest.raises(UsageError, match=f"{frames} frames") as refused:
            found.check_size(32, 32, frames)
        assert refused.value.hint == f"try {near}"
    with pytest.raises(UsageError, match="width 36 is not a multiple of 8"):
        found.check_size(32, 36)
    copy = Path(shutil.copytree(wan_folder, tmp_path / "copy"))
    config = copy / "transformer" / "config.json"
    config.write_text(
        json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != "patch_size"})
    )
    with pytest.raises(UsageError, match=r"transformer/config\.json has no patch_size"):
        find_base(str(copy)).check_size(32, 32)
    for usual in (SAMPLING["wan"], learning_of("wan", "subject"), learning_of("wan", "motion")):
        found.check_size(usual.height, usual.width, usual.frames)
    assert all((recipe.frames - 1) % 4 == 0 for kind, recipe in RECIPES["wan"].items() if kind == "motion")


def test_pictures_are_learned_uncropped_unless_another_size_is_asked_for() -> None:
    usual = SAMPLING["wan"]
    assert learning_of("wan", "subject", usual).width == learning_of("wan", "style").height == 624
    assert learning_of("wan", "motion", usual) == usual
    small = usual.model_copy(update={"height": 240})
    assert learning_of("wan", "subject", small) == small
    assert learning_of("mini", "subject") == SAMPLING["mini"]


@pytest.mark.parametrize("what", ["two experts", "pictures", "channels", "patches"])
def test_other_wans_are_refused(wan_folder: Path, tmp_path: Path, what: str) -> None:
    copy = Path(shutil.copytree(wan_folder, tmp_path / "copy"))
    if what == "two experts":
        (copy / "transformer_2").mkdir()
    part, other = {
        "two experts": ("transformer", {}),
        "pictures": ("transformer", {"image_dim": 1280}),
        "channels": ("transformer", {"in_channels": 9}),
        "patches": ("vae", {"patch_size": 2}),
    }[what]
    config = copy / part / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | other))
    with pytest.raises(UsageError, match=r"another Wan than 2\.1's"):
        find_base(str(copy))
