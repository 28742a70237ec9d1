"""From what was typed to one validated plan: dataset, preset, teacher and student, settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from gancomp.config import changed_on_resume, merge, read, read_toml, wrong_kinds
from gancomp.data.layout import locate, scan
from gancomp.data.registered import find_known
from gancomp.data.splits import DatasetFiles
from gancomp.domains.base import Domain
from gancomp.domains.choice import domain_of
from gancomp.domains.synthesis import settings as synthesis
from gancomp.engine.run import read_config, settings_in
from gancomp.errors import ConfigError
from gancomp.export.model import LoadedModel, open_model
from gancomp.inference.models import student_file, teacher_file
from gancomp.options import field_of
from gancomp.planning import own, published, shrinking, teachers
from gancomp.planning.checks import check, refuse_missing_plugins
from gancomp.planning.unused import refuse_unused
from gancomp.preset_parts import Preset
from gancomp.presets import find_preset
from gancomp.registry import METHODS, NETWORKS, is_code, resolve
from gancomp.settings import (
    DataSettings,
    Json,
    MethodSettings,
    NetworkSettings,
    Overrides,
    Settings,
)
from gancomp.shrink.base import searches
from gancomp.sizes import as_size


@dataclass(frozen=True)
class Plan:
    """A run about to start or to go on.

    Attributes:
        settings: all of it, checked.
        options: the method's own options, of its `Options` type.
        files: the dataset.
        out: the run's folder.
        resume: whether the folder holds the run's beginning.
        preset: where the settings come from.
        shrink: how the student was found, where that was asked for: `by`, `budget` and more.
        initial: weights that the student begins with, where its way to shrink gives any.
        search: the way to shrink that has to be trained first; None once that is over.
        is_stage: whether it is but a stage of another run, which `runs/latest` goes on naming.
    """

    settings: Settings
    options: Any
    files: DatasetFiles
    out: Path
    resume: bool
    preset: Json
    shrink: Json | None = None
    initial: Mapping[str, Tensor] | None = None
    search: shrinking.Way | None = None
    is_stage: bool = False


def make_plan(command: str, given: Overrides, say: Callable[[str], None]) -> Plan:
    """Resolves and checks everything that can be known before the first step.

    Raises:
        ConfigError: for impossible or contradictory settings, all of one kind at once.
        DataError: for a dataset that is missing or unfit.
        CheckpointError: for a teacher that cannot be read.
        RunError: if there is no run to resume.
    """
    typed = merge(_tables(given.config) if given.config else {}, given.settings)
    check_options(command, typed)
    if given.resume:
        return _resumed(command, given, typed, say)
    data = typed.get("data", {})
    if not data.get("dataset"):
        raise ConfigError(
            "`dataset`: is needed, a folder or a known name (gancomp data list). "
            "To try without data: gancomp demo"
        )
    shrinking.way_of(given)  # what it needs may be missing: better said before a download
    files = scan(
        locate(data["dataset"], say),
        task=data.get("task"),
        direction=data.get("direction", "AtoB"),
        strict=data.get("strict", False),
        say=say,
    )
    settings, preset = _resolve(command, given, typed, files)
    options = check(settings)
    refuse_unused(typed, settings, options)
    domain = domain_of(files.task)
    domain.refuse_unfit_files(settings, files)
    teachers.refuse_lone_generator(settings)
    for remark in (*domain.remarks(settings, files), *teachers.remarks(settings)):
        say(remark)
    shape = _shape(settings, given, say)
    settings = shape.settings
    for remark in own.remarks(settings):
        say(remark)
    ratio = given.ratio if given.ratio is not None else _ratio(settings)
    out = given.out or default_out(settings, files.name, ratio, shape.search)
    row = {"name": preset.name, "source": preset.source, "reported": preset.reported}
    if not _is_as_published(settings, preset, files):
        row["reported"] = None
    return Plan(
        settings,
        options,
        files,
        out,
        resume=False,
        preset=row,
        shrink=shape.shrink,
        initial=shape.initial,
        search=shape.search,
    )


@dataclass(frozen=True)
class _Shape:
    """The settings with the student's shape, or the way to search for it; see `Plan`."""

    settings: Settings
    shrink: Json | None = None
    initial: Mapping[str, Tensor] | None = None
    search: shrinking.Way | None = None


def _shape(settings: Settings, given: Overrides, say: Callable[[str], None]) -> _Shape:
    way = shrinking.way_of(given)
    if way is None:
        return _Shape(settings)
    shrinking.refuse_other_student(given, way)
    shrinking.refuse_other_task(way, settings.data.task)
    shrink: Json = {"by": way.name, "budget": way.text}
    if way.shrinker.from_settings:
        return _Shape(settings, shrink)
    shrink["options"] = given.shrink_options  # a resumed run is refused others
    if searches(way.shrinker):
        return _Shape(settings, shrink, search=way)
    open_teacher = shrinking.opener(settings)
    settings, shrunk = shrinking.shrink_checked(settings, way, open_teacher, say)
    check(settings)
    return _Shape(settings, shrink | shrunk.found, shrunk.weights)


