"""What a preset says of its networks, beside what is typed and with networks of another kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import write_model

from gancomp.data.demo_set import write_demo_set
from gancomp.planning.plan import make_plan
from gancomp.settings import Json, Overrides

WITH_DROPOUT = ("gcc", "dmad", "wavelet-kd")  # in the U-Nets of their released code


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets") / "pairs"
    write_demo_set(root, size=32, train=2, test=1, paired=True)
    return root


def rates(pairs: Path, method: str, typed: Json | None = None, **given: Any) -> tuple[Any, Any]:
    """The dropout of teacher and student."""
    settings = {"data": {"dataset": str(pairs)}, "method": {"name": method}, **(typed or {})}
    found = make_plan("distill", Overrides(settings=settings, **given), str).settings
    assert found.student is not None
    return found.teacher.network.dropout, found.student.dropout


@pytest.mark.parametrize("width", [None, 4])
@pytest.mark.parametrize("method", WITH_DROPOUT)
def test_a_typed_rate_is_the_students_too(method: str, width: int | None, pairs: Path) -> None:
    assert rates(pairs, method, student_width=width) == (0.5, 0.5)
    for rate in (0.0, 0.2):
        typed: Json = {"teacher": {"network": {"dropout": rate}}}
        assert rates(pairs, method, typed, student_width=width) == (rate, rate)


@pytest.mark.parametrize("given", [{}, {"student_width": 4}, {"ratio": 0.5}])
def test_a_students_own_rate_wins(given: Json, pairs: Path) -> None:
    typed: Json = {"teacher": {"network": {"dropout": 0.2}}, "student": {"dropout": 0.1}}
    assert rates(pairs, "gcc", typed, **given) == (0.2, 0.1)
    assert rates(pairs, "gcc", {"student": {"dropout": 0.0}}, **given) == (0.5, 0.0)


@pytest.mark.parametrize(
    ("method", "arch"),
    [(method, "resnet9") for method in WITH_DROPOUT]
    + [("gcc", "mobile-resnet9"), ("wavelet-kd", "mobile-resnet9"), ("dmad", "mobile-resnet9")],
)
def test_a_u_nets_rate_is_no_resnets(method: str, arch: str, pairs: Path) -> None:
    assert rates(pairs, method, arch=arch) == (None, None)
    assert rates(pairs, method, student_arch=arch) == (0.5, None)


def test_a_rate_typed_for_a_u_net_is_its_resnet_students_too(pairs: Path) -> None:
    typed: Json = {"teacher": {"network": {"dropout": 0.2}}}
    assert rates(pairs, "dmad", typed, student_arch="mobile-resnet9") == (0.2, 0.2)
    assert rates(pairs, "gcc", typed, arch="resnet9") == (0.2, 0.2)


def test_another_u_net_has_the_rate(pairs: Path) -> None:
    typed: Json = {"data": {"dataset": str(pairs), "size": 128}}
    assert rates(pairs, "gcc", typed, arch="unet128") == (0.5, 0.5)


@pytest.mark.parametrize("given", [{}, {"student_width": 4}, {"ratio": 0.5}])
def test_a_teacher_trained_without_keeps_its_rate_and_the_student_has_the_presets(
    given: Json, pairs: Path, tmp_path: Path
) -> None:
    teacher = write_model(tmp_path / "teacher.safetensors", arch="unet256", width=8, task="paired")
    typed: Json = {"teacher": {"source": str(teacher)}}
    assert rates(pairs, "gcc", typed, **given) == (0.0, 0.5)
