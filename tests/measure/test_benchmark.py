"""Runs through a stream: what is scored when, kept, gone on with, and told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmark_material import RECIPE, SAMPLE, run, stream, tiny_base
from PIL import Image

from ccvd_cli.engine.bases.contract import Base
from ccvd_cli.errors import CcvdError, UsageError
from ccvd_cli.measure import evaluate as evaluating
from ccvd_cli.measure import kept_state, streams
from ccvd_cli.measure.benchmark import Plan, Run, scaled
from ccvd_cli.measure.encoders import Embedded
from ccvd_cli.measure.evaluate import Examiner
from ccvd_cli.measure.known import Judges
from ccvd_cli.measure.methods import contract
from ccvd_cli.measure.methods.dreamvideo import DreamVideo
from ccvd_cli.measure.methods.joint import Joint
from ccvd_cli.measure.results import read, standings
from ccvd_cli.measure.streams import Stream, Task, material
from ccvd_cli.prompts import named

SHORT = stream("subject", "motion", "subject")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return tiny_base(tmp_path_factory.mktemp("base") / "tiny")


def results(out: Path) -> list[dict[str, Any]]:
    """As they are written, without what clocks say."""
    found = [json.loads(path.read_text()) for path in sorted(out.glob("*/*/seed*/[0-9]*.json"))]
    return [{k: v for k, v in r.items() if k != "seconds"} for r in found]


@pytest.mark.parametrize("name", ["ccvd", "l2dm"])
def test_a_run_that_is_cut_off_goes_on_to_the_same_results(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run(base, SHORT, tmp_path / "whole", name).go()

    class Cut(Exception): ...

    def cut(self: Run, task: Any, seconds: float) -> None:
        if task.order == 2:
            raise Cut
        whole(self, task, seconds)

    whole = Run._score
    with monkeypatch.context() as patched:
        patched.setattr(Run, "_score", cut)
        with pytest.raises(Cut):
            run(base, SHORT, tmp_path / "cut", name).go()
    assert len(results(tmp_path / "cut")) == 1
    again = run(base, SHORT, tmp_path / "cut", name)
    learned: list[str] = []
    teach = again.method.learn
    monkeypatch.setattr(again.method, "learn", lambda t, m: learned.append(t.name) or teach(t, m))
    again.go()
    assert learned == [SHORT.tasks[2].name]  # the second was learned already, and only had to be scored
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


def test_a_run_that_is_killed_between_two_files_goes_on(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was learned is on disk before the file that says so."""

    class Killed(Exception): ...

    save, calls = kept_state._save, []

    def second_time(*arguments: Any) -> None:
        calls.append(arguments[0].name)
        if len(calls) == 4:  # of the second task
            raise Killed
        save(*arguments)

    short = Stream(SHORT.name, SHORT.tasks[:2])
    with monkeypatch.context() as patched:
        patched.setattr(kept_state, "_save", second_time)
        with pytest.raises(Killed):
            run(base, short, tmp_path).go()
    run(base, short, tmp_path).go()
    assert len(results(tmp_path)) == 2


def test_all_is_scored_at_the_end_and_what_is_unchanged_is_not_made_again(base: Base, tmp_path: Path) -> None:
    run(base, SHORT, tmp_path, every=2).go()
    first, second, last = results(tmp_path)
    names = [task.name for task in SHORT.tasks]
    assert [list(r["scores"]) for r in (first, second, last)] == [names[:1], names[:2], names]
    assert first["scores"][names[0]] == last["scores"][names[0]]
    assert set(last["composed"]) == {"two", "subject+motion"} and not first["composed"]
    assert {"clip_t", "clip_i", "t_cons", "dynamic"} == set(first["scores"][names[0]])
    assert "motion" in second["scores"][names[1]]
    files = {clip["file"] for r in (first, second, last) for clip in r["clips"]}
    folder = tmp_path / "short" / "ccvd" / "seed0"
    assert {f"clips/{p.name}" for p in (folder / "clips").glob("*.mp4")} == files
    assert len(files) == 5  # one for each concept, and two composed ones
    (standing,) = standings(read(tmp_path)[0])
    assert (standing.seeds, standing.unfinished) == (1, 0)
    assert standing.forgotten["clip_t"].since_first == 0 == standing.forgotten["clip_i"].since_best
    json.dumps(standing.as_json(), allow_nan=False)
    (folder / f"03-{names[2]}.json").unlink()
    (standing,) = standings(read(tmp_path)[0])
    assert (standing.seeds, standing.unfinished) == (0, 1)


