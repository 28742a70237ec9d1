"""Scores of all commands in one form, and what may be compared with what."""

from __future__ import annotations

from gancomp.report.scores import Score, front, main_metric, scores_in, shown, title_of

FID = {
    "fid": 60.5,
    "n_real": 140,
    "n_fake": 120,
    "real": ["testB"],
    "fake": "runs/a/student.safetensors",
    "weights": "w",
    "protocol": {"features": "pool3", "step": 7, "device": "cpu"},
}


def test_scores_of_all_commands_are_read() -> None:
    several = {"metrics": {"kid": {"value": 0.01, "low": 0.008, "high": 0.02}, "recall": 0.5}}
    enlarged = {
        "model": "x/student.safetensors",
        "dataset": "Set5",
        "protocol": {"num_images": 5},
        "mean": {"psnr_y": 28.5, "ssim_y": None},
        "bicubic": {"psnr_y": 28.0},
    }
    kept = [FID, {key: FID[key] for key in FID if key != "fid"} | several, enlarged, {"x": 1}]
    found = scores_in(kept)
    assert [(score.model, score.metric, score.value) for score in found] == [
        ("student", "fid", 60.5),
        ("student", "kid", 0.01),
        ("student", "recall", 0.5),
        ("student", "psnr_y", 28.5),
        ("bicubic", "psnr_y", 28.0),
    ]
    assert (found[0].step, found[0].count) == (7, 120)
    assert shown(found[1]) == "0.0100 (0.0080 to 0.0200)"
    assert (found[3].count, found[3].protocol) == (5, found[4].protocol)
    assert title_of("psnr_y") == "PSNR (Y)"


def test_scores_by_one_protocol_replace_each_other_whatever_step_and_device() -> None:
    rules = FID["protocol"]
    assert isinstance(rules, dict)
    later = FID | {"fid": 50.0, "protocol": rules | {"step": 9, "device": "cuda"}}
    fewer = FID | {"fid": 70.0, "n_fake": 60}
    assert [score.value for score in scores_in([FID, fewer, later])] == [70.0, 50.0]


def test_values_that_are_no_numbers_are_left_out() -> None:
    assert scores_in([{"fid": float("nan")}, {"fid": True}, {"metrics": {"fid": None}}]) == []


def test_the_front_is_what_no_other_beats_in_both() -> None:
    points = [(3.0, 10.0), (1.0, 30.0), (2.0, 40.0), (2.5, 10.0), (4.0, 9.0)]
    assert front(points, higher=False) == [(1.0, 30.0), (2.5, 10.0), (4.0, 9.0)]
    assert front(points, higher=True) == [(1.0, 30.0), (2.0, 40.0)]


def test_fid_is_plotted_first_and_more_is_better_where_it_is() -> None:
    scores = [Score("student", "recall", 0.5), Score("student", "fid", 60.0)]
    assert main_metric(scores) == "fid"
    assert [score.higher_is_better for score in scores] == [True, False]
    assert main_metric([]) is None
