"""The parts of `mini`, untrained: diffusers' and transformers' own classes in a size that two cores can train.

Frames are 64x64, latents 16x16 of 6 channels. The denoiser is AnimateDiff's UNetMotionModel: its spatial half is trained on pictures first, then
motion modules with sinusoidal frame positions join it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .motions import HELDOUT_MOTIONS, MOTIONS
from .render import COLOURS, TEXTURES
from .scenes import PLACES
from .shapes import ACCESSORIES, NOUNS
from .styles import STYLES

TEXT_WIDTH, TEXT_LENGTH, TEXT_LAYERS, VOCABULARY = 192, 24, 2, 1024
LATENT_CHANNELS = 6

# Plain English around the world's own words, so that a user's prompt is not torn into single letters.
ENGLISH = """
a an the and or of on in at with by to from over under behind near through his her its their my your one two three
dog cat bird fish car boat rocket robot flower turtle bear teddy toy duck can jar clock bag backpack schoolbag horse
person man woman child boy girl people monkey panda rabbit tiger lion elephant tree house ball bottle cup shoe hat
red orange yellow green blue purple pink white black brown grey gold silver teal dark light bright big small old new
walking running jumping swimming surfing dancing flying playing sitting standing riding eating sleeping turning
moving performing guitar drum tai chi weight lifting handstand badminton skateboarding piano video photo picture
style painting drawing sketch beach forest street snow desert sea ocean underwater room moon city park garden
mountain river road grass sky night day sunset rain kitchen left right up down slowly quickly happy cute striped
spotted checked plain shiny wearing
"""


def tokenizer(folder: Path) -> Any:
    """CLIP's byte-level BPE in `folder`; where there is none yet, it is trained on the world's words and common English, and written there.

    Once for good: among words that are equally frequent the trainer's order is another each time, and embeddings belong to ids.
    """
    from transformers import CLIPTokenizer

    if not (folder / "vocab.json").exists():
        _train_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder)


def _train_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    words = [w for w in ENGLISH.split() for _ in range(2)]
    for vocabulary in (
        NOUNS,
        COLOURS,
        TEXTURES,
        MOTIONS,
        PLACES.values(),
        HELDOUT_MOTIONS,
        STYLES,
        ACCESSORIES,
    ):
        words += [w for text in vocabulary for w in str(text).split()] * 50
    bpe = Tokenizer(
        models.BPE(continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token="<|endoftext|>")
    )
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    split = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_regex(split), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
        min_frequency=1,
    )
    bpe.train_from_iterator(words, trainer)
    learned = json.loads(bpe.to_str())["model"]
    vocab = dict(learned["vocab"])
    for character in alphabet:  # CLIP has each byte alone and at a word's end
        vocab.setdefault(character + "</w>", len(vocab))
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocab[special] = len(vocab)
    merges = [m if isinstance(m, str) else " ".join(m) for m in learned["merges"]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    made = CLIPTokenizer(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=TEXT_LENGTH
    )
    made.save_pretrained(folder)


def _regex(pattern: str) -> Any:
    from tokenizers import Regex

    return Regex(pattern)


def _text_config(vocabulary: int, width: int = TEXT_WIDTH, heads: int = 6) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=3 * width,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=heads,
        max_position_embeddings=TEXT_LENGTH,
        hidden_act="quick_gelu",
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )


def clip(vocabulary: int) -> Any:
    """A small CLIP, to be taken apart into its `towers`."""
    from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig

    vision = CLIPVisionConfig(
        hidden_size=TEXT_WIDTH,
        intermediate_size=3 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=4,
        num_attention_heads=6,
        image_size=64,
        patch_size=8,
    )
    text = _text_config(vocabulary)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=TEXT_WIDTH)
    return CLIPModel._from_config(config, attn_implementation="eager")


def captioner(vocabulary: int) -> Any:
    """A text encoder into the image encoder's space."""
    from transformers import CLIPTextModelWithProjection

    config = _text_config(vocabulary, width=128, heads=4)
    return CLIPTextModelWithProjection._from_config(config, attn_implementation="eager")


def towers(clip: Any) -> tuple[Any, Any]:
    """The image encoder that guides appearance, and the text encoder, which learns on with the denoiser."""
    from transformers import CLIPTextModel, CLIPVisionModelWithProjection

    vision = CLIPVisionModelWithProjection(clip.config.vision_config)
    text = CLIPTextModel(clip.config.text_config)
    state = clip.state_dict()
    vision.load_state_dict({k: state[k] for k in vision.state_dict()})
    text.load_state_dict({k: state[f"text_model.{k}"] for k in text.state_dict()})
    return vision, text


def vae() -> Any:
    """TAESD's architecture without norms: on two cores it learns hues twice as fast as an AutoencoderKL of its size."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(
        encoder_block_out_channels=(48,) * 3,
        decoder_block_out_channels=(48,) * 3,
        num_encoder_blocks=(0, 1, 3),
        num_decoder_blocks=(3, 2, 0),
        latent_channels=LATENT_CHANNELS,
        scaling_factor=1.0,
    )


CHANNELS = (64, 128, 192)


def image_unet() -> Any:
    """The spatial half of the denoiser, told by text at 16x16, 8x8 and 4x4: stripes and hats are lost at 8x8."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        norm_num_groups=16,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=(1, 4, 4),  # heads, by an old misnomer; one where rows are 256 long
    )


def video_unet(spatial: Any) -> Any:
    """`spatial` with fresh motion modules that change nothing yet."""
    from diffusers import MotionAdapter, UNetMotionModel

    adapter = MotionAdapter(
        block_out_channels=CHANNELS,
        motion_layers_per_block=1,
        motion_mid_block_layers_per_block=1,
        motion_num_attention_heads=4,
        motion_norm_num_groups=16,
        motion_max_seq_length=32,
        use_motion_mid_block=True,
    )
    unet = UNetMotionModel.from_unet2d(spatial, adapter)
    for name, module in unet.named_modules():
        if "motion_modules" in name and name.endswith("proj_out"):
            module.weight.data.zero_()
            module.bias.data.zero_()
    return unet


def scheduler() -> Any:
    """v-prediction on a cosine schedule that ends in pure noise (arXiv 2305.08891)."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


__all__ = ["captioner", "clip", "image_unet", "scheduler", "tokenizer", "towers", "vae", "video_unet"]