def test_fine_tuning_makes_clips_of_old_concepts_anew(base: Base, tmp_path: Path) -> None:
    run(base, SHORT, tmp_path, "finetune").go()
    first, *_, last = results(tmp_path)
    name = SHORT.tasks[0].name
    old, new = ([c["file"] for c in r["clips"] if c["concept"] == name] for r in (first, last))
    assert old != new


def test_other_settings_need_another_folder(base: Base, tmp_path: Path) -> None:
    one = run(base, SHORT, tmp_path)
    one.folder.mkdir(parents=True)
    one.state.begin(one._about())
    one.check()
    other = run(base, SHORT, tmp_path, effort=3.0)
    with pytest.raises(UsageError, match="its effort differ"):
        other.check()


def test_a_stream_that_has_grown_goes_on_from_where_it_was(base: Base, tmp_path: Path) -> None:
    begun = Stream(SHORT.name, SHORT.tasks[:2])
    for name in ("ccvd", "joint"):
        run(base, begun, tmp_path, name).go()
    run(base, SHORT, tmp_path / "at once").go()
    grown = run(base, SHORT, tmp_path)
    learned: list[str] = []
    teach = grown.method.learn
    grown.method.learn = lambda t, m: learned.append(t.name) or teach(t, m)  # type: ignore
    grown.go()
    assert learned == [SHORT.tasks[2].name]
    *_, last = results(tmp_path / "at once")
    assert json.loads(grown._path(SHORT.tasks[2]).read_text()).items() >= last.items()
    told = {s.method: (s.seeds, s.unfinished) for s in standings(read(tmp_path)[0])}
    assert told == {"ccvd": (1, 0), "joint": (0, 1)}
    with pytest.raises(UsageError, match="more tasks than there are"):
        run(base, begun, tmp_path).check()
    swapped = Stream(SHORT.name, (SHORT.tasks[1], SHORT.tasks[0], SHORT.tasks[2]))
    with pytest.raises(UsageError, match="its tasks differ"):
        run(base, swapped, tmp_path).check()


