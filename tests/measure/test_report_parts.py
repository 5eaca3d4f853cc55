"""What a report is made of: results read back, methods held against each other, pictures that fit, and lines."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from report_material import animated, result

from ccvd_cli.engine.media_out import write_clip
from ccvd_cli.errors import UsageError
from ccvd_cli.measure import results
from ccvd_cli.measure.report import benchmark
from ccvd_cli.measure.report.gather import sources
from ccvd_cli.measure.report.media import Media
from ccvd_cli.measure.report.svg import _apart, _ticks, curves, loss

HOSTILE = "<script>alert(1)</script>"


def _methods(folder: Path) -> dict[str, benchmark.Method]:
    (stream,) = benchmark.streams(results.read(folder)[0])
    return {method.method: method for method in stream.methods}


def test_methods_are_held_against_each_other_at_the_end(tmp_path: Path) -> None:
    result(tmp_path, "m", 1, {"a": 0.6})
    result(tmp_path, "m", 2, {"a": 0.8, "b": 0.7})
    result(tmp_path, "m", 3, {"a": 0.5, "b": 0.7, "c": 0.6})
    method = _methods(tmp_path)["m"]
    assert method.forgotten["clip_t"].since_first == pytest.approx(0.05)
    assert method.forgotten["clip_t"].since_best == pytest.approx(0.15)
    score = method.scores["clip_t"]
    assert score.mean == pytest.approx(0.6) and score.low < 0.6 < score.high
    assert method.curves["clip_t"] == [(1, 0.6), (2, 0.75), (3, pytest.approx(0.6))]


def test_curves_are_over_all_that_was_learned_or_have_no_point(tmp_path: Path) -> None:
    result(tmp_path, "m", 1, {"a": 0.6})
    result(tmp_path, "m", 2, {"b": 0.9})  # the new one alone
    assert _methods(tmp_path)["m"].curves["clip_t"] == [(1, 0.6)]


def test_the_first_concept_alone_and_all_at_the_end_are_no_curve(tmp_path: Path) -> None:
    """Without `--every`; each concept's own line says what became of it."""
    result(tmp_path, "m", 1, {"a": 0.6}, tasks=3)
    result(tmp_path, "m", 2, {"b": 0.9}, tasks=3)
    result(tmp_path, "m", 3, {"a": 0.4, "b": 0.8, "c": 0.5}, tasks=3)
    method = _methods(tmp_path)["m"]
    assert method.curves == {}
    assert method.kept["clip_t"] == {"a": [(1, 0.6), (3, 0.4)], "b": [(2, 0.9), (3, 0.8)]}


def test_seeds_that_did_not_come_to_the_end_do_not_count(tmp_path: Path) -> None:
    for seed, orders in ((0, (1, 2)), (1, (1,))):
        for order in orders:
            seconds = {"learning": 10.0 + 990 * seed, "evaluating": 1.0}
            result(tmp_path, "m", order, {"a": 0.5 + seed}, seed=seed, tasks=2, seconds=seconds)
    method = _methods(tmp_path)["m"]
    assert (method.seeds, method.unfinished, method.learning) == (1, 1, 10.0)
    assert method.scores["clip_t"].mean == 0.5


def test_seeds_are_no_further_concepts(tmp_path: Path) -> None:
    """Three seeds of two concepts are as wide an interval as their means over seeds."""
    for seed, drift in enumerate((0.0, 0.01, -0.01)):
        result(tmp_path / "three", "m", 1, {"a": 0.4 + drift, "b": 0.8 + drift}, seed=seed)
    result(tmp_path / "one", "m", 1, {"a": 0.4, "b": 0.8})
    three, one = (_methods(tmp_path / name)["m"].scores["clip_t"] for name in ("three", "one"))
    assert three.count == one.count == 2
    assert (three.mean, three.low, three.high) == pytest.approx((one.mean, one.low, one.high))


def test_a_judge_is_as_good_as_in_its_worst_run_and_seeds_are_forgotten_apart(tmp_path: Path) -> None:
    for seed, judge in enumerate((0.98, 0.99)):
        for order, mean in ((1, 0.5), (2, 0.4)):  # each loses 0.1, the second from another level
            result(
                tmp_path, "m", order, {"a": mean + 0.3 * seed}, seed=seed, tasks=2, judges={"identity": judge}
            )
    method = _methods(tmp_path)["m"]
    assert method.judges == {"identity": 0.98}
    assert method.forgotten["clip_t"].since_first == pytest.approx(0.1)
    assert method.forgotten["clip_t"].since_best == pytest.approx(0.1)


def test_the_same_prompt_for_others_is_another_answer(tmp_path: Path) -> None:
    clips = [
        {
            **{"concept": who, "prompt": "both", "seed": 0, "file": f"clips/{who}.gif", "composed": "two"},
            "scores": {"clip_t": score},
        }
        for who, score in (("a+b", 0.2), ("c+d", 0.6))
    ]
    result(tmp_path, "m", 1, {"a": 0.5}, tasks=1, clips=clips)
    found = _methods(tmp_path)["m"].composed["two"]["clip_t"]
    assert (found.mean, found.count) == (pytest.approx(0.4), 2)