def _is_as_published(settings: Settings, preset: Preset, files: DatasetFiles) -> bool:
    """Whether nothing was changed that the reported figure depends on."""
    limits = (settings.schedule.max_steps, settings.schedule.max_seconds)
    if preset.reported is None or limits != (None, None):
        return False
    plain = Overrides(arch=preset.arch)
    data = {"dataset": settings.data.dataset, "direction": preset.direction}
    typed: Json = {"data": data, "method": {"preset": preset.name}}
    as_published, _ = _resolve(settings.command, plain, typed, files)
    free = replace(settings, run=as_published.run)
    return not changed_on_resume(as_published, free)


def _tables(config: Path) -> Json:
    values = read_toml(config)
    if problems := wrong_kinds(Settings, values):
        raise ConfigError(f"`config` {config}: {'; '.join(problems)}")
    return values


def check_options(command: str, typed: Json) -> None:
    """Refuses options that would have no effect, rather than ignoring them."""
    teacher = typed.get("teacher", {})
    if command == "pretrain" and (teacher.get("freeze") or typed.get("student")):
        raise ConfigError(
            "`config`: pretrain trains the teacher alone; remove student and teacher.freeze"
        )
    if teacher.get("freeze") and not teacher.get("source"):
        raise ConfigError("`freeze_teacher`: needs `teacher` FILE, the teacher to keep as it is")


def _resolve(
    command: str, given: Overrides, typed: Json, files: DatasetFiles
) -> tuple[Settings, Preset]:
    typed_teacher = typed.get("teacher", {})
    teacher = _teacher_from(
        typed_teacher.get("source"), typed_teacher.get("network", {}), given, files
    )
    arch = given.arch or teacher.get("network", {}).get("arch")
    preset = find_preset(
        command,
        files.task,
        name=typed.get("method", {}).get("preset"),
        dataset=registered_name(files.name, typed["data"]["dataset"]),
        arch=arch or typed_teacher.get("network", {}).get("arch"),
        method=typed.get("method", {}).get("name"),
    )
    base: Json = {
        "command": command,
        "data": {"task": files.task},
        "teacher": {"network": {"arch": arch or preset.arch}},
        "student": None,
        "discriminator": {"arch": "patchgan"},
        "method": {"name": preset.method, "preset": preset.name},
    }
    for section in ("adversarial", "optimizer", "schedule", "perceptual", "selection", "run"):
        base[section] = {}
    width = typed_teacher.get("network", {}).get("width")
    shrinking.refuse_width(
        base["teacher"]["network"]["arch"], None if width is None else f"`width` {width}"
    )
    rows = published.for_network(preset, base["teacher"]["network"]["arch"])
    values = merge(merge(merge(base, rows), {"teacher": teacher}), typed)
    teachers.freeze_given(values, typed)
    domain = domain_of(files.task)
    values["data"] = _with_load_size(values["data"], domain)
    own.refuse_other_tasks(values["teacher"]["network"]["arch"], files.task)
    values = domain.complete(values, typed, files)
    values = own.complete_teacher(values, given, typed_teacher.get("network", {}))
    compares = resolve(METHODS, "", preset.method).has_features
    if not compares and not shrinking.compares_features(given.shrink):
        if "perceptual" in typed:
            by = f"`method` {preset.method}" if command == "distill" else command
            raise ConfigError(
                f"`perceptual`, `vgg`: {by} has no perceptual loss for {files.task} data; "
                "remove them"
            )
        values["perceptual"] = {"source": "none"}
    if command == "distill":
        network = read(NetworkSettings, values["teacher"]["network"], "teacher.network")
        values["teacher"]["network"], values["student"] = own.complete_student(
            values["teacher"]["network"],
            _student(network, given, typed, preset),
            given,
            read(DataSettings, values["data"], "data").size,
        )
    else:
        own.refuse_idle(given, [values["teacher"]["network"]["arch"]])
    return read(Settings, values), preset


def registered_name(*names: str) -> str:
    """The known dataset's name that a folder or an alias stands for, else the first of `names`."""
    known = [item.name for item in map(find_known, names) if item is not None]
    return known[0] if known else names[0]


