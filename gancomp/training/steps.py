"""The steps that pretrain and distill share; each function is one of them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import gancomp
from gancomp.config import with_todays_names
from gancomp.data.cache import is_kept, num_bytes
from gancomp.data.indexed import Reader, kind_of
from gancomp.data.loader import IndexedDataset, batches, steps_per_epoch
from gancomp.domains.choice import domain_of
from gancomp.engine.checkpoint import Checkpoint, list_checkpoints, load_checkpoint, load_newest
from gancomp.engine.fit import Loop, Outcome, Periodic, View
from gancomp.engine.logging import tensorboard_logger
from gancomp.engine.run import RunFolder, name_latest, read_config
from gancomp.errors import ConfigError
from gancomp.export.model import open_model
from gancomp.export.native import save_model
from gancomp.inference import pixels
from gancomp.inference.models import student_file, teacher_file
from gancomp.launch import job_id
from gancomp.losses.perceptual import PerceptualFeatures, load_perceptual
from gancomp.methods.also import join
from gancomp.methods.base import Components, Method
from gancomp.networks.base import TappedNetwork
from gancomp.paths import expanded
from gancomp.planning import shrinking
from gancomp.planning.plan import Plan
from gancomp.ranks import current
from gancomp.registry import FROM_FILE, METHODS, ORIGINS, PLUGIN_FILES, READERS, TASKS, resolve
from gancomp.settings import Json, Settings
from gancomp.sizes import sides
from gancomp.tasks.base import Task, new_network
from gancomp.training import aside
from gancomp.training.selection import Selection, divide


@dataclass(frozen=True)
class Result:
    """What a training command reports: the run, how far it came, and the generators it wrote."""

    run: Path
    outcome: Outcome
    teacher: Path | None
    student: Path | None
    grid: Path | None

    def generators(self) -> list[Path]:
        """The generator files, the teacher's first."""
        return [path for path in (self.teacher, self.student) if path is not None]

    def to_json(self) -> Json:
        """The shape that `distill --json` and `pretrain --json` keep."""
        main = {path.stem: str(path) for path in self.generators()}
        return {
            "run": str(self.run),
            "step": self.outcome.step,
            "seconds": round(self.outcome.seconds, 3),
            "images_per_second": round(self.outcome.images_per_second, 4),
            "data_wait": round(self.outcome.data_wait, 4),
            **main,
            "losses": self.outcome.losses,
            "samples": str(self.grid) if self.grid else None,
        }


def describe_preset(plan: Plan) -> str:
    """Where the settings come from, and what was reported with them."""
    text = f"preset {plan.preset['name']}: {plan.preset['source']}"
    if plan.preset["reported"]:
        text += f"; reported there (not ours): {plan.preset['reported']}"
    return text


def load_feature_network(plan: Plan, view: View) -> PerceptualFeatures | None:
    """The frozen network of the perceptual losses, if the method's options need one."""
    method = resolve(METHODS, "method", plan.settings.method.name)
    return open_features(plan.settings, view, method.perceptual_taps(plan.options))


def open_features(settings: Settings, view: View, taps: Sequence[str]) -> PerceptualFeatures | None:
    """The frozen network that a run's perceptual losses look through, if there are any taps."""
    if not taps:
        return None
    chosen = settings.perceptual
    file = expanded(chosen.file) if chosen.file else None
    return load_perceptual(chosen.source, file, taps=taps, normalize=chosen.normalize, say=view.say)


def goes_on(plan: Plan) -> bool:
    """Whether a checkpoint brings all weights: a run killed before its first one begins anew."""
    return plan.resume and bool(list_checkpoints(plan.out / "checkpoints"))


def make_teacher(settings: Settings, *, resume: bool) -> TappedNetwork:
    """The teacher generator: fresh, or with the weights of `--teacher`.

    A run resumed from a checkpoint has its weights there: the file it started from may be gone.
    """
    teacher = new_network(settings.teacher.network, settings.run.seed, "generator")
    if settings.teacher.source is not None and not resume:
        given = open_model(teacher_file(settings.teacher.source)).network
        teacher.load_state_dict(given.state_dict())
    return teacher


def make_task(settings: Settings, teacher: TappedNetwork, *, resume: bool) -> Task:
    """The adversarial objective around the teacher.

    Started from a run, the teacher brings its discriminators (and backward generator) along;
    started from a file, they begin anew.
    """
    method = resolve(METHODS, "method", settings.method.name)
    task: Task = resolve(TASKS, "task", settings.data.task)(
        teacher,
        settings.discriminator,
        adversarial=settings.adversarial,
        seed=settings.run.seed,
        frozen=settings.teacher.freeze,
        **({"whole": True} if settings.data.task in method.whole_teacher else {}),
    )
    source = expanded(settings.teacher.source) if settings.teacher.source else None
    if source is None or resume:
        return task
    domain_of(settings.data.task).bring_companions(task, source)
    return task


