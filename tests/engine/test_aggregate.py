"""Who takes part in a prompt, how much, and that one wide adapter says what they say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_adapters import trained

from ccvd_cli.engine.aggregate import Candidate, Share, fold, relevance, relevance_weights, speaking, weigh
from ccvd_cli.engine.bases.contract import Base, TokenVectors
from ccvd_cli.engine.concept import Learner
from ccvd_cli.settings import SampleSettings

PLAIN = SampleSettings()


def concept(base: Base, name: str, kind: str = "subject") -> Learner:
    """Untrained tokens, random adapters."""
    tokens = torch.randn(base.text_layers, base.token_width)
    sites = base.sites_of("temporal", "moment") if kind == "motion" else base.sites_of("spatial")
    return Learner(
        name,
        kind,  # type: ignore[arg-type]
        "dog",
        tokens,
        {s.name: trained(s.width, 4) for s in sites},
        base.token_states(TokenVectors(f"<{name}>", tokens)),
        torch.zeros(0, base.image_width),
    )


def shares_of(base: Base, prompt: str, learners: list[Learner], **how: object) -> list[Share]:
    states = base.encode_text([prompt], [x.token_vectors() for x in learners])
    among = [Candidate(x.name, x.kind, x.text_prototypes) for x in learners]
    return weigh(base, [prompt], states, among, SampleSettings(**how))  # type: ignore[arg-type]


def test_relevance_is_the_nearest_words_cosine() -> None:
    states, prototypes = torch.randn(1, 2, 4, 6), torch.randn(3, 2, 6)
    words = torch.tensor([[False, True, True, False]])
    found = relevance(states, words, prototypes)
    for j in range(3):
        for layer in range(2):
            cosines = torch.cosine_similarity(states[0, layer, 1:3], prototypes[j, layer][None], dim=-1)
            assert torch.isclose(found[j, layer], cosines.max(), atol=1e-5)


def test_relevance_is_the_mean_over_prompts() -> None:
    states, prototypes = torch.randn(2, 2, 4, 6), torch.randn(3, 2, 6)
    words = torch.ones(2, 4, dtype=torch.bool)
    each = [relevance(states[i : i + 1], words[i : i + 1], prototypes) for i in (0, 1)]
    assert torch.allclose(relevance(states, words, prototypes), (each[0] + each[1]) / 2)
    assert not torch.allclose(each[0], each[1])


def test_weights_go_with_the_fourth_power() -> None:
    assert torch.allclose(
        relevance_weights(torch.tensor([[0.5], [1.0]])), torch.tensor([[1 / 17], [16 / 17]])
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=1, max_size=6))
def test_weights_sum_to_one_in_every_layer_and_favour_the_relevant(rows: list[list[float]]) -> None:
    relevances = torch.tensor(rows)
    weights = relevance_weights(relevances)
    assert torch.allclose(weights.sum(0), torch.ones(3), atol=1e-5) and (weights >= 0).all()
    order = relevances[:, 0].argsort()
    assert (weights[order, 0].diff() >= 0).all()


def test_only_who_is_named_takes_part(base: Base) -> None:
    learners = [concept(base, n) for n in ("V1", "V2", "V3")] + [concept(base, "V4", "motion")]
    shares = shares_of(base, "a <V1> dog and a <V3> cat performing <V4>", learners)
    assert [(s.name, s.why) for s in shares] == [("V1", "named"), ("V3", "named"), ("V4", "named")]
    spatial = shares[0].weights + shares[1].weights
    assert torch.allclose(spatial, torch.ones(base.text_layers), atol=1e-6)
    assert torch.allclose(shares[2].weights, torch.ones(base.text_layers))  # no other motion to share with
    assert shares_of(base, "a dog", learners) == []


def test_a_subject_and_a_style_are_together_as_much_as_one(base: Base) -> None:
    learners = [concept(base, "V1"), *(concept(base, n, "style") for n in ("V2", "V3"))]
    prompt, one = "a <V1> dog in <V2> style in <V3> style", torch.ones(base.text_layers)
    subject, *styles = shares_of(base, prompt, learners)
    both = styles[0].weights + styles[1].weights
    assert torch.allclose(subject.weights, both, atol=1e-6)
    assert torch.allclose(subject.weights**2 + both**2, one, atol=1e-6)
    (alone,) = shares_of(base, "a dog in <V2> style", learners)
    assert torch.equal(alone.weights, one)
    assert [s.mean for s in shares_of(base, prompt, learners, aggregation="off")] == [1, 1, 1]


def test_where_others_may_join_styles_and_subjects_share_the_weight_of_one(base: Base) -> None:
    learners = [concept(base, "V1"), concept(base, "V2", "style")]
    for how in ({"relevance_threshold": 1.0}, {"aggregation": "relevance"}, {"aggregation": "mean"}):
        shares = shares_of(base, "a <V1> dog in <V2> style", learners, **how)
        assert torch.allclose(sum(s.weights for s in shares), torch.ones(base.text_layers), atol=1e-6), how


def test_who_is_not_named_joins_from_the_threshold_on(base: Base) -> None:
    one, other = concept(base, "V1"), concept(base, "V2")
    near = replace(one, name="V3", text_prototypes=one.text_prototypes + 1e-3)
    learners = [one, other, near]
    assert [s.name for s in shares_of(base, "a <V1> dog", learners)] == ["V1"]
    states = base.encode_text(["a <V1> dog"], [x.token_vectors() for x in learners])
    found = relevance(
        states, base.words(["a <V1> dog"]), torch.stack([x.text_prototypes for x in learners])
    ).mean(1)
    between = float((found[1] + found[2]) / 2)
    shares = shares_of(base, "a <V1> dog", learners, relevance_threshold=between)
    assert [(s.name, s.why) for s in shares] == [("V1", "named"), ("V3", "relevant")]
    assert shares[0].mean == pytest.approx(0.5, abs=0.05)


def test_relevance_asks_everybody_and_keeps_the_most_relevant(base: Base) -> None:
    learners = [concept(base, f"V{i}") for i in range(1, 7)]
    everybody = shares_of(base, "a <V2> dog", learners, aggregation="relevance", top_k=9)
    assert {s.name for s in everybody} <= {x.name for x in learners} and len(everybody) > 2
    assert max(everybody, key=lambda s: s.mean).name == "V2"
    few = shares_of(base, "a <V2> dog", learners, aggregation="relevance", top_k=1)
    assert len(few) == 2 and "V2" in {s.name for s in few}
    assert torch.allclose(sum(s.weights for s in few), torch.ones(base.text_layers), atol=1e-6)


def test_mean_is_everybody_alike_and_off_is_who_is_named_in_full(base: Base) -> None:
    learners = [concept(base, f"V{i}") for i in range(1, 5)]
    mean = shares_of(base, "a <V2> dog", learners, aggregation="mean")
    assert [s.mean for s in mean] == pytest.approx([0.25] * 4)
    off = shares_of(base, "a <V2> dog and a <V3> cat", learners, aggregation="off", relevance_threshold=-1.0)
    assert [(s.name, s.mean) for s in off] == [("V2", 1.0), ("V3", 1.0)]


def test_one_wide_adapter_is_the_weighted_sum_of_all(base: Base) -> None:
    learners = [concept(base, "V1"), concept(base, "V2"), concept(base, "V3", "motion")]
    generator = torch.Generator().manual_seed(3)
    shares = [
        Share(x.name, x.kind, "named", torch.rand(base.text_layers, generator=generator)) for x in learners
    ]
    folded = fold(base, learners, shares)
    assert set(folded) == set(base.sites_of("spatial", "temporal"))
    for site, wide in folded.items():
        h = torch.randn(3, 5, site.width)
        expected = sum(
            float(s.weights[site.layer]) * x.adapters[site.name](h)
            for x, s in zip(learners, shares, strict=True)
            if site.name in x.adapters
        )
        assert torch.allclose(wide(h), expected, atol=1e-4)


def test_two_motions_speak_each_at_its_own_name_and_share_the_end(base: Base) -> None:
    if not base.tells_moments:
        pytest.skip("nothing acts beside a clock")
    learners = [concept(base, "V1", "motion"), concept(base, "V2", "motion")]
    prompt = "a dog performing <V1> and a cat performing <V2>"
    shares = shares_of(base, prompt, learners)
    (placed,) = speaking(
        base, ["", prompt, "a dog performing <V2>"], learners, [[], shares, shares[1:]]
    ).values()
    one, two = placed.places
    for places, share, name in ((one, shares[0], "<V1>"), (two, shares[1], "<V2>")):
        named, ended = base.places([prompt], name)
        assert torch.equal(places[1][named[0]], torch.ones(1)) and not places[0].any()
        assert torch.allclose(places[1][ended[0]], torch.tensor(share.mean))
    assert not one[2].any() and two[2].any()  # V1 has no part in the third


def test_nobody_who_is_named_is_dropped_however_many_there_are(base: Base) -> None:
    one = concept(base, "V1")
    crowd = [Candidate(f"V{i}", "subject", one.text_prototypes) for i in range(1, 152)]
    faint = Candidate("V900", "subject", -one.text_prototypes)
    states = base.encode_text(["a <V1> dog"], [one.token_vectors()])
    how = SampleSettings(aggregation="relevance", top_k=500)
    shares = weigh(base, ["a <V1> dog and a <V900> cat"], states, [*crowd, faint], how)
    assert len(shares) == 152 and {"V1", "V900"} <= {s.name for s in shares}
    assert torch.allclose(sum(s.weights for s in shares), torch.ones(base.text_layers), atol=1e-4)


def test_appearance_is_guided_by_a_subject_that_takes_part(base: Base) -> None:
    if not base.image_width:
        pytest.skip("no image encoder")
    one, two, motion = concept(base, "V1"), concept(base, "V2"), concept(base, "V3", "motion")
    for x in (one, two):
        x.image_prototypes = torch.randn(2, base.image_width)
    motion.adapters = {
        s.name: trained(s.width, 4, base.image_width) for s in base.sites_of("temporal", "moment")
    }
    shares = [Share(x.name, x.kind, "named", torch.ones(base.text_layers)) for x in (one, two, motion)]
    site = base.sites_of("temporal")[0]
    h = torch.randn(2, 5, site.width)
    adapter = motion.adapters[site.name]
    for who, guided in (([0, 2], one), ([1, 2], two), ([2], None)):
        wide = fold(base, [one, two, motion], [shares[k] for k in who])[site]
        expected = adapter(h, guided.image_prototypes[:1] if guided else None)
        assert torch.allclose(wide(h), expected, atol=1e-4)
    joined = Share("V1", "subject", "relevant", shares[0].weights)  # nobody asked what it looks like
    wide = fold(base, [one, two, motion], [joined, *shares[1:]])[site]
    assert torch.allclose(wide(h), adapter(h, two.image_prototypes[:1]), atol=1e-4)
    if base.tells_moments:
        (moment,) = base.sites_of("moment")
        rows = ["performing <V3>", "a <V2> cat performing <V3>"]
        (placed,) = speaking(base, rows, [one, two, motion], [shares[2:], shares[1:]]).values()
        h = torch.randn(2, 24, moment.width)
        wide = placed.adapters[0]
        for row, e in ((0, None), (1, two.image_prototypes[:1])):
            expected = motion.adapters[moment.name](h[row : row + 1], e)
            assert torch.allclose(wide(h)[row], expected[0], atol=1e-4)
