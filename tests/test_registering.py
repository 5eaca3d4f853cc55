"""What the registry is told of a learner."""

from __future__ import annotations

from datetime import datetime, timezone

import torch
from safetensors.torch import load

from ccvd_cli.engine.adapters import Bottleneck
from ccvd_cli.engine.concept import Learner
from ccvd_cli.registering import new_concept
from ccvd_cli.settings import RECIPES
from ccvd_registry import BaseFacts

BASE = BaseFacts("mini", "mini", "f" * 64, "/models/mini")


def test_all_of_a_learner_is_stored_under_its_own_name() -> None:
    adapters = {name: Bottleneck(8, 2) for name in ("up.attn2", "down.attn2")}
    tokens, texts, images = torch.rand(3, 6), torch.rand(3, 6), torch.rand(5, 4)
    learner = Learner("V7", "subject", "dog", tokens, adapters, texts, images, loss_curve=[1.0, 0.5])
    recipe = RECIPES["mini"]["subject"].model_copy(update={"seed": 3, "adapter_steps": 17})
    started = datetime(2026, 1, 2, tzinfo=timezone.utc)
    data = [{"file": "a.jpg", "sha256": "a" * 64}]
    new = new_concept(learner, BASE, recipe, data=data, started=started)  # type: ignore[arg-type]
    assert (new.name, new.kind, new.class_noun, new.base) == ("V7", "subject", "dog", BASE)
    assert (new.seed, new.recipe["adapter_steps"], new.started) == (3, 17, started)
    assert (new.data, new.loss_curve, new.sites, new.how) == (data, [1.0, 0.5], 2, {})
    assert new.parameters == tokens.numel() + sum(
        p.numel() for a in adapters.values() for p in a.parameters()
    )
    assert {key.split("/")[0] for key in load(new.adapter)} == set(adapters)
    assert any(torch.allclose(x.float(), tokens, atol=1e-3) for x in load(new.embedding).values())
    kept = [x.float() for x in load(new.prototype).values()]
    for there in (texts, images):
        assert any(x.shape == there.shape and torch.allclose(x, there, atol=1e-3) for x in kept)
