"""A new concept stays apart from all earlier ones, at a cost that does not grow with their number."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_adapters import trained
from test_learn_and_sample import QUICK, Stored, pictures, stored

from ccvd_cli.engine.adapters import Bottleneck
from ccvd_cli.engine.bases.contract import Base, Site
from ccvd_cli.engine.learn import learn_subject
from ccvd_cli.engine.retention import Earlier, stored_subspaces
from ccvd_cli.errors import CcvdError

SITE, OTHER = (Site(n, n, "spatial", 0, 8) for n in ("here", "there"))


def subspaces(hidden: int, *sites: Site) -> dict[str, torch.Tensor]:
    return {s.name: torch.randn(s.width, hidden) for s in sites}


def adapter(hidden: int) -> Bottleneck:
    return trained(SITE.width, hidden).requires_grad_(True)


def test_mean_abs_is_the_mean_overlap_over_concepts_summed_over_layers() -> None:
    old = [subspaces(3, SITE, OTHER), subspaces(2, SITE)]
    earlier, new = Earlier(), {SITE: adapter(4), OTHER: adapter(4)}
    for concept in old:
        earlier.add(concept)
    here = [(concept["here"].T @ new[SITE].up.weight).abs().mean() for concept in old]
    there = (old[0]["there"].T @ new[OTHER].up.weight).abs().mean()
    assert torch.allclose(earlier.overlap(new), (here[0] + here[1]) / 2 + there)
    assert earlier.count == 2


def test_abs_trace_is_the_inner_product_with_their_sum() -> None:
    old = [subspaces(4, SITE), subspaces(4, SITE)]
    earlier, new = Earlier("abs-trace"), adapter(4)
    for concept in old:
        earlier.add(concept)
    summed = old[0]["here"] + old[1]["here"]
    expected = torch.trace(summed.T @ new.up.weight).abs() / new.up.weight.numel()
    assert torch.allclose(earlier.overlap({SITE: new}), expected)


@pytest.mark.parametrize("form", ["mean-abs", "abs-trace"])
def test_who_is_added_later_counts_too(form: str) -> None:
    old, new = [subspaces(3, SITE) for _ in range(5)], {SITE: adapter(4)}
    grown = Earlier(form)  # type: ignore[arg-type]
    for count, concept in enumerate(old, 1):
        grown.add(concept)
        fresh = Earlier(form)  # type: ignore[arg-type]
        for one in old[:count]:
            fresh.add(one)
        assert torch.allclose(grown.overlap(new), fresh.overlap(new), atol=1e-6)


@pytest.mark.parametrize("widths", [(2, 4), (4, 2), (3, 3)])
def test_abs_trace_of_other_widths_takes_the_columns_that_both_have(widths: tuple[int, int]) -> None:
    old, earlier, new = [subspaces(width, SITE) for width in widths], Earlier("abs-trace"), adapter(5)
    for concept in old:
        earlier.add(concept)
    up = new.up.weight
    expected = sum((one["here"] * up[:, : one["here"].shape[1]]).sum() for one in old)
    assert torch.allclose(earlier.overlap({SITE: new}), expected.abs() / up.numel(), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 12), hidden=st.integers(1, 6), form=st.sampled_from(["mean-abs", "abs-trace"]))
def test_what_is_kept_never_outgrows_the_site(count: int, hidden: int, form: str) -> None:
    earlier = Earlier(form)  # type: ignore[arg-type]
    for _ in range(count):
        earlier.add(subspaces(hidden, SITE))
    assert earlier.kept("here").shape[1] <= max(SITE.width, hidden)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 20), hidden=st.integers(1, 8))
def test_however_many_concepts_the_squares_of_the_overlap_are_kept(count: int, hidden: int) -> None:
    torch.manual_seed(count)
    old, earlier, new = [subspaces(hidden, SITE) for _ in range(count)], Earlier(), torch.randn(8, 3)
    for concept in old:
        earlier.add(concept)
    expected = sum((concept["here"].T @ new / hidden).square().sum() for concept in old)
    usual = 2 * count * hidden / math.pi if count * hidden > 8 else 1
    found = (count * earlier.kept("here").T @ new).square().sum() / usual
    assert torch.allclose(found, torch.as_tensor(expected), rtol=1e-3)


COMMON = torch.randn(
    64, 6, generator=torch.Generator().manual_seed(0)
)  # directions that trained adapters share
SHAPES: dict[str, Callable[[int], torch.Tensor]] = {
    "anything": lambda hidden: torch.randn(64, hidden),
    "few directions": lambda hidden: torch.randn(64, 3) @ torch.randn(3, hidden),
    "nearly the same": lambda hidden: (COMMON + 0.3 * torch.randn(64, 6)) @ torch.randn(6, hidden),
    "few channels": lambda hidden: torch.randn(64, hidden) * torch.rand(64, 1) ** 4,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 10, 35, 200])
def test_the_overlap_is_about_the_mean_over_concepts(count: int, shape: str) -> None:
    """Adapters are no noise: those of one kind write to much the same directions."""
    torch.manual_seed(count)
    wide, earlier, new = Site("here", "here", "spatial", 0, 64), Earlier(), trained(64, 64)
    old = [{"here": SHAPES[shape](64)} for _ in range(count)]
    for concept in old:
        earlier.add(concept)
    with torch.no_grad():
        new.up.weight.copy_(SHAPES[shape](64))
    expected = torch.stack([(concept["here"].T @ new.up.weight).abs().mean() for concept in old]).mean()
    assert torch.allclose(earlier.overlap({wide: new}), expected, rtol=0.12)


def test_what_is_orthogonal_to_all_of_them_costs_nothing() -> None:
    earlier, new = Earlier(), adapter(2)
    for _ in range(30):  # all of them in the first four of eight dimensions
        up = torch.randn(8, 3)
        up[4:] = 0
        earlier.add({"here": up})
    with torch.no_grad():
        new.up.weight[:4] = 0
    assert earlier.overlap({SITE: new}) < 1e-5
    with torch.no_grad():
        new.up.weight[0] = 1
    assert earlier.overlap({SITE: new}) > 0.1


def test_without_a_shared_site_there_is_no_overlap() -> None:
    earlier = Earlier()
    earlier.add(subspaces(3, OTHER))
    assert earlier.overlap({SITE: adapter(3)}) == 0


def test_learning_beside_an_earlier_concept_overlaps_less_with_it(base: Base, tmp_path: Path) -> None:
    recipe = QUICK.model_copy(update={"adapter_steps": 20, "token_steps": 0})
    images = pictures()
    first = learn_subject(base, images, name="V1", class_noun="dog", recipe=recipe)
    old = stored_subspaces(stored(first, tmp_path), base.sites)
    assert old.keys() == first.adapters.keys()
    overlaps = {}
    for weight in (0.0, 10.0):
        earlier = Earlier()
        earlier.add(old)
        own = recipe.model_copy(update={"orthogonal_weight": weight})
        new = learn_subject(base, images, name="V2", class_noun="dog", recipe=own, earlier=earlier)
        sites = {s.name: s for s in base.sites}
        overlaps[weight] = float(earlier.overlap({sites[k]: a for k, a in new.adapters.items()}))
    assert overlaps[10.0] < 0.5 * overlaps[0.0]


def test_tokens_may_be_shared_by_all_layers(base: Base) -> None:
    images, rows = pictures(), {}
    for mode in ("per-layer", "shared"):
        recipe = QUICK.model_copy(update={"tokens": mode, "adapter_steps": 1})
        tokens = learn_subject(base, images, name="V1", class_noun="dog", recipe=recipe).tokens
        assert tokens.shape == (base.text_layers, base.token_width)
        rows[mode] = len(tokens.unique(dim=0))
    assert rows == {"per-layer": base.text_layers, "shared": 1}


def test_a_damaged_earlier_concept_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"nothing")
    with pytest.raises(CcvdError, match="concept V7 cannot be read"):
        stored_subspaces(Stored("V7", "subject", "dog", path, path, path), ())


def test_an_earlier_concept_of_another_width_is_named(base: Base, tmp_path: Path) -> None:
    first = learn_subject(
        base, pictures(), name="V1", class_noun="dog", recipe=QUICK.model_copy(update={"adapter_steps": 1})
    )
    other = [replace(site, width=site.width + 1) for site in base.sites]
    with pytest.raises(CcvdError, match=r"concept V1 has .* wide"):
        stored_subspaces(stored(first, tmp_path), other)