def _teacher_from(source: str | None, typed: Json, given: Overrides, files: DatasetFiles) -> Json:
    """The teacher's network settings as the file says, which no option may contradict."""
    if source is None:
        return {}
    if given.arch is not None and not is_code(given.arch):
        raise ConfigError(
            f"`arch` {given.arch}: the architecture follows from `teacher` {source}; "
            "use `student_arch` for the student's"
        )
    path = teacher_file(source)
    model = open_model(path)
    _check_purpose(model, source, files, given.settings.get("data", {}))
    network = model.network
    settings = {key: value for key, value in network.settings().items() if value is not None}
    if given.width_argument is not None:
        typed = typed | {"width_argument": given.width_argument}
    for name, value in typed.items():
        # dropout has no weights: a teacher may go on with another rate
        if name != "dropout" and settings.get(name, value) != value:
            field = field_of(f"teacher.network.{name}")
            raise ConfigError(
                f"{field} {value}: `teacher` {source} has {settings[name]}; remove {field}"
            )
    return {"network": {"arch": network.arch, **settings}}


def _check_purpose(model: LoadedModel, source: str, files: DatasetFiles, data: Json) -> None:
    """Refuses a teacher that its file says was trained for another task or direction."""
    wanted = {"task": files.task, "direction": data.get("direction", "AtoB")}
    for name, value in wanted.items():
        found = model.header.get(name)
        if found is not None and found != value:
            raise ConfigError(
                f"`teacher` {source}: was trained for {name} {found}, this run is {value}; "
                f"give another teacher, or `{name}` {found} with data that fits"
            )


def _with_load_size(data: Json, domain: Domain) -> Json:
    size = data.get("size")
    lengths: Any = size if isinstance(size, list | tuple) else [size]
    if not all(isinstance(length, int) and 8 <= length <= 4096 for length in lengths):
        return data  # refused with whatever else is out of the question
    size = as_size(lengths[0], lengths[-1])
    return {"load_size": domain.load_size(size, data["task"])} | data


def _student(teacher: NetworkSettings, given: Overrides, typed: Json, preset: Preset) -> Json:
    """The student's settings: the preset's kind of network, narrowed from the teacher's."""
    way = shrinking.way_of(given)
    shrinking.refuse_two_widths(given, way, typed.get("student") or {})
    if source := typed.get("stages", {}).get("student_source"):
        return _student_from(source, given, typed.get("student") or {})
    if way is not None and way.prunes and given.student_arch in (None, teacher.arch):
        return merge({"arch": teacher.arch, **teacher.arguments()}, typed.get("student") or {})
    arch = given.student_arch or _student_arch(teacher.arch, given, preset)
    resolve(NETWORKS, "arch" if given.student_arch is None else "student_arch", arch)
    width = given.student_width
    by_width = None if width is None else f"`student_width` {width}"
    shrinking.refuse_width(arch, way.asked if way else None, by_width)
    shape = published.shape(arch, teacher, given, preset) if way is None else {}
    if way is None or not way.shrinker.from_settings:
        way = shrinking.ratio_way(preset.ratio)
    shrunk = shrinking.shrunk_at_once(teacher, arch, way, typed.get("data", {}).get("size"))
    student: Json = shrunk.arguments() | {"arch": shrunk.arch} | shape
    student = published.with_dropout(student, typed, preset)
    if given.student_width is not None:
        student["width"] = given.student_width
    if given.narrow_const is not None:
        student = synthesis.with_constant(teacher, student, narrow=given.narrow_const)
    return merge(student, typed.get("student") or {})


def _student_from(source: str, given: Overrides, typed: Json) -> Json:
    """The student's network settings as the file of `--student` says."""
    for name in ("ratio", "shrink", "student_width", "student_arch", "narrow_const"):
        if (value := getattr(given, name)) is not None:
            raise ConfigError(f"`{name}` {value}: the network follows from `student` {source}")
    network = open_model(student_file(source)).network
    if typed:
        raise ConfigError(f"`student_blocks`: the network follows from `student` {source}")
    settings = {key: value for key, value in network.settings().items() if value is not None}
    return {"arch": network.arch, **settings}


def _student_arch(teacher_arch: str, given: Overrides, preset: Preset) -> str:
    own = given.arch in (None, preset.arch) and teacher_arch == preset.arch
    if own and "arch" in preset.student:
        name: str = preset.student["arch"]
        return name
    # a full ResNet teacher has the same taps as the mobile one, which is the student of the tables
    if given.arch is None and preset.arch == f"mobile-{teacher_arch}":
        return preset.arch
    return teacher_arch


def _ratio(settings: Settings) -> float | None:
    if settings.student is None:
        return None
    return settings.student.width / settings.teacher.network.width


