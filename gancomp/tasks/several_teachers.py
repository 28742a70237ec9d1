"""Several teachers of one student, each with a task of its own: a part for methods that need it.

The tasks know nothing of each other: each has a step of its own within the step, so that none takes
another's translation for its own. Two of them may share a discriminator's first blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from gancomp.engine.phases import Draw, Step
from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork
from gancomp.networks.two_branch import NUM_BLOCKS, BranchOf, TwoBranchPatchGAN
from gancomp.seeding import derive_seed
from gancomp.settings import NetworkSettings
from gancomp.sizes import Size
from gancomp.tasks.base import Task, Translation, new_network


class SeveralTeachers(nn.Module):
    """Tasks by their teachers' names, the run's own first.

    Names of terms and networks are those of the tasks; all but the first's begin with the teacher's
    name. A task whose teacher is frozen is only asked for translations.
    """

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.names = tuple(tasks)
        self.tasks = nn.ModuleList(tasks.values())

    def items(self) -> Iterator[tuple[str, Task]]:
        """Each teacher's name and task."""
        for name, task in zip(self.names, self.tasks, strict=True):
            assert isinstance(task, Task)
            yield name, task

    def learning(self) -> dict[str, Task]:
        """The tasks whose teachers are trained."""
        return {name: task for name, task in self.items() if not task.frozen}

    @property
    def frozen(self) -> bool:
        """Whether no teacher is trained."""
        return not self.learning()

    def own(self, step: Step, name: str) -> Step:
        """The step as the task of that teacher sees it: with its own results only."""
        if name == self.names[0]:
            return step

        def held(what: str, compute: Draw) -> dict[str, Tensor]:
            assert step.held is not None
            return step.held(f"{name}/{what}", compute)

        shared: dict[str, Any] = step.once(f"steps/{name}", dict)
        return replace(step, shared=shared, held=held if step.held is not None else None)

    def translations(self, step: Step) -> dict[str, Translation]:
        """Each teacher's translation of the batch's source, computed once per step."""
        return {name: task.teacher(self.own(step, name)) for name, task in self.items()}

    def teacher_networks(self) -> nn.Module:
        """What the teachers' phase trains."""
        return nn.ModuleList(task.teacher_networks() for task in self.learning().values())

    def discriminator_networks(self) -> nn.Module:
        """What the discriminators' phase trains."""
        return nn.ModuleList(task.discriminator_networks() for task in self.learning().values())

    def generator_losses(self, step: Step) -> dict[str, Tensor]:
        """The weighted terms of all teachers that learn."""
        losses: dict[str, Tensor] = {}
        for name, task in self.learning().items():
            losses |= self._named(name, task.generator_losses(self.own(step, name)))
        return losses

    def discriminator_losses(self, step: Step) -> dict[str, Tensor]:
        """The weighted terms of their discriminators; a shared block gets the sum's gradient."""
        losses: dict[str, Tensor] = {}
        for name, task in self.learning().items():
            losses |= self._named(name, task.discriminator_losses(self.own(step, name)))
        return losses

    def networks(self) -> dict[str, nn.Module]:
        """What a checkpoint must hold; a discriminator of two tasks once."""
        networks: dict[str, nn.Module] = {}
        for name, task in self.items():
            for key, network in self._named(name, task.networks()).items():
                whole = network.whole if isinstance(network, BranchOf) else network
                if not any(whole is known for known in networks.values()):
                    networks[key] = whole
        return networks

    def _named(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        prefix = "" if name == self.names[0] else f"{name}_"
        return {f"{prefix}{key}": value for key, value in values.items()}

    def check_size(self, size: Size) -> None:
        """Refuses images that a network of any task reduces to less than it can normalize.

        Raises:
            ConfigError: naming the network and the way out.
        """
        for _, task in self.items():
            task.check_size(size)


def task_like(task: Task, teacher: TappedNetwork, name: str) -> Task:
    """The same objective for another teacher, with a fresh discriminator and pools of its own."""
    judge = task.discriminator
    settings = {key: value for key, value in judge.settings().items() if key != "in_channels"}
    return type(task)(
        teacher,
        NetworkSettings(arch=judge.arch, **settings),
        adversarial=task.settings,
        seed=derive_seed(task.seed, name),
    )


def share_discriminator(wide: Task, deep: Task, num_shared: int) -> TwoBranchPatchGAN:
    """Puts one discriminator of two branches in the place of both tasks' own.

    The wide teacher's branch, and with it all shared blocks, begins as that teacher's own
    discriminator: it may have come with the teacher. The rest is fresh.

    Args:
        wide: the task of the wide teacher.
        deep: that of the deep one.
        num_shared: how many of its five blocks both share.

    Raises:
        ConfigError: if the discriminators are not PatchGANs of five blocks.
    """
    settings = wide.discriminator.settings()
    layers = settings.pop("layers", None)
    if wide.discriminator.arch != "patchgan" or layers != NUM_BLOCKS - 2:
        raise ConfigError(
            f"`shared_blocks` {num_shared}: is for a patchgan of {NUM_BLOCKS} blocks; remove "
            "`d_layers`, or give `shared_blocks` 0"
        )
    shared = NetworkSettings(arch="two-branch-patchgan", num_shared=num_shared, **settings)
    whole = new_network(shared, wide.seed, "discriminator")
    assert isinstance(whole, TwoBranchPatchGAN)
    blocks = [whole.branch("wide", block).state_dict() for block in range(NUM_BLOCKS)]
    own = [value for state in blocks for value in state.values()]
    for value, known in zip(own, wide.discriminator.state_dict().values(), strict=True):
        value.copy_(known)
    wide.discriminator = BranchOf(whole, "wide")
    deep.discriminator = BranchOf(whole, "deep")
    return whole
