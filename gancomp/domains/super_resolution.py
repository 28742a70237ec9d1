"""Super-resolution: photographs and their small versions.

What is trained before the run itself:

| stage | what | left out |
|---|---|---|
| 0a | the teacher as SRResNet, in pixels | with `--teacher` |
| 0b | the student as SRResNet, in pixels | with `--student`, and by `pretrain` |
| 1 | the teacher as SRGAN; 1', for g2g-al, by its content loss alone | with `--teacher` |
"""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gancomp.config import merge
from gancomp.data.splits import DatasetFiles, Split
from gancomp.data.super_resolution import evaluation_crops
from gancomp.domains.base import ENLARGES, NUM_SAMPLES, Domain
from gancomp.domains.stage import FOLDER, Stage
from gancomp.domains.super_resolution_pairs import super_resolution_pairs
from gancomp.engine.checkpoint import load_newest
from gancomp.engine.fit import load_networks
from gancomp.errors import CheckpointError, ConfigError, DataError
from gancomp.export.model import open_model
from gancomp.inference.models import Chosen
from gancomp.launch import unheard
from gancomp.losses.perceptual import PERCEPTUAL_SOURCES, content_tap
from gancomp.methods.base import Method
from gancomp.paths import expanded
from gancomp.registry import METHODS, resolve
from gancomp.scoring.request import Contest, FidRequest, Say
from gancomp.settings import Json, MethodSettings, PerceptualSettings, Settings, StageSettings
from gancomp.sizes import square_side