def learned_by(one: Run, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what it goes on to learn itself."""
    learned: list[str] = []

    def heard(kind: str) -> Any:
        learn = getattr(contract, f"learn_{kind}")
        return lambda *a, **how: learned.append(how["name"]) or learn(*a, **how)

    with monkeypatch.context() as patched:
        for kind in ("subject", "motion"):
            patched.setattr(contract, f"learn_{kind}", heard(kind))
        one.go()
    return learned


def test_what_methods_learn_alike_is_learned_once(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, motion, last = (task.name for task in SHORT.tasks)
    assert learned_by(run(base, SHORT, tmp_path, "joint"), monkeypatch) == [first, motion, last]
    assert learned_by(run(base, SHORT, tmp_path, "lora-merge"), monkeypatch) == []
    assert learned_by(run(base, SHORT, tmp_path), monkeypatch) == [last]  # which is kept apart from the first
    assert learned_by(run(base, SHORT, tmp_path, without=("regions",)), monkeypatch) == []
    assert learned_by(run(base, SHORT, tmp_path, without=("orthogonal",)), monkeypatch) == []
    with monkeypatch.context() as patched:
        patched.setattr(DreamVideo, "shares", False)
        patched.setattr(DreamVideo, "recipe", Joint.recipe)
        assert learned_by(run(base, SHORT, tmp_path, "dreamvideo"), monkeypatch) == [first, motion, last]
    run(base, SHORT, tmp_path / "alone", "lora-merge").go()
    assert results(tmp_path / "alone") == [r for r in results(tmp_path) if r["method"] == "lora-merge"]

    def seconds(name: str) -> list[float]:
        paths = sorted((tmp_path / "short" / name / "seed0").glob("0*.json"))
        return [json.loads(path.read_text())["seconds"]["learning"] for path in paths]

    assert all(b >= a > 0 for a, b in zip(seconds("joint"), seconds("lora-merge"), strict=True))


def test_another_stream_takes_over_what_was_learned_alike(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, motion, last = SHORT.tasks
    longer = Stream("longer", SHORT.tasks)
    turned = Stream("turned", tuple(replace(t, order=i) for i, t in enumerate((motion, last, first), 1)))
    run(base, Stream("begun", SHORT.tasks[:2]), tmp_path).go()
    assert learned_by(run(base, longer, tmp_path), monkeypatch) == [last.name]
    assert learned_by(run(base, turned, tmp_path), monkeypatch) == [
        last.name,
        first.name,
    ]  # each apart from another
    assert learned_by(run(base, turned, tmp_path, "joint"), monkeypatch) == []


def test_other_data_ways_and_seeds_and_damaged_files_are_no_such_lesson(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Stream(SHORT.name, SHORT.tasks[:1])
    names = [short.tasks[0].name]
    joint = run(base, short, tmp_path, "joint")
    joint.go()
    other = run(base, short, tmp_path, "lora-merge")
    with monkeypatch.context() as patched:
        patched.setattr(streams, "material", lambda *a: [-x for x in material(*a)])
        assert learned_by(other, monkeypatch) == names
    seeded = Run(base, other.examiner, other.plan, "lora-merge", 1, RECIPE, SAMPLE)
    assert learned_by(seeded, monkeypatch) == names
    for one in (
        run(base, short, tmp_path, "finetune"),
        run(base, short, tmp_path, without=("tokens",)),
    ):
        assert learned_by(one, monkeypatch) == names
    (kept,) = joint.state.folder.glob("01-*")
    kept.write_bytes(kept.read_bytes()[:-1])
    assert learned_by(run(base, short, tmp_path), monkeypatch) == names


def test_runs_of_one_table_share_their_settings(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = run(base, SHORT, tmp_path, "ccvd")
    begun.folder.mkdir(parents=True)
    begun.state.begin(begun._about())
    run(base, SHORT, tmp_path, "joint").check()
    with pytest.raises(UsageError, match="effort differ"):
        run(base, SHORT, tmp_path, "joint", effort=0.5).check()
    with pytest.raises(UsageError, match="every differ"):
        run(base, SHORT, tmp_path, "joint", every=1).check()
    one = run(base, SHORT, tmp_path, "joint")
    slower = {kind: recipe.model_copy(update={"adapter_lr": 0.1}) for kind, recipe in RECIPE.items()}
    other = Run(base, one.examiner, one.plan, "joint", 0, slower, SAMPLE)
    with pytest.raises(UsageError, match="recipes differ"):
        other.check()
    Run(base, one.examiner, one.plan, "joint", 1, RECIPE, SAMPLE).check()  # another seed is no other recipe
    monkeypatch.setattr("ccvd_cli.measure.benchmark.SCORING", 0)
    with pytest.raises(UsageError, match="scoring differ"):
        one.check()


def test_no_judge_is_trained_for_what_is_refused(base: Base, tmp_path: Path) -> None:
    begun = run(base, SHORT, tmp_path)
    begun.folder.mkdir(parents=True)
    begun.state.begin(begun._about())

    class Untrained:
        def digests(self) -> None:
            raise KeyboardInterrupt

    other = run(base, SHORT, tmp_path, effort=3.0)
    other.examiner = replace(other.examiner, judges=Judges.alone(Untrained()))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="differ"):
        other.check()


def test_what_a_method_taught_before_it_was_mended_is_not_gone_on_with(base: Base, tmp_path: Path) -> None:
    begun = run(base, SHORT, tmp_path)
    begun.check()
    begun.folder.mkdir(parents=True)
    about = begun._about()
    begun.state.begin({**about, "revision": None})
    another_seed = Run(base, begun.examiner, begun.plan, "ccvd", 1, RECIPE, SAMPLE)
    without_a_part = Run(
        base, begun.examiner, replace(begun.plan, without=("noise",)), "ccvd", 0, RECIPE, SAMPLE
    )
    assert without_a_part.folder != begun.folder
    for one in (run(base, SHORT, tmp_path), another_seed, without_a_part):
        with pytest.raises(UsageError, match="its revision differ"):
            one.check()
    run(base, SHORT, tmp_path, "joint").check()  # others are what they were


def test_methods_of_one_table_are_sampled_alike(base: Base, tmp_path: Path) -> None:
    one = run(base, SHORT, tmp_path)
    one.folder.mkdir(parents=True)
    one.state.begin(one._about())
    other = run(base, SHORT, tmp_path, "joint")
    other.sampling = other.sampling.model_copy(update={"guidance_scale": 9.0})
    with pytest.raises(UsageError, match="its sampling differ"):
        other.check()
    run(base, SHORT, tmp_path, "joint").check()


def test_a_folder_with_other_photos_is_another_task(base: Base, tmp_path: Path) -> None:
    for name, shade in (("rex", 10), ("tom", 200)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (64, 64), (shade, 0, 0)).save(tmp_path / name / "0.png")
    tasks = [Task(i, "subject", name, "dog", tmp_path / name) for i, name in enumerate(("rex", "tom"), 1)]
    listed = Stream("listed", tuple(tasks))
    one = run(base, listed, tmp_path / "out")
    one.check()
    one.folder.mkdir(parents=True)
    one.state.begin(one._about())
    begun = run(base, listed, tmp_path / "out")
    begun.check()
    assert len(begun._material(tasks[1])) == 1
    Image.new("RGB", (64, 64), (0, 200, 0)).save(tmp_path / "tom" / "0.png")
    with pytest.raises(
        CcvdError, match="has changed since"
    ):  # it was read when the run began, and again when its turn came
        begun._material(tasks[1])
    for name in ("ccvd", "joint"):
        with pytest.raises(UsageError, match="its tasks differ"):
            run(base, listed, tmp_path / "out", name).check()
    assert run(base, SHORT, tmp_path)._settings()["tasks"][0] == ["subject", SHORT.tasks[0].name, "fish"]


def test_results_are_of_what_was_learned(base: Base, tmp_path: Path) -> None:
    """A file that is gone is not filled with what the method knows by now; none is deleted, and a whole run needs no state."""
    one = run(base, SHORT, tmp_path)
    one.go()
    first, *_, last = (one._path(task) for task in SHORT.tasks)
    kept = first.read_bytes()
    first.unlink()
    with pytest.raises(CcvdError, match="is gone"):
        run(base, SHORT, tmp_path).go()
    first.write_bytes(kept)
    (one.state.folder / "method.safetensors").unlink()
    anew = run(base, SHORT, tmp_path)
    anew.method.learn = stop  # type: ignore[method-assign]
    anew.go()
    last.unlink()
    with pytest.raises(CcvdError, match="not what was learned until then"):
        anew.go()
    assert first.read_bytes() == kept


def stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_shards_share_all_runs() -> None:
    plan = Plan(SHORT, ("ccvd", "joint", "ewc"), Path("x"), ("regions", "noise"), seeds=3)
    parts = [plan.runs((i, 4)) for i in range(1, 5)]
    assert sorted(pair for part in parts for pair in part) == sorted(plan.runs())
    assert len(plan.runs()) == len(set(plan.runs())) == 9
    assert plan.folder("ccvd", 1).parts[-2:] == ("ccvd-without-regions+noise", "seed1")
    assert plan.folder("ewc", 0).parts[-2:] == ("ewc", "seed0")


def test_effort_scales_steps_and_keeps_none() -> None:
    recipe = RECIPE["subject"].model_copy(update={"token_steps": 0, "adapter_steps": 10})
    assert (scaled(recipe, 0.25).token_steps, scaled(recipe, 0.25).adapter_steps) == (0, 2)
    assert scaled(recipe, 0.001).adapter_steps == 1


def test_results_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no results"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["ccvd", "c-lora"])
def test_who_is_named_takes_part_and_is_held_against_the_clip(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    made: list[tuple[list[str], list[str]]] = []
    held: dict[str, list[Any]] = {}
    generate, judge = evaluating.generate_batch, Examiner.scores

    def heard(base: Base, prompts: Any, learners: Any, *rest: Any) -> Any:
        made.append((list(prompts), [learner.name for learner in learners]))
        return generate(base, prompts, learners, *rest)

    def judged(self: Any, clip: Any, question: Any, against: Any) -> dict[str, float]:
        held[question.prompt] = [h.box for h in against]
        return judge(self, clip, question, against)

    monkeypatch.setattr(evaluating, "generate_batch", heard)
    monkeypatch.setattr(Examiner, "scores", judged)
    run(base, SHORT, tmp_path, name).go()
    assert {len(learners) for _, learners in made} == {1, 2}
    for prompts, learners in made:
        assert all(set(named(prompt)) == set(learners) for prompt in prompts)
    nouns = {task.name: task.noun for task in SHORT.tasks if task.kind == "subject"}
    said = [f"<{who}> {noun}" in p for prompts, _ in made for p in prompts for who, noun in nouns.items()]
    assert any(said) == (name != "c-lora")  # which never says the noun
    ((left, right),) = [boxes for prompt, boxes in held.items() if all(f"<{who}>" in prompt for who in nouns)]
    assert left[2] == pytest.approx(0.5) == pytest.approx(right[0])


def test_another_seed_draws_another_clip(base: Base, tmp_path: Path) -> None:
    one = run(base, SHORT, tmp_path)
    other = Run(base, one.examiner, one.plan, "ccvd", 1, RECIPE, SAMPLE)
    assert (one.sampling.seed, other.sampling.seed) == (0, 1)
    assert {recipe.seed for recipe in other.recipes.values()} == {1}


def test_references_are_pictures_as_clips_are(base: Base, tmp_path: Path) -> None:
    """From 0 to 1, as the encoders and the trajectories have them."""
    one = run(base, SHORT, tmp_path)
    shown: list[Any] = []

    class Spy(Embedded):
        def images(self, frames: Any) -> Any:
            shown.append(frames)
            return super().images(frames)

    one.examiner = replace(one.examiner, clip=Spy(base))
    subject, motion = SHORT.tasks[:2]
    one._references_of(subject)
    shown += one._references_of(motion).clips
    assert len(shown) > 1 and all(x.min() >= 0 and 0.5 < x.max() <= 1 for x in shown)