def test_what_parts_were_left_out_of_is_a_method_of_its_own(tmp_path: Path) -> None:
    result(tmp_path, "ccvd", 1, {"a": 0.8})
    result(tmp_path, "ccvd", 1, {"a": 0.4}, ablated=["tokens"])
    means = {name: method.scores["clip_t"].mean for name, method in _methods(tmp_path).items()}
    assert means == {"ccvd": 0.8, "ccvd without tokens": 0.4}


def test_a_prompt_is_compared_by_its_place_however_it_is_worded(tmp_path: Path) -> None:
    result(tmp_path, "m", 1, {"a": 0.8}, prompt="a <a> dog", seed=1)
    result(tmp_path, "other", 1, {"a": 0.8}, prompt="a sks dog", seed=1)
    result(tmp_path, "other", 1, {"a": 0.8}, prompt="a sks dog", seed=0)
    (shots,) = benchmark.side_by_side(results.read(tmp_path)[0])
    assert {name: (shot.prompt, shot.seed) for name, shot in shots.items()} == {
        "m": ("a <a> dog", 1),
        "other": ("a sks dog", 1),
    }


@pytest.mark.parametrize(
    "damaged",
    [
        *("no json", "[]", "null", "{}", '{"format": 2}', "[" * 100_000),
        '{"format": 1, "stream": "toy", "method": "m", "seed": 1e999, "task": {"order": 1}, "scores": {}}',
        '{"format": 1, "stream": "toy", "method": "m", "seed": 0, "task": {"order": 1}, "scores": 3}',
        '{"format": 1, "stream": "toy", "method": "m", "seed": 0, "task": 1, "scores": {}}',
        '{"format": 1, "stream": "toy", "method": "m", "seed": 0, "task": {"order": 1}, "scores": {}, "clips": [1]}',
    ],
)
def test_damaged_results_are_skipped_and_named(tmp_path: Path, damaged: str) -> None:
    good = result(tmp_path, "m", 1, {"a": 0.6})
    good.with_name("02-b.json").write_text(damaged)
    found, wrong = results.read(tmp_path)
    assert len(found) == 1
    assert len(wrong) == 1 and wrong[0].startswith("toy/m/seed0/02-b.json: ")
    good.unlink()
    with pytest.raises(UsageError, match="02-b"):
        results.read(tmp_path)


def test_a_copied_run_counts_once(tmp_path: Path) -> None:
    result(tmp_path, "m", 1, {"a": 0.6})
    shutil.copytree(tmp_path / "toy" / "m", tmp_path / "toy" / "m-copy")
    (found,), (wrong,) = results.read(tmp_path)
    assert found.scores == {"a": {"clip_t": 0.6}}
    assert wrong.startswith("toy/m-copy/seed0/01-a.json: another file is of the same method, seed and task")


def test_scores_that_are_no_numbers_say_nothing(tmp_path: Path) -> None:
    path = result(tmp_path, "m", 1, {"a": math.nan, "b": 0.5})
    found = json.loads(path.read_text())
    found["scores"]["c"] = {"clip_t": {"mean": None}, "clip_i": None, "dino_i": {"mean": 10**400}}
    path.write_text(json.dumps(found))
    assert results.read(tmp_path)[0][0].scores == {"a": {}, "b": {"clip_t": 0.5}, "c": {}}


def test_clips_elsewhere_are_not_shown(tmp_path: Path) -> None:
    outside = {"concept": "a", "prompt": "a dog", "seed": 0, "file": "../../../secret.gif"}
    result(tmp_path, "m", 1, {"a": 0.5}, clips=[outside])
    assert results.read(tmp_path)[0][0].shots == []


# --- pictures ----------------------------------------------------------------------------------------


def test_what_is_shown_again_is_embedded_once(tmp_path: Path) -> None:
    media = Media(10**6)
    part = media.part("it")
    first = part.clip(animated(tmp_path / "a.gif"))
    used = media.used
    assert first == part.clip(tmp_path / "a.gif") == part.clip(animated(tmp_path / "copy.gif"))
    assert (len(media.moving), media.used) == (1, used)


def test_a_part_takes_no_more_than_its_share_and_nothing_is_half_embedded(tmp_path: Path) -> None:
    clips = {str(i): animated(tmp_path / f"{i}.gif", i) for i in range(3)}
    size = Media(10**6)
    size.part("it").clip(clips["0"])
    media = Media(int(size.used * 4.4))
    assert media.part("it", 0.5).together(clips) == {}
    assert (media.used, set(media.left_out)) == (0, set(clips.values()))
    assert media.part("it").together(clips).keys() == clips.keys()
    assert not media.left_out