class SuperResolution(Domain):
    """Photographs, from which crops and their small versions are made."""

    purpose = ENLARGES
    pairs = staticmethod(super_resolution_pairs)

    def complete(self, values: Json, typed: Json, files: DatasetFiles) -> Json:
        """`values` with what follows: the discriminator's crop, the content loss's tap, lengths.

        `--max-steps` bounds the stages whose length was not typed, too.
        """
        most = (typed.get("schedule") or {}).get("max_steps")
        if isinstance(most, int) and most > 0:
            lengths = asdict(StageSettings()) | (values.get("stages") or {})
            bounded = {
                name: min(length, most)
                for name, length in lengths.items()
                if name.endswith("_steps") and name not in (typed.get("stages") or {})
            }
            values = merge(values, {"stages": bounded})
        values = merge({"discriminator": {"crop": values["data"].get("size")}}, values)
        source = values["perceptual"].get("source")
        if source in PERCEPTUAL_SOURCES and source != "none":
            values = merge({"method": {"options": {"content_tap": content_tap(source)}}}, values)
        return values

    def problems(self, settings: Settings) -> list[str]:
        """What does not go together in a run of super-resolution."""
        teacher, student, problems = settings.teacher.network, settings.student, []
        if student is not None and student.scale != teacher.scale:
            problems.append(
                f"`student`: enlarges {student.scale} times, the teacher {teacher.scale} times; "
                "choose two of one `scale`"
            )
        source = settings.teacher.source
        wanted = settings.method.options.get("discriminator_from_teacher")
        if wanted and source is not None and not expanded(source).is_dir():
            problems.append(
                f"`discriminator_from_teacher`: `teacher` {source} is a generator alone; give the "
                "run that trained it as SRGAN"
            )
        if settings.selection.select != "last":
            problems.append(
                f"`select` {settings.selection.select}: scores by FID, which super-resolution is "
                "not judged by; remove it, and see gancomp eval-sr"
            )
        return problems

    def refuse_unfit_files(self, settings: Settings, files: DatasetFiles) -> None:
        """Reads until there is one image that crops can be cut from."""
        scale = settings.teacher.network.scale
        if scale is not None:
            size = square_side(settings.data.size, "super-resolution")
            evaluation_crops(files.train, size=size, scale=scale, count=1, say=unheard)

    def stages(self, settings: Settings, options: Any) -> list[Stage]:
        """The stages before a run with these settings, in their order."""
        if getattr(options, "objective", None) == "pixel":  # it is a stage itself
            return []
        lengths, stages = settings.stages, []
        method = resolve(METHODS, "method", settings.method.name)
        objective = getattr(method, "teacher_objective", None)
        needs_teacher = settings.teacher.source is None and (
            objective is not None or settings.command == "pretrain"
        )
        if needs_teacher:
            steps = lengths.teacher_srresnet_steps
            stages.append(Stage("0a-teacher-srresnet", "teacher", "pixel", steps))
        if settings.student is not None and lengths.student_source is None:
            steps = lengths.student_srresnet_steps
            stages.append(Stage("0b-student-srresnet", "student", "pixel", steps))
        if needs_teacher and objective == "gan":
            stages.append(Stage("1-teacher-srgan", "teacher", "gan", lengths.teacher_gan_steps))
        if needs_teacher and objective == "content":
            steps = lengths.teacher_content_steps
            stages.append(Stage("1-teacher-content", "teacher", "content", steps))
        return stages

    def stage_settings(self, stage: Stage, whole: Settings, made: dict[str, Path]) -> Settings:
        """The settings of a stage of super-resolution, except for its length."""
        of_teacher = stage.role == "teacher"
        name = "srgan" if of_teacher else "no-kd"
        known = {item.name for item in fields(resolve(METHODS, "method", name).Options)}
        values: Json = {key: value for key, value in whole.method.options.items() if key in known}
        values["objective"] = stage.objective
        in_pixels = stage.objective == "pixel"
        source = made.get("teacher") if of_teacher else None
        rate = whole.stages.srresnet_lr if in_pixels else whole.optimizer.lr
        return replace(
            whole,
            command="pretrain" if of_teacher else "distill",
            student=None if of_teacher else whole.student,
            teacher=replace(whole.teacher, source=str(source) if source else None, freeze=False),
            method=MethodSettings(name, whole.method.preset, values),
            optimizer=replace(whole.optimizer, lr=rate),
            perceptual=PerceptualSettings("none") if in_pixels else whole.perceptual,
        )

    def hand_on(
        self, settings: Settings, method: Method, made: dict[str, Path], *, out: Path
    ) -> None:
        """The generators and, if that was asked for, the teacher's discriminator."""
        for role, file in made.items():
            method.generators()[role].load_state_dict(open_model(file).network.state_dict())
        if settings.method.options.get("discriminator_from_teacher"):
            bring_discriminator(settings.teacher.source, out, method)

    def reader_options(self, settings: Settings) -> Json:
        """By how much the photographs are made smaller."""
        return {"scale": settings.teacher.network.scale}

    def samples(self, settings: Settings, files: DatasetFiles) -> list[Tensor]:
        """Small images and the photographs that they come from."""
        size = square_side(settings.data.size, "super-resolution")
        scale = settings.teacher.network.scale or 1
        split = files.test or files.train
        return enlarged_samples(split, files.train, size=size, scale=scale)

    def contest(
        self, request: FidRequest, chosen: Chosen, say: Say, *, device: torch.device
    ) -> Contest:
        """Refuses: such models are compared with the originals themselves."""
        raise ConfigError(
            f"{chosen.model.path}: enlarges images; gancomp eval-sr scores it, against originals"
        )


def bring_discriminator(given: str | None, out: Path, method: Method) -> None:
    """Lets every discriminator of `method` begin as the teacher's own.

    Raises:
        CheckpointError: if the teacher has none, or one of another size.
    """
    run = expanded(given) if given else out / FOLDER / "1-teacher-srgan"
    checkpoint = load_newest(run / "checkpoints", unheard) if run.is_dir() else None
    state = checkpoint.state["networks"].get("discriminator") if checkpoint else None
    if state is None:
        raise CheckpointError(
            f"`discriminator_from_teacher`: `teacher` {given} has no discriminator; give the run "
            "that trained it as SRGAN, or remove the option"
        )
    judges = {name: net for name, net in method.networks().items() if "discriminator" in name}
    try:
        load_networks(judges, dict.fromkeys(judges, state))
    except RuntimeError as error:
        raise CheckpointError(
            f"`discriminator_from_teacher`: that of {run} does not fit "
            f"({str(error).splitlines()[0]}); give the same `d_width` and `size`"
        ) from error


def enlarged_samples(split: Split, other: Split, *, size: int, scale: int) -> list[Tensor]:
    """Sources and photographs out of `split`, or of `other` if its images are all too small."""
    crops = partial(evaluation_crops, size=size, scale=scale, count=NUM_SAMPLES, say=unheard)
    try:
        pairs = crops(split)
    except DataError:
        pairs = crops(other)
    return [pairs["source"], pairs["target"]]
