"""What a clip should show, read off prompts; and judges that are asked only for what they are good at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import build_mini

from ccvd_cli.engine.bases import open_base
from ccvd_cli.measure.exact import Exact, Shown, least, shown_by
from ccvd_cli.world import heldout, judge
from ccvd_cli.world.render import Actor, Clip, render


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("a red dog jumping on the beach", Shown("dog", "red", None, "beach", "jumping")),
        ("under the sea, a pink striped fish performing moving left", Shown("fish", "pink", "striped", "underwater", "moving left")),
        ("a <dog-10> dog standing still in the snow", Shown(scene="snow", motion="standing still", subject="dog-10")),
        ("a red dog performing <zigzagging> in <sepia> style", Shown("dog", motion="zigzagging", style="sepia")),
        ("a <dog-10> dog and a <fish-11> fish spinning on the moon", Shown(scene="moon")),
        ("a picture in the style of nobody", Shown()),
    ],
)  # fmt: skip
def test_a_sentence_is_read_by_its_words(sentence: str, shown: Shown) -> None:
    assert shown_by(sentence) == shown


def test_heldout_prompts_are_read_whatever_the_concept_is_called() -> None:
    for prompt in heldout.subject_prompts(10, "V1") + heldout.subject_prompts(10, "dog-10"):
        shown = shown_by(prompt)
        assert (shown.motion, shown.scene) == (prompt.shows.motion, prompt.shows.scene)
        known = "dog-10" in prompt.text  # then who it is, is asked, and not what
        assert (shown.subject, shown.noun) == (("dog-10", None) if known else (None, "dog"))
    for prompt in heldout.motion_prompts("zigzagging", "V3"):
        shown = shown_by(prompt)
        assert shown.motion == "zigzagging" and shown.colour and shown.colour in prompt.text
    for prompt in heldout.style_prompts("sepia", "V7"):
        shown = shown_by(prompt)
        assert shown.style == "sepia" and shown.colour is None and shown.noun in prompt.text.split()


class Knowing(judge.Judge):
    """Answers what it is told to."""

    def __init__(self, classes: dict[str, tuple[str, ...]], answers: dict[str, list[str]]) -> None:
        super().__init__(classes)
        self.answers = answers
        self.accuracy = dict.fromkeys(classes, 0.99)

    def log_probabilities(self, clips, frames_read=8, windows=None):  # type: ignore[no-untyped-def]
        def of(names: tuple[str, ...], ranked: list[str]) -> torch.Tensor:
            return torch.tensor([-float(ranked.index(n)) if n in ranked else -9.0 for n in names])

        return {k: of(names, self.answers[k]).expand(len(clips), -1) for k, names in self.classes.items()}


@pytest.fixture
def exact(tmp_path: Path) -> Exact:
    found = Exact(open_base(str(build_mini(tmp_path / "tiny")), device="cpu"), [10, 11], tmp_path)
    attributes = {
        "noun": ("dog", "cat"),
        "scene": ("beach", "snow"),
        "motion": ("jumping", "rising"),
        "style": ("sepia",),
    }
    found.attributes = Knowing(
        attributes, {"noun": ["dog"], "scene": ["snow"], "motion": ["jumping"], "style": ["sepia"]}
    )
    found.attributes.accuracy["noun"] = 0.96
    who = {"identity": ("dog-10", "fish-11", "other")}
    found.identity = Knowing(who, {"identity": ["other", "dog-10", "fish-11"]})
    return found


def test_who_is_not_trusted_is_not_asked_and_that_is_said_once(exact: Exact) -> None:
    said: list[str] = []
    exact.say = said.append
    clip = torch.rand(16, 3, 64, 64)
    for _ in range(2):
        found = exact.scores(clip, Shown("dog", scene="beach", motion="jumping"))
        assert found == {"scene": 0.0, "motion_class": 1.0}
    assert len(said) == 2 and "noun" in said[0] and "96.0%" in said[0]
    assert "path of jumping" in said[1]  # through an autoencoder that has learned nothing
    shares = exact.accuracies(Shown("dog", scene="beach", motion="jumping"))
    assert (shares["noun"], shares["scene"], shares["motion_class"]) == (0.96, 0.99, 0.99)
    exact.attributes.accuracy |= {"scene, styled": 0.5, "motion, styled": 0.98}
    styled = Shown(scene="beach", motion="rising", style="sepia", subject="dog-10")
    assert exact.scores(clip, styled) == {"style": 1.0, "motion_class": 0.0}
    assert exact.scores(clip, Shown(scene="beach"), styled=True) == {}
    assert exact.accuracies(styled)["motion_class"] == 0.98


def test_the_path_of_a_single_actor_is_measured(exact: Exact) -> None:
    exact.autoencoder = replace(exact.autoencoder, through=lambda frames: frames)
    drawn = render(Clip((Actor("dog", (0.9, 0.1, 0.1)),), "beach", "rising", seed=1))
    clip = torch.from_numpy(drawn).movedim(-1, 1).float() / 255
    right, wrong = (exact.scores(clip, Shown("cat", motion=m))["path"] for m in ("rising", "falling"))
    assert right > 0.96 and wrong < 0.8 and exact.accuracies(Shown("cat", motion="rising"))["path"] > 0.97
    assert "path" not in exact.scores(
        clip[:2], Shown("cat", motion="rising")
    )  # in two frames nothing is followed
    assert "path" not in exact.scores(clip, Shown(motion="rising"))  # whose?
    assert "path" not in exact.scores(clip, Shown("cat", motion="rising", style="sepia"))


def test_the_least_share_is_of_those_who_are_asked() -> None:
    shares = [{"path": 0.98, "noun": 0.5}, {"path": 0.9}, {"path": 0.99, "noun": 0.6}]
    assert least(shares) == {"path": 0.98, "noun": 0.5}


def test_somebody_else_is_among_the_answers_of_identity_alone(exact: Exact) -> None:
    clip = torch.rand(16, 3, 64, 64)
    assert exact.scores(clip, Shown(subject="dog-10")) == {"identity": 0.0, "nearest": 1.0}
    boxes = (("dog-10", (0.0, 0.1, 0.5, 1.0)), ("fish-11", (0.5, 0.1, 1.0, 1.0)))
    assert exact.scores(clip, Shown(boxes=boxes)) == {"in_box": 0.0, "in_box_nearest": 0.5}
    with pytest.raises(ValueError, match="cat-99"):
        exact.scores(clip, Shown(subject="cat-99"))


def test_judges_are_examined_on_clips_of_as_many_frames(
    exact: Exact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for a length; of the usual one they were when they were trained."""
    asked: list[tuple[int, int]] = []

    def examine(
        judge: object, draw: object, autoencoder: object, count: int, frames: int
    ) -> dict[str, float]:
        asked.append((count, frames))
        return {"scene": 0.5, "motion": 0.98}

    monkeypatch.setattr("ccvd_cli.world.judge_making.examine", examine)
    shown = Shown(scene="snow", motion="jumping")
    assert exact.accuracies(shown) == {"scene": 0.99, "motion_class": 0.99} and not asked
    for _ in range(2):
        assert exact.scores(torch.rand(8, 3, 64, 64), shown) == {"motion_class": 1.0}
    assert asked == [(300, 8)]


def test_each_box_is_looked_into(exact: Exact, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[list[float]]] = []
    asked = exact.identity.log_probabilities

    def heard(clips, frames_read=8, windows=None):  # type: ignore[no-untyped-def]
        seen.append(windows.tolist())
        return asked(clips)

    monkeypatch.setattr(exact.identity, "log_probabilities", heard)
    boxes = (("dog-10", (0.0, 0.25, 0.5, 1.0)), ("fish-11", (0.5, 0.25, 1.0, 1.0)))
    exact.scores(torch.rand(16, 3, 64, 64), Shown(boxes=boxes))
    exact.scores(torch.rand(16, 3, 64, 64), Shown(subject="dog-10"))
    assert seen == [[[0.0, 0.25, 0.5, 1.0], [0.5, 0.25, 1.0, 1.0]], [[0.0, 0.0, 1.0, 1.0]]]