def make_student(
    settings: Settings, *, resume: bool, initial: Mapping[str, Tensor] | None = None
) -> TappedNetwork | None:
    """The student, if there is one: fresh, or with weights of `--student` or its shrinker's."""
    if settings.student is None:
        return None
    student = new_network(settings.student, settings.run.seed, "student")
    if initial is not None and not resume:
        shrinking.fill(student, initial)
    if settings.stages.student_source is not None and not resume:
        given = open_model(student_file(settings.stages.student_source)).network
        student.load_state_dict(given.state_dict())
    return student


def make_method(
    plan: Plan, task: Task, student: TappedNetwork | None, perceptual: PerceptualFeatures | None
) -> Method:
    """The method with its connectors, optimizers and phases, checked against the image size."""
    settings = plan.settings
    components = Components(
        task=task,
        student=student,
        perceptual=perceptual,
        optimizer=settings.optimizer,
        seed=settings.run.seed,
    )
    method: Method = resolve(METHODS, "method", settings.method.name)(components, plan.options)
    join(method, components, settings)
    method.check_size(settings.data.size)
    return method


def describe_run(plan: Plan, perceptual: PerceptualFeatures | None) -> Json:
    """The content of `config.json`: settings, data, weights and versions."""
    return {
        "settings": plan.settings.to_json(),
        "preset": plan.preset,
        "seed": plan.settings.run.seed,
        "shrink": plan.shrink,
        "dataset": {
            "name": plan.files.name,
            "root": str(plan.files.root.resolve()),
            "fingerprint": plan.files.fingerprint(),
        },
        "perceptual": perceptual.describe if perceptual else {"source": "none"},
        "plugins": plugins_of(plan),
        **({"torchrun": job} if (job := job_id()) is not None else {}),
        "versions": {
            "gancomp": gancomp.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def plugins_of(plan: Plan) -> list[str]:
    """The plug-ins that a run's method, networks and way to shrink come from.

    Files with their whole paths: a command that trains the run again names them.
    """
    settings = plan.settings
    methods = (settings.method.name, *settings.method.also)
    lines = [("methods", name) for name in methods]
    lines.append(("networks", settings.teacher.network.arch))
    if settings.student is not None:
        lines.append(("networks", settings.student.arch))
    if plan.shrink is not None:
        lines.append(("shrinkers", plan.shrink["by"]))
    files = {line: f"{FROM_FILE}{path}" for line, path in PLUGIN_FILES.items()}
    return list(dict.fromkeys((ORIGINS | files)[line] for line in lines if line in ORIGINS))


def begin_or_continue(plan: Plan, run: RunFolder, config: Json, view: View) -> Checkpoint | None:
    """Writes a new run's settings, or finds where an older one stopped.

    Raises:
        ConfigError: if the perceptual weights are not those that the run was started with.
        CheckpointError: if there are checkpoints but none is whole.
    """
    ranks = current()
    if not ranks.leads:
        path = ranks.from_lead(lambda: None)
        return None if path is None else load_checkpoint(path)
    found = _begin_or_continue(plan, run, config, view)
    ranks.from_lead(lambda: None if found is None else found.path)
    return found


def _begin_or_continue(plan: Plan, run: RunFolder, config: Json, view: View) -> Checkpoint | None:
    if not plan.is_stage and (warning := name_latest(run.path)):
        view.say(warning)
    if not plan.resume:
        if plan.initial is not None:
            shrinking.save_initial(run.path, plan.initial)
        run.write_config(config)
        return None
    saved = read_config(run.path)
    weights = with_todays_names(saved.get("perceptual", dict), "perceptual")
    if weights | {"file": None} != config["perceptual"] | {"file": None}:  # the checksum counts
        raise ConfigError(
            "`resume`: the run was started with other perceptual weights "
            f"({weights.get('file', weights.get('source'))}); give the same `vgg`"
        )
    # a new length holds from now on
    known = ("settings", "speed", "shrink")  # a search may have ended since
    fresh = {name: config[name] for name in known if config.get(name) is not None}
    run.write_config(saved.values | fresh)
    return load_newest(run.checkpoints, view.say)


def parts_of_step(plan: Plan) -> int:
    """How many equal parts of a step's images are gone through one after the other."""
    accumulation: int = getattr(plan.options, "accumulation", 1)
    return accumulation * images_per_step(plan) // plan.settings.data.batch_size


def images_per_step(plan: Plan) -> int:
    """How many images of the dataset a step looks at."""
    turns: int = getattr(plan.options, "d_steps", 1)  # of a discriminator, each with its own
    return turns * plan.settings.data.batch_size


def make_reader(plan: Plan, view: View, *, set_aside: bool = False) -> IndexedDataset:
    """What reads the training images, with room in memory to decode each but once, if there is any.

    Args:
        plan: of the run.
        view: is told of the cache.
        set_aside: read what one phase of the method has for itself, not what the others have.

    Raises:
        ConfigError: if `--cache on` does not fit.
        DataError: if the images are not of the task's kind.
    """
    data, train = plan.settings.data, divide(plan.files, plan.settings).training.train
    if share := aside.share_of(plan.options):
        paired, seed = plan.files.paired, plan.settings.run.seed
        option = aside.option_of(plan.options)
        train = aside.part(train, share, paired=paired, seed=seed, option=option)[set_aside]
    kind = resolve(READERS, "task", data.task)
    own = domain_of(data.task).reader_options(plan.settings)
    if issubclass(kind, Reader):
        num_images = kind.num_slots(train)
        formats = pixels.formats_of(data)
        counts = len(train.source), len(train.target)
        needed = (
            None
            if formats == (None, None)
            else sum(
                num_bytes(count, data.load_size, kind_of(item))
                for count, item in zip(counts, formats, strict=True)
            )
        )
        own["cached"] = is_kept(data.cache, num_images, data.load_size, say=view.say, needed=needed)
    reader: IndexedDataset = kind(
        train,
        size=data.size,
        load_size=data.load_size,
        seed=plan.settings.run.seed,
        flip=data.flip,
        strict=data.strict,
        **own,
    )
    return reader


def make_loop(
    plan: Plan,
    method: Method,
    reader: IndexedDataset,
    run: RunFolder,
    view: View,
    *,
    device: torch.device,
    selection: Selection | None,
) -> Loop:
    """Everything `engine.fit` works with: data from any step on, samples, scores, loggers."""
    settings, files = plan.settings, divide(plan.files, plan.settings).training
    sample = domain_of(settings.data.task).sampler(settings, files, method, run, device=device)
    periodic = [Periodic(settings.run.sample_every, sample)]
    if selection is not None:
        periodic.append(Periodic(settings.selection.every, selection.score))

    ranks = current()
    return Loop(
        method=method,
        run=run,
        settings=settings.run,
        schedule=settings.schedule,
        device=device,
        steps_per_epoch=steps_per_epoch(reader, images_per_step(plan)),
        batches=batches_from(plan, reader, view, device),
        periodic=periodic,
        saved=partial(save_generators, plan, method, run),
        view=view,
        loggers=[tensorboard_logger(run.path)] if settings.run.tensorboard and ranks.leads else [],
    )


def batches_from(
    plan: Plan, reader: IndexedDataset, view: View, device: torch.device
) -> Callable[[int], aside.Batches]:
    """What gives a run's batches from a step on, with what is set aside for a phase beside them."""
    settings = plan.settings
    set_aside = (
        make_reader(plan, view, set_aside=True) if aside.share_of(plan.options) > 0 else None
    )
    ranks = current()
    places = ranks.positions(images_per_step(plan), parts_of_step(plan))

    def batches_of(dataset: IndexedDataset, step: int, workers: int) -> aside.Batches:
        return batches(
            dataset,
            batch_size=images_per_step(plan),
            seed=settings.run.seed,
            start_step=step,
            workers=workers,
            device=device,
            say=view.say,
            places=None if ranks.size == 1 else places,
        )

    def begun(step: int) -> aside.Batches:
        workers = settings.run.workers
        found = batches_of(reader, step, workers)
        if set_aside is None:
            return found
        return aside.beside(found, batches_of(set_aside, step, min(workers, 1)))

    return begun


def save_generators(plan: Plan, method: Method, run: RunFolder, step: int) -> dict[str, Path]:
    """Writes `teacher.safetensors` and `student.safetensors`, each whole or not at all."""
    paths = {}
    for role, network in method.generators().items():
        paths[role] = run.path / f"{role}.safetensors"
        if current().leads:
            save_generator(paths[role], network, plan, role=role, step=step, selection="last")
    return paths


def save_generator(
    path: Path, network: TappedNetwork, plan: Plan, *, role: str, step: int, selection: str
) -> None:
    """Writes one generator with all that the plan knows about it."""
    height, width = sides(plan.settings.data.size)
    save_model(
        path,
        network,
        role=role,
        task=plan.settings.data.task,
        step=step,
        method=plan.settings.method.name,
        dataset=plan.files.name,
        direction=plan.settings.data.direction,
        input_size=(height // network.scale, width // network.scale),
        extra={"selection": selection} | pixels.header_entries(plan.settings.data),
    )


def make_selection(
    plan: Plan, method: Method, view: View, *, device: torch.device
) -> Selection | None:
    """What scores the student during the run, unless its last state is handed out anyway."""
    wanted = plan.settings.selection.select
    student = method.generators().get("student")
    if wanted == "last" or student is None:
        return None

    def keep(path: Path, step: int) -> None:
        save_generator(path, student, plan, role="student", step=step, selection=wanted)

    return Selection(
        plan.settings, plan.files, student, folder=plan.out, keep=keep, say=view.say, device=device
    )
