"""`gancomp shrink`: a smaller generator out of a teacher, within a budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gancomp.console import print_table
from gancomp.engine.device import choose_device
from gancomp.engine.fit import View
from gancomp.errors import ConfigError
from gancomp.export.model import LoadedModel, open_model
from gancomp.export.native import save_model
from gancomp.inference.models import teacher_file
from gancomp.networks.base import TappedNetwork
from gancomp.planning.shrinking import Way, compares_features, fill, make_way, refuse_width
from gancomp.recipes.search_alone import ShrinkWanted, searched
from gancomp.registry import DISCRIMINATORS
from gancomp.settings import Json, NetworkSettings
from gancomp.shrink.base import ShrinkRequest, Shrunk, searches
from gancomp.shrink.budget import NUM_RUNS, Clock, costs
from gancomp.sizes import Size, as_size
from gancomp.tasks.base import new_network

MEASURES = {
    "macs": "MACs (true)",
    "macs_torchprofile": "MACs (torchprofile's rule)",
    "params": "parameters",
    "bytes": "bytes",
}
FEW_RUNS = 5  # of teacher and student in turns, where time is no budget


def shrink(wanted: ShrinkWanted, view: View) -> Json:
    """Writes the student; returns what it and its teacher cost.

    Raises:
        ConfigError: for an unknown way or budget, or one that cannot be met.
        CheckpointError: if the model cannot be opened.
        RunError: if the file cannot be written.
    """
    asked = f"`by` {wanted.by} `budget` {wanted.budget}"
    say = view.say
    way = make_way(wanted.by, wanted.budget, asked, wanted.options, field="by")
    if wanted.features and not compares_features(wanted.by):
        given = "perceptual" if wanted.perceptual is not None else "vgg"
        raise ConfigError(f"`{given}`: {asked} compares no features; remove it")
    path = teacher_file(str(wanted.model))
    if wanted.out.suffix.lower() != ".safetensors":
        raise ConfigError(
            f"`out` {wanted.out}: write a .safetensors file; export makes others of it"
        )
    if wanted.out.resolve() == path.resolve():
        raise ConfigError(f"`out` {wanted.out}: is the model itself; choose another file")
    model = open_model(path, wanted.part)
    size = wanted.size or as_size(*model.header["input"]["size"])
    if searches(way.shrinker):
        shrunk, seed = searched(wanted, way, size, view)
    elif unused := [name for name in ("dataset", "task", "resume") if getattr(wanted, name)]:
        raise ConfigError(f"`{unused[0]}`: {asked} looks at no images; remove it")
    else:
        seed = wanted.seed or 0
        shrunk = _shrunk(model, way, size, wanted.device, say)
    student = new_network(shrunk.student, seed, "student")
    if shrunk.weights is None:
        say(f"{asked}: has new weights, to be trained by distill")
    else:
        fill(student, shrunk.weights)
    found = {"by": way.name, "budget": way.text, **shrunk.found}
    _save(wanted.out, student, model, found)
    before, after = costs(model.network, size), costs(student, size)
    timed = _timed(model.network, student, size, wanted.device, way, say)
    before["ms"], after["ms"] = timed.pop("teacher_ms"), timed.pop("measured_ms")
    return {
        "file": str(wanted.out),
        "arch": student.arch,
        "settings": student.settings(),
        "trained": shrunk.weights is not None,
        "shrink": found,
        "teacher": before,
        "student": after,
        **timed,
    }


def _timed(
    teacher: TappedNetwork,
    student: TappedNetwork,
    size: Size,
    device: str,
    way: Way,
    say: Callable[[str], None],
) -> Json:
    """What both take in turns: of the student as it was saved, in the form of the budget."""
    most_ms = way.most_ms
    runs = FEW_RUNS if most_ms is None else NUM_RUNS
    clock = Clock(teacher, size, choose_device(device), num_runs=runs, form=way.form)
    facts = clock.facts(clock.ms(student))
    if most_ms is not None and facts["measured_ms"] > most_ms:
        say(
            f"warning: {way.asked}: measured once more, it took {facts['measured_ms']:.3g} ms; "
            "measure on an idle machine"
        )
    return facts


def _shrunk(
    model: LoadedModel, way: Way, size: Size, device: str, say: Callable[[str], None]
) -> Shrunk:
    teacher = NetworkSettings(model.network.arch, **model.network.settings())
    if teacher.arch in DISCRIMINATORS:
        raise ConfigError(f"{model.path}: is a discriminator; give a generator")
    if not way.prunes:
        refuse_width(teacher.arch, way.asked)
    request = ShrinkRequest(
        teacher,
        teacher,
        way.budget,
        way.asked,
        size,
        device=device,
        open_teacher=lambda: model.network,
        say=say,
        form=way.form,
    )
    return way.shrinker.shrink(request)


def _save(out: Path, student: TappedNetwork, model: LoadedModel, found: Json) -> None:
    header = model.header
    save_model(
        out,
        student,
        role="student",
        task=header.get("task"),
        step=None,
        method=None,
        dataset=header.get("dataset"),
        input_size=tuple(header["input"]["size"]),
        direction=header.get("direction"),
        extra={"shrink": found},
    )


def show_shrunk(document: Json) -> None:
    """Teacher and student side by side, by every measure."""
    teacher, student = document["teacher"], document["student"]
    where = document.get("runtime", document["device"])
    timed = f"ms ({where}, {document['threads']} threads)"
    rows = [
        [label, f"{teacher[name]:,}", f"{student[name]:,}", f"{student[name] / teacher[name]:.1%}"]
        for name, label in (MEASURES | {"ms": timed}).items()
    ]
    print_table(["", "teacher", document["file"], "share"], rows)