def default_out(
    settings: Settings, dataset: str, ratio: float | None, search: shrinking.Way | None = None
) -> Path:
    """`runs/DATASET-METHOD-rRATIO-sSEED`; a teacher alone is `runs/DATASET-pretrain-sSEED`.

    A search's name and budget stand for the ratio, as the student is not known yet.
    """
    if ratio is None:
        return Path("runs") / f"{dataset}-pretrain-s{settings.run.seed}"
    method: MethodSettings = settings.method
    name = method.preset if method.preset.startswith(method.name) else method.name
    name = "+".join((name, *method.also))
    size = f"r{ratio:g}" if search is None else f"{search.name}-{search.text}"
    return Path("runs") / f"{dataset}-{name}-{size}-s{settings.run.seed}"


def _resumed(command: str, given: Overrides, typed: Json, say: Callable[[str], None]) -> Plan:
    out = given.out or _guess_out(command, given, typed, say)
    config = read_config(out, way_out="check the path, or remove `resume=True` to start one")
    saved = _as_it_was(settings_in(config))
    origins, search = config.find("plugins", list) or [], shrinking.unfinished(config)
    refuse_missing_plugins(saved, origins, out, search=search)
    if typed.get("run", {}).get("precision") == "auto":  # the trial was made at the start
        typed = merge(typed, {"run": {"precision": saved.run.precision}})
    own.stand_for_recorded(saved, given)
    if saved.command != command:
        raise ConfigError(f"`resume`: {out} is a run of gancomp {saved.command}, not {command}")
    for name in ("arch", "student_arch", "student_width", "ratio", "narrow_const", *own.OPTIONS):
        if getattr(given, name) is not None and not _agrees(saved, name, getattr(given, name)):
            raise ConfigError(
                f"`{name}` {getattr(given, name)}: the run in {out} was started "
                "with another; remove it, or choose another `out`"
            )
    shrinking.refuse_other_budget(given, config, out)
    # the dataset may have moved: its fingerprint, not its path, must be the same
    moved = (typed.get("data") or {}).get("dataset")
    # a time limit is a sitting's, and does not pass on to the next one
    base = merge(saved.to_json(), {"schedule": {"max_seconds": None}})
    wanted = read(Settings, merge(base, _without_dataset(typed)))
    changed = changed_on_resume(saved, wanted)
    if changed:
        raise ConfigError(
            f"`resume`: would change {'; '.join(changed)}; remove these options, "
            "or choose another `out` for a new run"
        )
    options = check(wanted)
    refuse_unused(typed, wanted, options)
    data = wanted.data
    kept = Path(config.get("dataset.root", str))
    root = kept if moved is None and kept.is_dir() else locate(moved or data.dataset, say)
    files = scan(root, task=data.task, direction=data.direction, strict=data.strict, say=say)
    if files.fingerprint() != config.get("dataset.fingerprint", dict):
        raise ConfigError(
            f"`resume`: the files in {root} are not those that the run was started with; "
            "restore them, or choose another `out` for a new run"
        )
    preset, initial = config.get("preset", dict), shrinking.load_initial(out)
    return Plan(
        wanted,
        options,
        files,
        out,
        resume=True,
        preset=preset,
        shrink=config.find("shrink", dict),
        initial=initial,
        search=shrinking.search_to_go_on(config),
    )


def _as_it_was(saved: Settings) -> Settings:
    """The settings of a run; `auto` is of a time when it was another word for fp32."""
    if saved.run.precision != "auto":
        return saved
    return replace(saved, run=replace(saved.run, precision="fp32"))


def _without_dataset(typed: Json) -> Json:
    data = {key: value for key, value in (typed.get("data") or {}).items() if key != "dataset"}
    return typed | {"data": data}


def _agrees(saved: Settings, name: str, value: Any) -> bool:
    if name == "arch":
        return own.is_same(saved.teacher.network.arch, value)
    if name in ("taps", "width_argument"):
        return bool(getattr(saved.teacher.network, name) == value)
    if saved.student is None:
        return False
    if name == "student_arch":
        return own.is_same(saved.student.arch, value)
    if name == "narrow_const":
        return value is (saved.student.const_channels != saved.teacher.network.const_channels)
    if name == "ratio":
        return bool(max(1, round(saved.teacher.network.width * value)) == saved.student.width)
    return bool(getattr(saved.student, name.removeprefix("student_")) == value)


def _guess_out(command: str, given: Overrides, typed: Json, say: Callable[[str], None]) -> Path:
    if not (typed.get("data") or {}).get("dataset"):
        raise ConfigError(
            "`resume`: give the run's folder with `out` (or the options it was started with)"
        )
    way = shrinking.way_of(given)
    if way is not None and not way.shrinker.from_settings:
        field = way.asked.split()[0]
        raise ConfigError(
            f"`resume=True` with {field}: give the run's folder with `out`; its default name "
            "holds the width, which would have to be sought again"
        )
    fresh = Overrides(**{**given.__dict__, "resume": False})
    return make_plan(command, fresh, say).out
