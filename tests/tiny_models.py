"""Small untrained models of the very classes and layouts that real bases have, saved as a user would find them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ccvd_cli.engine.told import FILE, Atlas, Clock
from ccvd_cli.world import models

WIDTH = 32


def _text(folder: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    words = models.tokenizer(folder / "tokenizer")
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=24,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")


def _image_encoder(folder: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=64,
        projection_dim=24,
        num_hidden_layers=1,
        num_attention_heads=4,
        image_size=32,
        patch_size=16,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder / "image_encoder")


def _told(folder: Path, module: Clock | Atlas) -> None:
    folder.mkdir()
    torch.nn.init.normal_(module.outwards.weight, std=0.3)
    save_file(module.state_dict(), folder / FILE)


def _scramble_output(unet: Path) -> None:
    """Untrained temporal layers end in zeros; give them weights, so that tests see what passes through."""
    path = unet / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    for name, value in state.items():
        if "temp_convs" in name or "proj_out" in name:
            value.add_(0.05 * torch.randn_like(value))
    save_file(state, path, {"format": "pt"})


def build_mini(folder: Path, seed: int = 0) -> Path:
    """A UNetMotionModel base with two levels, of which one has cross-attention: 3 text layers and a middle."""
    from diffusers import AutoencoderTiny, UNetMotionModel

    torch.manual_seed(seed)
    UNetMotionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlockMotion", "CrossAttnDownBlockMotion"),
        up_block_types=("CrossAttnUpBlockMotion", "UpBlockMotion"),
        block_out_channels=(16, WIDTH),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
        num_attention_heads=2,
        motion_num_attention_heads=2,
        motion_max_seq_length=16,
    ).save_pretrained(folder / "unet")
    _scramble_output(folder / "unet")
    AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(0, 1, 1),
        num_decoder_blocks=(1, 1, 0),
        latent_channels=4,
    ).save_pretrained(folder / "vae")
    _text(folder)
    _image_encoder(folder)
    _told(folder / "clock", Clock(WIDTH, features=32))
    _told(folder / "atlas", Atlas(WIDTH, features=32))
    models.scheduler().save_pretrained(folder / "scheduler")
    return folder


def build_unet3d(folder: Path, seed: int = 0) -> Path:
    """ModelScopeT2V's own configuration in small: four levels, two layers a block, 16 spatial cross-attentions; no image encoder."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet3DConditionModel

    torch.manual_seed(seed)
    UNet3DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock3D",) * 3 + ("DownBlock3D",),
        up_block_types=("UpBlock3D",) + ("CrossAttnUpBlock3D",) * 3,
        block_out_channels=(16, WIDTH, WIDTH, WIDTH),
        layers_per_block=2,
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
        attention_head_dim=8,
    ).save_pretrained(folder / "unet")
    _scramble_output(folder / "unet")
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
    ).save_pretrained(folder / "vae")
    _text(folder)
    DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
    ).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "TextToVideoSDPipeline"}))
    return folder


def build_wan(folder: Path, seed: int = 0) -> Path:
    """Wan 2.1's own parts in small: three blocks over patches of 1 x 2 x 2 cells, a cell being 4 frames of 4 x 4 pixels, and a UMT5."""
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
    from transformers import T5TokenizerFast, UMT5Config, UMT5EncoderModel

    torch.manual_seed(seed)
    WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=16,
        freq_dim=16,
        ffn_dim=32,
        num_layers=3,
        rope_max_seq_len=32,
    ).save_pretrained(folder / "transformer")
    AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 0.7, 1.0, 2.0],
        scale_factor_spatial=4,
    ).save_pretrained(folder / "vae")
    words = ["a", "dog", "cat", "red", "jumping", "and", "on", "the", "beach"]
    pieces = [("▁", -4.0), *((f"▁{word}", -1.0) for word in words)]
    pieces += [(letter, -6.0) for letter in "abcdefghijklmnopqrstuvwxyz<>0123456789"]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    tokenizer = T5TokenizerFast(vocab=[*special, *pieces], extra_ids=2, model_max_length=24)
    tokenizer.save_pretrained(folder / "tokenizer")
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    UMT5EncoderModel(UMT5Config(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder / "text_encoder")
    UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    ).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline"}))
    return folder


def with_captions(folder: Path) -> Path:
    """A mini of ours, given an encoder of captions: a base that can be measured by itself."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = CLIPTextConfig(**json.loads((folder / "text_encoder" / "config.json").read_text()))
    config.projection_dim = 24
    CLIPTextModelWithProjection(config).save_pretrained(folder / "caption_encoder")
    return folder


def build_timm_dino(folder: Path) -> Path:
    """The same model as the default names, in small, as timm uploads it."""
    import timm

    torch.manual_seed(0)
    name, sizes = "vit_small_patch16_224", {"embed_dim": 24, "depth": 1, "num_heads": 3, "img_size": 32}
    model = timm.create_model(name, num_classes=0, **sizes)
    save_file(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
    seen = {"input_size": [3, 32, 32], "interpolation": "bicubic", "crop_pct": 0.9, "num_classes": 0}
    config = {"architecture": name, "num_classes": 0, "num_features": 24, "model_args": sizes}
    (folder / "config.json").write_text(
        json.dumps({**config, "global_pool": "token", "pretrained_cfg": seen})
    )
    return folder


def build_dino(folder: Path) -> Path:
    """DINO's class and preprocessing, in small."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    ViTModel(ViTConfig(**sizes, image_size=32, patch_size=8), add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
