"""What a run needs so that several processes can train it, and what it refuses then."""

from __future__ import annotations

from dataclasses import replace

from gancomp import launch
from gancomp.engine.run import CONFIG, read_config
from gancomp.errors import ConfigError
from gancomp.methods.base import Method
from gancomp.networks.whole_batch import look_at_whole_batches
from gancomp.planning.plan import Plan
from gancomp.ranks import Ranks, refuse_uneven
from gancomp.registry import METHODS, ORIGINS, is_code, resolve
from gancomp.settings import Overrides, RunSettings
from gancomp.training.steps import images_per_step, parts_of_step

JOB = "torchrun"  # in `config.json`: the job that wrote it


def patience(given: Overrides) -> float:
    """How many seconds ranks wait for each other."""
    section = given.settings.get("run") or {}
    return float(section.get("rank_timeout", RunSettings.rank_timeout))


def begun_again(given: Overrides, ranks: Ranks) -> Overrides:
    """What was asked for, as a run to be resumed where torchrun has started it before.

    It is the same run if the folder holds one of the same job, or one that was begun before
    torchrun started the processes again.

    Raises:
        ConfigError: for a run without a name of its own that torchrun may have to find again.
    """
    if given.resume or not launch.under_torchrun():
        return given
    if given.out is None:
        if launch.may_restart():
            raise ConfigError(
                "`out`: torchrun may start this run again and has to find it; name its folder"
            )
        return given
    if not (given.out / CONFIG).exists():
        return given
    known, job = read_config(given.out).values.get(JOB), launch.job_id()
    same = job is not None and known == job
    return replace(given, resume=True) if same or launch.num_restarts() > 0 else given


def refuse_ranks(plan: Plan, method: Method, ranks: Ranks) -> None:
    """Refuses what several processes would compute otherwise than one does, or not at all.

    Raises:
        ConfigError: naming it.
    """
    if ranks.size == 1:
        return
    settings = plan.settings
    if plan.search is not None:
        raise ConfigError("`shrink`: this search is for one process; start it without torchrun")
    if reason := method.why_one_process():
        raise ConfigError(reason)
    for name in settings.method.also:
        if not vars(resolve(METHODS, "method", name)).get("shared_by_ranks"):
            raise ConfigError(f"`also` {name}: is for one process; start it without torchrun")
    networks = [settings.teacher.network.arch, settings.discriminator.arch]
    networks += [settings.student.arch] if settings.student is not None else []
    for arch in networks:
        if is_code(arch) or ("networks", arch) in ORIGINS:
            raise ConfigError(
                f"`arch` {arch}: several processes train networks of gancomp's own, whose layers "
                "are known not to mix a batch's images unnoticed; start it without torchrun"
            )
    if settings.run.compile not in ("auto", "off", "fused"):
        raise ConfigError(
            f"`compile` {settings.run.compile}: is for one process; use off, fused or auto"
        )
    refuse_uneven(images_per_step(plan), parts_of_step(plan), ranks)


def share_work(plan: Plan, method: Method, ranks: Ranks) -> None:
    """Has the ranks sum gradients as planned, and a method's layers look at all ranks' batches."""
    if ranks.size > 1:
        ranks.brief = plan.settings.run.reduce_precision == "bf16"
        look_at_whole_batches(method)