def test_a_damaged_clip_is_named_and_spares_the_others(tmp_path: Path) -> None:
    (tmp_path / "bad.gif").write_bytes(b"GIF89a, so it says")
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    names = ("bad.gif", "bad.mp4", "good.gif", "gone.gif")
    animated(tmp_path / "good.gif")
    media = Media(10**6)
    assert list(media.part("it").together({n: tmp_path / n for n in names})) == ["good.gif"]
    assert {path.name for path in media.unread} == {"bad.gif", "bad.mp4"}


def test_pictures_are_shown_as_learning_reads_them(tmp_path: Path) -> None:
    tall = Image.new("RGB", (64, 32), (250, 0, 0))
    tall.save(tmp_path / "phone.jpg", exif=_turned())
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    write_clip(torch.rand(5, 3, 32, 48), tmp_path / "film.mp4", 5)
    (tmp_path / "film.mp4").rename(tmp_path / "film.mov")
    media = Media(10**6)
    part = media.part("it")
    shown = {p.name: part.pictures(p, (0, 0.5, 1)) for p in sorted(tmp_path.iterdir())}
    assert [i for i, _ in shown["film.mov"]] == [0, 2, 4]
    assert {(s.width, s.height) for _, s in shown["film.mov"]} == {(48, 32)}
    ((_, upright),) = shown["phone.jpg"]
    assert (upright.width, upright.height) == (32, 64)
    ((_, clear),) = shown["clear.png"]
    uri, _ = media.stills[clear.key]
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        assert image.convert("L").getpixel((4, 4)) > 250  # transparent is white
    (tmp_path / "bad.mov").write_bytes(b"nothing")
    assert part.pictures(tmp_path / "bad.mov", (0,)) == [] and tmp_path / "bad.mov" in media.unread


def test_a_clip_of_one_frame_is_shown(tmp_path: Path) -> None:
    write_clip(torch.rand(1, 3, 32, 48), tmp_path / "one.mp4", 5)
    part = Media(10**6).part("it")
    assert part.clip(tmp_path / "one.mp4") and len(part.pictures(tmp_path / "one.mp4", (0, 0.5, 1))) == 1


def _turned() -> Image.Exif:
    """A phone held upright: the picture is stored lying down."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_a_file_that_cannot_be_read_spares_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(2):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"{i}.png")

    def broken(path: Path) -> str:
        if path.name == "0.png":
            raise OSError(5, "Input/output error")
        return "its"

    monkeypatch.setattr("ccvd_cli.measure.report.gather.sha256", broken)
    media = Media(10**6)
    assert len(sources([{"file": "1.png", "sha256": "its"}], tmp_path, media.part("it"))) == 1
    assert [path.name for path in media.unread] == ["0.png"]


def test_only_files_that_were_learned_from_are_shown(tmp_path: Path) -> None:
    for i in range(2):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"{i}.png")
    digest = hashlib.sha256((tmp_path / "1.png").read_bytes()).hexdigest()
    part = Media(10**6).part("it")
    assert len(sources([{"file": "renamed.png", "sha256": digest}], tmp_path, part)) == 1
    assert len(sources([{"file": "renamed.png", "sha256": digest}], tmp_path / "1.png", part)) == 1
    assert not sources([{"file": "renamed.png", "sha256": digest}], tmp_path / "0.png", part)


# --- lines -------------------------------------------------------------------------------------------


def test_curves_are_escaped_and_leave_out_what_is_not_finite() -> None:
    drawn = curves({HOSTILE: [(0, 1.0), (1, math.nan), (2, 1.0)]}, '"')
    assert "<script" not in drawn
    assert "nan" not in drawn
    assert drawn.count('class="dot"') == 2
    assert curves({"a": []}, "nothing") == ""
    for absurd in (1e17, -1e308):  # somebody else's results: no axis has ticks there
        assert curves({"a": [(1, absurd), (2, absurd)]}, "") == loss([absurd, absurd], "") == ""


def test_a_loss_counts_steps_and_is_smoothed() -> None:
    drawn = loss([1.0, 0.0] * 200 + ["?", math.nan], "Loss")
    assert "after 400 steps" in drawn
    smooth = drawn.split('class="line c0" points="')[1].split('"')[0].split()
    heights = [float(point.split(",")[1]) for point in smooth[len(smooth) // 2 :]]
    assert max(heights) - min(heights) < 15  # of about 100
    assert loss([0.5], "Loss") == ""


@given(st.lists(st.floats(0, 200), min_size=1, max_size=9))
def test_names_at_the_ends_of_lines_never_cover_each_other(wanted: list[float]) -> None:
    found = _apart(wanted, 12, 160)
    assert all(b - a >= 12.8 for a, b in pairwise(sorted(found)))  # rounded
    assert min(found) >= 11.9
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    assert [found[i] for i in order] == sorted(found)


@given(st.floats(-1, 1), st.floats(0, 5))
def test_axes_hold_what_is_drawn_on_few_round_numbers(low: float, span: float) -> None:
    ticks = _ticks(low, low + span)
    assert ticks[0] <= low + 1e-9 and ticks[-1] >= low + span - 1e-9
    assert 3 <= len(ticks) <= 7
