"""What every family promises: sites, text states per layer, shapes, noise and target, an untouched denoiser."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from ccvd_cli.commands.request import last_seen
from ccvd_cli.engine.bases import find_base, open_base
from ccvd_cli.engine.bases.contract import Base, TokenVectors
from ccvd_cli.engine.bases.latent import LatentBase
from ccvd_cli.engine.bases.unet3d import Shared
from ccvd_cli.engine.hub import fingerprint
from ccvd_cli.errors import CcvdError, UsageError


def small(base: Base, frames: int = 5) -> tuple[int, int, int, int]:
    return base.latent_shape(frames, 32, 32)


def test_sites_are_where_dreamvideo_puts_them(unet: Base) -> None:
    spatial, temporal = unet.sites_of("spatial"), unet.sites_of("temporal")
    assert [s.name for s in unet.sites_of("moment")] == ["clock.told"] * unet.tells_moments  # one of our own
    assert all(".attentions." in s.name and s.name.endswith("attn2") for s in spatial)
    assert [s.layer for s in spatial] == list(range(unet.text_layers))
    assert not any(".attentions." in s.name for s in temporal)
    assert {s.name.rpartition(".")[2] for s in temporal} == {"attn1", "attn2", "ff"}
    if unet.family == "unet3d":  # ModelScope's layout: 16 spatial cross-attentions, 17 temporal blocks
        assert len(spatial) == 16 and len(temporal) == 17 * 3


def test_temporal_sites_follow_the_spatial_layer_beside_them(unet: Base) -> None:
    layers = {s.name.removesuffix(".transformer_blocks.0.attn2"): s.layer for s in unet.sites_of("spatial")}
    for site in unet.sites_of("temporal"):
        block = site.name.split(".transformer_blocks")[0]
        beside = block.replace("motion_modules", "attentions").replace("temp_attentions", "attentions")
        if beside in layers:
            assert site.layer == layers[beside]


def test_encode_decode_shapes_and_range(base: Base) -> None:
    frames = torch.rand(2, 5, 3, 32, 32) * 2 - 1
    latents = base.encode_video(frames)
    assert latents.shape == (2, *small(base))
    seen = base.decode_video(latents)
    assert seen.shape == frames.shape and seen.abs().max() <= 1


def test_prompts_without_placeholders_have_equal_states_in_all_layers(base: Base) -> None:
    text = base.encode_text(["a dog on the beach", ""])
    assert text.shape == (2, base.text_layers, 24, base.text_width)
    assert torch.equal(text[:, 0], text[:, -1])


def test_each_layer_gets_its_own_token_vector(base: Base) -> None:
    same = base.noun_vector("dog").expand(base.text_layers, -1).clone()
    plain = base.encode_text(["a <V1> dog"], [TokenVectors("<V1>", same)])
    changed = same.clone()
    changed[1] += torch.randn(base.token_width)  # a constant would be lost in the layer norms
    text = base.encode_text(["a <V1> dog"], [TokenVectors("<V1>", changed)])
    differs = [(plain[0, i] - text[0, i]).abs().max().item() > 1e-4 for i in range(base.text_layers)]
    assert differs == [i == 1 for i in range(base.text_layers)]


def test_a_placeholder_started_from_a_noun_reads_as_that_noun(unet: Base) -> None:
    vectors = unet.noun_vector("dog").expand(unet.text_layers, -1)
    told = unet.encode_text(["a <V7> on the beach"], [TokenVectors("<V7>", vectors)])
    assert torch.allclose(told, unet.encode_text(["a dog on the beach"]), atol=1e-5)


def test_placeholders_are_told_apart_by_case_and_number(base: Base) -> None:
    tokens = [
        TokenVectors(p, torch.randn(base.text_layers, base.token_width)) for p in ("<V1>", "<V11>", "<v1>")
    ]
    states = [base.encode_text([f"a {t.placeholder}"], tokens)[0, 0] for t in tokens]
    twin = base.encode_text(["a <V7>"], [TokenVectors("<V7>", tokens[1].vectors)])[0, 0]
    assert torch.allclose(states[1], twin, atol=1e-5), "<V11> is not one token of its own"
    assert not torch.allclose(states[0], states[1]) and not torch.allclose(states[0], states[2])


def test_token_gradients_reach_every_layer(base: Base) -> None:
    vectors = torch.zeros(base.text_layers, base.token_width, requires_grad=True)
    text = base.encode_text(["a <V1> dog"], [TokenVectors("<V1>", vectors)])
    latents = torch.randn(1, *small(base))
    base.predict(latents, torch.tensor([500]), text).square().mean().backward()
    assert vectors.grad is not None and (vectors.grad.abs().amax(1) > 0).all()


def test_layer_states_reach_their_layer_and_only_spatial_cross_attention(unet: Base) -> None:
    """Each spatial cross-attention must read its own slice; temporal attention must never see text."""
    seen: dict[str, torch.Tensor | None] = {}
    handles = []
    for name, module in unet.denoiser.named_modules():
        if name.endswith((".attn1", ".attn2")):

            def note(m: torch.nn.Module, args: tuple, kwargs: dict, out: object, name: str = name) -> None:
                seen[name] = kwargs.get("encoder_hidden_states")

            handles.append(module.register_forward_hook(note, with_kwargs=True))
    keys: dict[int, torch.Tensor] = {}
    for site in unet.sites_of("spatial"):

        def catch(m: torch.nn.Module, args: tuple, layer: int = site.layer) -> None:
            keys[layer] = args[0]

        handles.append(unet.denoiser.get_submodule(f"{site.name}.to_k").register_forward_pre_hook(catch))
    text = torch.randn(1, unet.text_layers, 24, unet.text_width)
    latents = torch.randn(1, *small(unet))
    told = unet.tell(text, torch.arange(latents.shape[2])[None])
    unet.predict(latents, torch.tensor([300]), told)
    for handle in handles:
        handle.remove()
    spatial = {s.name for s in unet.sites_of("spatial")}
    assert {n for n, value in seen.items() if value is not None} == spatial
    for i in range(
        unet.text_layers
    ):  # UNet3D repeats the text for every frame; mini tells each frame its own
        mine = told[0, i] if unet.tells_moments else text[:, i]
        assert torch.allclose(keys[i], mine.expand(len(keys[i]), -1, -1), atol=1e-6)


def test_a_concept_speaks_at_its_name_and_at_the_end(unet: Base) -> None:
    """A name is one token, whatever the vocabulary; behind the end token all is padding."""
    names = ["<V1>", "<V3>"]
    prompts = ["<V1> <V3>", "<V3> <V1>", "<V1>", "a dog", ""]
    length = unet.encode_text([""]).shape[2]

    def speaks(*places: int) -> list[bool]:
        return [place in places for place in range(length)]

    unet.encode_text(
        prompts, [TokenVectors(n, torch.zeros(unet.text_layers, unet.token_width)) for n in names]
    )
    end = speaks(*range(3, length))
    named, ended = unet.places(prompts, "<V3>")
    assert named.tolist() == [speaks(2), speaks(1), speaks(), speaks(), speaks()]
    assert ended.tolist() == [end, end, speaks(), speaks(), speaks()]
    assert unet.places(prompts, "<V1>").ended.tolist()[2] == speaks(*range(2, length))
    words = unet.words(prompts).tolist()
    assert words == [speaks(1, 2), speaks(1, 2), speaks(1), speaks(1, 2), speaks()]


def test_text_matters_and_samples_do_not_mix(base: Base) -> None:
    latents = torch.randn(2, *small(base))
    text = base.encode_text(["a red dog", "a blue car"])
    both = base.predict(latents, torch.tensor([400, 400]), text)
    alone = base.predict(latents[1:], torch.tensor([400]), text[1:])
    assert torch.allclose(both[1:], alone, atol=1e-4)
    assert not torch.allclose(base.predict(latents[1:], torch.tensor([400]), text[:1]), alone, atol=1e-4)


def test_noise_and_target_are_consistent(unet: Base) -> None:
    """Undoing the target from the noisy latents gives the clean ones back."""
    x, noise = torch.randn(2, *small(unet)), torch.randn(2, *small(unet))
    t = torch.tensor([100, 700])
    noisy, target = unet.noise_and_target(x, noise, t)
    alpha = unet._training.alphas_cumprod[t].view(-1, 1, 1, 1, 1)  # type: ignore[attr-defined]
    if unet._training.config.prediction_type == "v_prediction":  # type: ignore[attr-defined]
        again = alpha.sqrt() * noisy - (1 - alpha).sqrt() * target
    else:
        again = (noisy - (1 - alpha).sqrt() * target) / alpha.sqrt()
    assert torch.allclose(again, x, atol=1e-4)


def test_shift_moves_training_towards_noise(base: Base) -> None:
    even = base.timesteps(4000, torch.Generator().manual_seed(0)).float().mean()
    high = base.timesteps(4000, torch.Generator().manual_seed(0), shift=3.0).float().mean()
    assert 480 < even < 520 and high > 600


@pytest.mark.parametrize("name", ["dpm++", "ddim", "ddim-inverse"])
@pytest.mark.parametrize("steps", [1, 7, 61, 103, 227, 999])
def test_schedulers_take_the_asked_steps(unet: Base, name: str, steps: int) -> None:
    """Of 61 and some other numbers of steps diffusers makes one too many, at -1."""
    made = unet.scheduler(name, steps)
    assert len(made.timesteps) == len(set(made.timesteps.tolist())) == made.num_inference_steps == steps
    assert 0 <= made.timesteps.min() <= made.timesteps.max() < 1000
    if name == "dpm++":
        assert len(made.sigmas) == steps + 1 and (made.sigmas.diff() < 0).all()


def test_more_steps_than_noise_levels_are_refused(unet: Base) -> None:
    if unet.family == "mini":
        assert len(unet.scheduler("dpm++", 1000).timesteps) == 1000
    else:
        with pytest.raises(UsageError, match="--steps 1000"):
            unet.scheduler("dpm++", 1000)


def test_odd_sizes_are_refused_with_a_way_out(base: Base) -> None:
    with pytest.raises(UsageError, match="height 50"):
        base.latent_shape(5, 50, 64)


def test_more_frames_than_positions_are_refused(mini_folder: Path) -> None:
    with pytest.raises(UsageError, match="17 frames"):
        open_base(str(mini_folder), device="cpu").latent_shape(17, 32, 32)


def test_still_passes_by_the_motion_modules(mini_folder: Path) -> None:
    base = open_base(str(mini_folder), device="cpu", dtype="float32")
    x, t, text = torch.randn(1, *small(base, 1)), torch.tensor([200]), base.encode_text(["a dog"])
    moving = base.predict(x, t, text)
    with base.still():
        still = base.predict(x, t, text)
    assert not torch.allclose(moving, still, atol=1e-5)
    assert torch.equal(base.predict(x, t, text), moving)


def test_half_precision_on_cpus_answers_as_autocast_does(unet: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, though frozen weights are kept in it instead of copied at every pass; and so are the gradients of the text."""
    frames = torch.rand(1, 3, 3, 32, 32) * 2 - 1
    x, t = torch.randn(2, *small(unet, 3)), torch.tensor([200, 700])
    text = unet.encode_text(["a dog", "a cat"])

    def answers() -> list[torch.Tensor]:
        half = open_base(unet.location, device="cpu", dtype="bfloat16")
        told = text.clone().requires_grad_()
        predicted = half.predict(x, t, told)
        predicted.square().sum().backward()
        assert half.denoiser.conv_in.weight.dtype == narrow and told.grad is not None
        return [predicted.detach(), told.grad, half.encode_video(frames), half.decode_video(x[:, :, :1])]

    narrow = torch.bfloat16
    ours = answers()
    narrow = torch.float32
    monkeypatch.setattr(LatentBase, "_narrowed", lambda *_: None)
    for mine, theirs in zip(ours, answers(), strict=True):
        assert torch.equal(mine, theirs)


