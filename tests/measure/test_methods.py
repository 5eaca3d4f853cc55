"""What methods of continual learning do to old concepts."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from benchmark_material import RECIPE, SAMPLE, method, stream, teach, tiny_base
from hypothesis import given, settings
from hypothesis import strategies as st

from ccvd_cli.engine.adapters import Bottleneck
from ccvd_cli.engine.aggregate import candidates, weigh
from ccvd_cli.engine.bases.contract import Base, Site
from ccvd_cli.engine.compose import generate_batch
from ccvd_cli.engine.learn import motion_lesson, subject_lesson
from ccvd_cli.engine.lesson import Extra, Lesson
from ccvd_cli.measure.methods import METHODS, c_lora, ewc, lwf
from ccvd_cli.measure.methods.c_lora import CLora, Lora
from ccvd_cli.measure.methods.contract import Method, Part, learner_tensors
from ccvd_cli.measure.methods.ewc import Ewc
from ccvd_cli.measure.methods.l2dm import L2dm
from ccvd_cli.measure.methods.lwf import Lwf
from ccvd_cli.measure.streams import material

ALL = stream("subject", "motion", "style", "subject")
FIRST = ALL.tasks[0]
PROMPT = f"a <{FIRST.name}> {FIRST.noun} jumping on the beach"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return tiny_base(tmp_path_factory.mktemp("base") / "tiny")


def clip(one: Method, prompt: str) -> torch.Tensor:
    part = one.weights_for(prompt)
    settings = one.common.sampling.model_copy(update=dict(part.changes))
    with part.attached(one.base):
        return generate_batch(one.base, [part.prompt], part.learners, settings)


@pytest.mark.parametrize("name", METHODS)
def test_what_acts_for_an_old_concept_changes_only_where_a_method_says_so(base: Base, name: str) -> None:
    one = method(name, base)
    teach(one, type(ALL)("one", ALL.tasks[:1]))
    tensors = deepcopy(learner_tensors(one.known[FIRST.name]))
    digest, before = one.weights_for(PROMPT).digest, clip(one, PROMPT)
    for task in ALL.tasks[1:]:
        teach(one, type(ALL)("more", (task,)))
    after = learner_tensors(one.known[FIRST.name])
    assert all(torch.equal(value, after[key]) for key, value in tensors.items())  # tokens are kept by all
    untouched = name in ("ccvd", "joint", "dreamvideo")
    assert (one.weights_for(PROMPT).digest == digest) == untouched
    assert torch.equal(clip(one, PROMPT), before) == untouched
    state, learners = deepcopy(one.extra_state()), dict(one.known)
    again = method(name, base)
    again.restore(learners, state)
    assert again.weights_for(PROMPT).digest == one.weights_for(PROMPT).digest
    kept = again.extra_state()
    assert kept.keys() == state.keys() and all(torch.equal(kept[k], value) for k, value in state.items())


class Pulled(Method):
    """As short as a method with a loss of its own can be; it says nothing of sharing."""

    name = "pulled"

    def __init__(self, base: Base) -> None:
        own = replace(method("joint", base).common, taken=lambda *_: pytest.fail("that is another's"))
        super().__init__(own)
        self.terms = 0

    @property
    def extra(self) -> Extra:
        return self

    def term(self, lesson: Lesson, adapters: Mapping[Site, Bottleneck], stage: str) -> torch.Tensor | float:
        self.terms += 1
        return sum((1e3 * a.up.weight.pow(2).sum() for a in adapters.values()), 0.0)

    def learned(self, lesson: Lesson, vectors: torch.Tensor, adapters: Mapping[Site, Bottleneck]) -> None:
        """Nothing is kept."""

    def weights_for(self, prompt: str) -> Part:
        return Part(prompt, self.named(prompt))


def test_a_new_method_has_its_own_loss_and_learns_for_itself(base: Base) -> None:
    pulled, joint = Pulled(base), method("joint", base)
    for one in (pulled, joint):
        teach(one, type(ALL)("one", ALL.tasks[:1]))
    recipe = pulled.recipe(FIRST.kind)
    assert pulled.terms == recipe.token_steps + recipe.adapter_steps and not pulled.lessons

    def size(one: Method) -> float:
        return sum(float(a.up.weight.detach().abs().sum()) for a in one.known[FIRST.name].adapters.values())

    assert size(pulled) < size(joint)


def test_a_merge_shares_one_weight_among_all(base: Base) -> None:
    one = method("lora-merge", base)
    teach(one, ALL)
    part = one.weights_for(PROMPT)
    settings = one.common.sampling.model_copy(update=dict(part.changes))
    states = base.encode_text([PROMPT], [x.token_vectors() for x in part.learners])
    shares = weigh(base, [PROMPT], states, candidates(part.learners), settings)
    spatial = torch.stack([s.weights for s in shares if s.kind != "motion"])
    assert spatial.shape[0] == 3 and torch.allclose(spatial, torch.full_like(spatial, 1 / 3))


def test_parts_of_ours_can_be_left_out(base: Base) -> None:
    two = " and ".join(f"a <{t.name}> {t.noun}" for t in (ALL.tasks[0], ALL.tasks[3]))
    whole = method("ccvd", base)
    teach(whole, ALL)
    assert len(whole.weights_for(two).changes["regions"]) == 2
    assert not whole.weights_for(PROMPT).changes["regions"]
    narrow = method("ccvd", base, "windows")
    narrow.known = whole.known
    boxes = narrow.weights_for(two).changes
    assert boxes["windows"] is False and "width" not in boxes and len(boxes["regions"]) == 2
    assert narrow.weights_for(PROMPT).digest == whole.weights_for(PROMPT).digest  # one subject has no window
    without = method("ccvd", base, "tokens", "orthogonal", "aggregation", "regions", "noise")
    teach(without, ALL)
    part = without.weights_for(two)
    assert part.changes == {"noise_guidance": False, "aggregation": "mean"}
    assert len(part.learners) == len(ALL.tasks) and len(whole.weights_for(two).learners) == 2
    tokens = without.known[FIRST.name].tokens
    assert torch.equal(tokens, tokens[:1].expand_as(tokens))
    assert not torch.equal(whole.known[FIRST.name].tokens, tokens)


def test_ewc_holds_what_mattered(base: Base) -> None:
    one = method("ewc", base)
    assert isinstance(one, Ewc)
    teach(one, type(ALL)("one", ALL.tasks[:1]))
    adapters: dict[Site, Any] = {s: deepcopy(one.shared[s.name]) for s in base.sites if s.name in one.shared}
    lesson: Any = None
    assert float(one.term(lesson, adapters, "adapter")) == 0
    found = []
    for _ in range(2):
        with torch.no_grad():
            for adapter in adapters.values():
                adapter.up.weight += 0.1
        found.append(float(one.term(lesson, adapters, "adapter")))
    assert 0 < found[0] < found[1] and found[1] == pytest.approx(4 * found[0], rel=1e-3)
    fresh = {next(iter(base.sites_of("temporal"))): Bottleneck(4, 2)}
    assert one.term(lesson, fresh, "adapter") == 0  # nothing was learned there


def test_ewc_is_half_its_weight_times_squared_gradients_times_squared_distances(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = method("ewc", base)
    assert isinstance(one, Ewc)
    one.settings = one.settings.model_copy(update={"weight": 3.0, "samples": 4})
    teach(one, type(ALL)("one", ALL.tasks[:1]))
    adapters = learning(one, *base.sites_of("spatial"))
    site, adapter = next(iter(adapters.items()))
    lesson = subject_lesson(base, material(FIRST, SAMPLE), name="V9", class_noun="", recipe=RECIPE["subject"])
    slopes = iter((1.0, -2.0, 3.0, 4.0))  # of the loss of each sample
    monkeypatch.setattr(lesson, "loss", lambda *_: next(slopes) * adapter.up.bias.sum())
    monkeypatch.setattr(lesson, "read", lambda *_: None)
    one.fisher, one.anchor = {}, {}
    one.learned(lesson, torch.empty(0), adapters)
    name = f"{site.name}/up.bias"
    assert torch.allclose(one.fisher[name], torch.full_like(one.fisher[name], (1 + 4 + 9 + 16) / 4))
    with torch.no_grad():
        adapter.up.bias += torch.linspace(0, 1, len(adapter.up.bias))
    moved = torch.linspace(0, 1, len(adapter.up.bias)).square().sum()
    held = torch.as_tensor(one.term(lesson, adapters, "adapter")).detach()
    assert float(held) == pytest.approx(3 / 2 * 7.5 * float(moved), rel=1e-4)


def test_ewc_remembers_what_mattered_to_every_task(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    one = method("ewc", base)
    assert isinstance(one, Ewc)
    teach(one, type(ALL)("one", ALL.tasks[:1]))
    first = deepcopy(one.fisher)
    teach(one, type(ALL)("more", ALL.tasks[3:]))
    assert all((one.fisher[key] >= value).all() for key, value in first.items())
    assert any((one.fisher[key] > value).any() for key, value in first.items())
    scaled = method("ewc", base)
    assert isinstance(scaled, Ewc)
    monkeypatch.setattr(ewc, "loss_scale", lambda _: 2.0**14)  # as in float16
    teach(scaled, type(ALL)("one", ALL.tasks[:1]))
    assert all(torch.allclose(scaled.fisher[key], value, rtol=1e-3) for key, value in first.items())


def test_gradients_that_do_not_fit_into_half_precision_are_taken_at_a_smaller_scale(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = method("ewc", base)
    assert isinstance(one, Ewc)
    monkeypatch.setattr(ewc, "loss_scale", lambda _: 2.0**14)
    weight = torch.ones(3, requires_grad=True)
    steep = (weight.half() * 6.0).float().sum()  # 6 * 2^14 is beyond 65504
    assert one._gradients(steep, {"w": weight})["w"].tolist() == [6.0] * 3
    assert one._gradients((weight.half() * 60_000).float().sum() * 2, {"w": weight}) == {}


@pytest.mark.parametrize(("name", "without"), [("lwf", {}), ("l2dm", {"replay": 0.0})])
def test_the_model_before_the_task_is_held_against_the_one_that_learns(
    base: Base, name: str, without: dict[str, float]
) -> None:
    one: Any = method(name, base)
    one.settings = one.settings.model_copy(update=without)
    for task in ALL.tasks[:2]:  # a subject, then a motion
        teach(one, type(ALL)("one", (task,)))
        seen = material(task, SAMPLE.model_copy(update={"frames": 16}))
        how: dict[str, Any] = {"name": "V9", "class_noun": "", "recipe": RECIPE[task.kind]}
        lesson = (
            motion_lesson(base, seen, **how) if task.kind == "motion" else subject_lesson(base, seen, **how)
        )
        sites = base.sites_of("temporal" if task.kind == "motion" else "spatial")
        adapters = learning(one, *sites)
        assert adapters and float(one.term(lesson, adapters, "adapter")) == 0
        moved = next(iter(adapters.values()))
        with torch.no_grad():
            if task.kind == "motion":  # appearance guides motions, also what is held of them
                moved.up.weight += 0.5
                unguided = one.term(_at(lesson), adapters, "adapter")
                moved.cond.weight += 0.5
                assert not torch.equal(one.term(_at(lesson), adapters, "adapter"), unguided)
            else:
                moved.up.bias += 0.5
        one.term(lesson, adapters, "adapter").backward()
        assert moved.up.bias.grad.abs().sum() > 0


def learning(one: Any, *sites: Site) -> dict[Site, Any]:
    """Copies of its adapters, as the next task trains them on."""
    return {s: deepcopy(one.shared[s.name]).requires_grad_() for s in sites if s.name in one.shared}


def _at(lesson: Any) -> Any:
    """With the chance of its beginning."""
    lesson.generator.manual_seed(0)
    return lesson


def test_l2dm_rehearses_what_it_remembers(base: Base) -> None:
    one = method("l2dm", base)
    assert isinstance(one, L2dm)
    teach(one, type(ALL)("one", ALL.tasks[:1]))
    one.settings = one.settings.model_copy(update={"distillation": 0.0})
    adapters = learning(one, *base.sites)
    seen = material(ALL.tasks[3], SAMPLE)
    lesson = subject_lesson(base, seen, name="V9", class_noun="", recipe=RECIPE["subject"])
    term = one.term(_at(lesson), adapters, "adapter")
    assert isinstance(term, torch.Tensor) and float(term) > 0
    term.backward()
    assert any(a.up.bias.grad.abs().sum() > 0 for a in adapters.values())
    one.settings = one.settings.model_copy(update={"replay": 2.0})
    assert float(one.term(_at(lesson), adapters, "adapter")) == pytest.approx(2 * float(term), rel=1e-4)


def test_lwf_is_its_weight_times_the_distance_of_answers_to_a_prompt_of_nobody(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = method("lwf", base)
    assert isinstance(one, Lwf)
    teach(one, type(ALL)("one", ALL.tasks[:1]))
    adapters = learning(one, *base.sites_of("spatial"))
    lesson = subject_lesson(base, material(FIRST, SAMPLE), name="V9", class_noun="", recipe=RECIPE["subject"])
    heard: list[torch.Tensor] = []

    def said(lesson: Any, acting: Any, ask: Any) -> torch.Tensor:
        heard.append(ask.text)
        return torch.full((2, 3), 1.0 if acting is adapters else 3.0)

    monkeypatch.setattr(lwf, "answer", said)
    for weight in (1.0, 0.5):
        one.settings = one.settings.model_copy(update={"weight": weight})
        assert float(one.term(lesson, adapters, "adapter")) == pytest.approx(weight * 4)
    nobody = base.encode_text(["a thing"])
    assert all(torch.equal(text[:1], nobody) for text in heard)


def test_dreamvideo_has_one_token_for_all_layers_and_shares_no_weight(base: Base) -> None:
    one = method("dreamvideo", base)
    two = stream("subject", "subject")
    teach(one, two)
    tokens = one.known[FIRST.name].tokens
    assert (tokens == tokens[:1]).all() and one.recipe("subject").orthogonal_weight == 0
    part = one.weights_for(" and ".join(f"a <{task.name}> {task.noun}" for task in two.tasks))
    assert len(part.learners) == 2 and dict(part.changes) == {"aggregation": "off"}


def test_lwf_holds_what_is_beside_the_clock_too(base: Base) -> None:
    one, motion = method("lwf", base), stream("motion")
    assert isinstance(one, Lwf)
    teach(one, motion)
    clock: dict[Site, Any] = {s: deepcopy(one.shared[s.name]) for s in base.sites_of("moment")}
    seen = material(motion.tasks[0], SAMPLE.model_copy(update={"frames": 16}))
    lesson = motion_lesson(base, seen, name="V9", class_noun="", recipe=RECIPE["motion"])
    assert clock and float(one.term(lesson, clock, "tokens")) == 0
    with torch.no_grad():
        next(iter(clock.values())).up.bias += 0.5
    assert float(one.term(lesson, clock, "tokens")) > 0


def test_c_lora_keeps_the_sum_of_all_changes(base: Base) -> None:
    one = method("c-lora", base)
    one.settings = one.settings.model_copy(update={"rank": 1})
    assert isinstance(one, CLora)
    ranks = []
    for task in (ALL.tasks[0], ALL.tasks[3]):
        teach(one, type(ALL)("one", (task,)))
        changes = [torch.linalg.svdvals(c.double()) for name, c in one.past.items() if "attn2" in name]
        ranks.append({int((values > 1e-6 * values[0]).sum()) for values in changes})
    assert ranks == [{1}, {2}]


def test_c_lora_starts_as_a_linear_layer_does() -> None:
    lora = Lora(400, 8, 3)
    assert 0.8 / 20 < float(lora.a.detach().abs().max()) <= 1 / 20 and not lora.b.any()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**16))
def test_c_lora_minds_only_what_was_changed_before(split: int, seed: int) -> None:
    torch.manual_seed(seed)
    one = CLora.__new__(CLora)
    one.settings = SimpleNamespace(weight=2.0)  # type: ignore[assignment]
    lora, site = Lora(8, 8, 3), Site("a", "a", "spatial", 0, 8)
    torch.nn.init.normal_(lora.b)
    one.past = {"a": torch.randn(8, 8)}
    lesson: Any = None
    change = lora.change.detach()
    expected = 2 * float(((one.past["a"].abs() * change) ** 2).sum())
    assert float(one.term(lesson, {site: lora}, "adapter")) == pytest.approx(expected, rel=1e-4)
    one.past["a"][:, split:] = 0
    with torch.no_grad():
        lora.b[:, :split] = 0  # disjoint columns
    assert float(one.term(lesson, {site: lora}, "adapter")) == 0


def test_c_lora_starts_at_random_and_says_no_noun(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_for: list[str] = []
    monkeypatch.setattr(c_lora, "found_masks", lambda _, images, noun, *how: looked_for.append(noun) or ())
    one = method("c-lora", base)
    last = {kind: recipe.model_copy(update={"last_layers": 1}) for kind, recipe in one.common.recipes.items()}
    one.common = replace(one.common, recipes=last)  # it changes every layer all the same
    teach(one, type(ALL)("one", ALL.tasks[:2]))
    assert one.weights_for(PROMPT).prompt == f"a <{FIRST.name}> jumping on the beach"
    assert looked_for == [FIRST.noun]  # in the photos of the subject, and in nothing else
    assert isinstance(one, CLora)
    assert {name.rpartition(".")[2] for name in one.past} == {"to_k", "to_v", "told"}
    every = {site.name for site in base.sites_of("spatial")}
    assert {name.rpartition(".")[0] for name in one.past if ".to_" in name} >= {
        s for s in every if "attn2" in s
    }
    assert not torch.allclose(one.known[FIRST.name].tokens[0], base.noun_vector("thing"), atol=0.01)


def test_l2dm_remembers_what_looks_most_like_it(base: Base) -> None:
    one = method("l2dm", base)
    assert isinstance(one, L2dm)
    teach(one, type(ALL)("two", ALL.tasks[:2]))
    pictures, clips = one.memory.values()
    assert len(pictures.latents) == one.settings.kept == len(clips.latents)
    assert pictures.latents.shape[2] == 1 and clips.latents.shape[2] == 16
    drawn = torch.rand(6, 1, 3, 32, 32) * 2 - 1
    learner = one.known[FIRST.name]
    learner.image_prototypes = base.embed_images(drawn[4])
    assert any(torch.equal(best, drawn[4]) for best in one._best(drawn, learner))
