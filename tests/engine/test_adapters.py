"""Adapters change nothing until trained, fold exactly, and leave no trace."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccvd_cli.engine.adapters import Bottleneck, Wide, attached
from ccvd_cli.engine.bases.contract import Base
from ccvd_cli.engine.concept import fresh_adapters


def trained(width: int, hidden: int, condition: int = 0) -> Bottleneck:
    adapter = Bottleneck(width, hidden, condition)
    for p in adapter.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return adapter.requires_grad_(False)


def inputs(base: Base) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        torch.randn(2, *base.latent_shape(5, 32, 32)),
        torch.tensor([300, 700]),
        base.encode_text(["a dog", "a cat"]),
    )


def answer(base: Base, x: torch.Tensor, t: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    return base.predict(x, t, base.tell(text, torch.arange(4)[None]))


@pytest.mark.parametrize("kind", ["spatial", "temporal", "moment"])
def test_a_fresh_adapter_changes_nothing(base: Base, kind: str) -> None:
    inside = inputs(base)
    e = torch.randn(2, base.image_width)
    fresh = fresh_adapters(base.sites_of(kind), 0.5, base.image_width)  # type: ignore[arg-type]
    before = answer(base, *inside)
    with attached(base.denoiser, fresh, e):
        assert torch.equal(answer(base, *inside), before)


def test_every_site_takes_part_and_detaching_restores_the_base_bit_for_bit(base: Base) -> None:
    inside = inputs(base)
    before = answer(base, *inside)
    weights = {k: v.clone() for k, v in base.denoiser.state_dict().items()}
    for site in base.sites:
        with attached(base.denoiser, {site: trained(site.width, 4)}):
            assert not torch.equal(answer(base, *inside), before), f"{site.name} has no effect"
    assert torch.equal(answer(base, *inside), before)
    after = base.denoiser.state_dict()
    assert weights.keys() == after.keys() and all(torch.equal(v, after[k]) for k, v in weights.items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in base.denoiser.modules())


def test_detached_even_when_the_body_fails(base: Base) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        attached(base.denoiser, {s: trained(s.width, 4) for s in base.sites}),
    ):
        raise KeyboardInterrupt
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in base.denoiser.modules())


def test_the_adapter_sees_the_hidden_state_before_the_norm(base: Base) -> None:
    """A probe at each site must receive what entered the normalisation, not what left it."""
    site = base.sites_of("spatial")[0]
    seen: list[torch.Tensor] = []

    class Probe(torch.nn.Module):
        def forward(self, h: torch.Tensor, e: object = None) -> torch.Tensor:
            seen.append(h)
            return torch.zeros_like(h)

    entered: list[torch.Tensor] = []
    handle = base.denoiser.get_submodule(site.norm).register_forward_pre_hook(
        lambda m, a: entered.append(a[0])
    )
    with attached(base.denoiser, {site: Probe()}):
        base.predict(*inputs(base))
    handle.remove()
    assert torch.equal(seen[0], entered[0])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.booleans(), st.integers(0, 2**31 - 1))
def test_one_wide_adapter_equals_the_weighted_sum(count: int, batch: int, guided: bool, seed: int) -> None:
    torch.manual_seed(seed)
    width, rows = 12, 3
    adapters = [trained(width, int(torch.randint(1, 9, ())), 5 if guided else 0) for _ in range(count)]
    weights = torch.rand(count).tolist()
    h, e = torch.randn(batch * rows, 7, width), torch.randn(batch, 5)
    wide = Wide([(a, w, e) for a, w in zip(adapters, weights, strict=True)])
    expected = sum(w * a(h, e) for a, w in zip(adapters, weights, strict=True))
    assert torch.allclose(wide(h), expected, atol=1e-4, rtol=1e-4)


def test_one_guide_serves_a_whole_batch() -> None:
    adapter, h, e = trained(8, 4, 3), torch.randn(6, 5, 8), torch.randn(1, 3)
    assert torch.allclose(Wide([(adapter, 1.0, e)])(h), adapter(h, e.expand(2, -1)), atol=1e-5)


def test_guidance_belongs_to_its_own_sample() -> None:
    """Rows of sample b are adjacent and must be shifted by e_b alone."""
    adapter, h, e = trained(8, 4, 3), torch.randn(6, 5, 8), torch.randn(2, 3)
    both = adapter(h, e)
    assert torch.allclose(both[:3], adapter(h[:3], e[:1]), atol=1e-6)
    assert torch.allclose(both[3:], adapter(h[3:], e[1:]), atol=1e-6)