def test_fingerprint_follows_content_not_place(mini_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(mini_folder, copy)
    original = open_base(str(mini_folder), device="cpu").fingerprint
    assert open_base(str(copy), device="cpu").fingerprint == original
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert open_base(str(copy), device="cpu").fingerprint != original


def test_text_is_projected_once_however_many_frames_read_it(
    unet3d_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = open_base(str(unet3d_folder), device="cpu", dtype="float32")
    latents, times = torch.randn(2, *small(base)), torch.tensor([10, 500])
    text = base.encode_text(["a dog", "a cat"])
    rows: list[int] = []
    for site in base.sites_of("spatial"):
        projection = base.denoiser.get_submodule(f"{site.name}.to_k")
        projection.register_forward_hook(lambda _, args, __: rows.append(len(args[0])))
    answer = base.predict(latents, times, text)
    assert rows == [2] * base.text_layers
    monkeypatch.delattr(Shared, "repeat_interleave")  # as the denoiser has it by itself
    rows.clear()
    assert torch.allclose(base.predict(latents, times, text), answer, atol=1e-5)
    assert rows == [2 * 5] * base.text_layers


def test_a_fingerprint_minds_no_weights_that_nobody_loads(mini_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(mini_folder, tmp_path / "copy"))
    original = open_base(str(copy), device="cpu").fingerprint
    for name in (
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.safetensors.index.fp16.json",
    ):
        (copy / "unet" / name).write_bytes(b"in another precision")
    assert open_base(str(copy), device="cpu").fingerprint == original
    (copy / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_bytes(b"{}")
    assert fingerprint(copy, ["unet"]) != fingerprint(mini_folder, ["unet"])


def test_a_base_of_the_hub_keeps_its_name_wherever_it_is_opened(
    mini_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry remembers the folder, which is named after a commit; without it, there is the name."""
    snapshot = tmp_path / "models--maker--clips" / "snapshots" / ("0123" * 10)
    shutil.copytree(mini_folder, snapshot)
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda repo, **how: asked.append(how) or str(snapshot)
    )
    found = find_base("maker/clips")
    assert (
        (found.name, found.folder)
        == ("maker/clips", snapshot)
        == ("maker/clips", find_base("maker/clips").folder)
    )
    assert len(asked) == 1  # a command asks for its base several times
    assert find_base(str(snapshot)).name == "maker/clips"
    assert find_base(str(mini_folder)).name == mini_folder.name
    assert last_seen("maker/clips", str(snapshot)) == str(snapshot)
    assert last_seen("maker/clips", str(tmp_path / "gone")) == "maker/clips"


def test_latents_are_not_clipped_whatever_scheduler_a_base_was_saved_with(
    unet3d_folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(unet3d_folder, tmp_path / "copy"))
    DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
    ).save_pretrained(copy / "scheduler")
    base = open_base(str(copy), device="cpu", dtype="float32")
    there, back = base.scheduler("ddim", 5), base.scheduler("ddim-inverse", 5)
    assert not there.config.clip_sample and not back.config.clip_sample
    assert there.timesteps.tolist() == back.timesteps.tolist()[::-1]


def test_weights_that_are_none_are_told_of_every_part(tmp_path: Path, mini_folder: Path) -> None:
    """Such as what git leaves of large files that it did not fetch."""
    parts = [path.relative_to(mini_folder) for path in mini_folder.rglob("*.safetensors")]
    assert {"unet", "vae", "text_encoder", "image_encoder"} <= {part.parts[0] for part in parts}
    for part in parts:
        broken = tmp_path / part.parts[0]
        shutil.copytree(mini_folder, broken)
        (broken / part).write_bytes(b"version https://git-lfs.github.com/spec/v1")
        with pytest.raises(CcvdError, match="cannot be loaded"):
            open_base(str(broken), device="cpu")


def test_unknown_bases_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mini_folder: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match="no base"):
        find_base("maxi")
    with pytest.raises(UsageError, match="not found in the local cache"):
        find_base("nobody/nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="has no folder"):
        find_base(str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="not available"):
        open_base(str(mini_folder), device="cuda:99")
    wordless = Path(shutil.copytree(mini_folder, tmp_path / "wordless"))
    shutil.rmtree(wordless / "tokenizer")
    (wordless / "tokenizer").mkdir()
    with pytest.raises(UsageError, match="has no words"):
        find_base(str(wordless))
