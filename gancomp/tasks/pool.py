"""A history of generated images that the discriminator is shown now and then (Shrivastava 2017)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.ranks import current
from gancomp.seeding import derive_generator

CHOICES = "choices"
OWN, HELD, OLDER, KEPT = range(4)  # rows of the choices


class FakePool(nn.Module):
    """Keeps up to `size` images; each new one is swapped against an old one with probability 0.5.

    Its random choices derive from (seed, name, step), its images are part of the state: a resumed
    run goes on exactly. Choices are made on the host, and are all that depends on the step; what
    they lead to is computed on the device. Source: CycleGAN, section 4 (50 images).

    Args:
        size: number of images kept; 0 hands every batch through.
        seed: of the run.
        name: tells pools of one run apart.
    """

    storage: Tensor | None

    def __init__(self, size: int, seed: int, name: str) -> None:
        super().__init__()
        self.size, self.seed, self.name = size, seed, name
        self.count = 0
        # one place more, for what is not kept
        self.register_buffer("storage", None, persistent=False)

    @property
    def images(self) -> Tensor:
        """The images kept so far, `(count, C, H, W)`."""
        return torch.empty(0) if self.storage is None else self.storage[: self.count]

    def show(self, fakes: Tensor, step: Step) -> Tensor:
        """The images to show for `fakes` `(N, C, H, W)` in `step`: each its own or an older one.

        Only detached images belong in a pool.
        """
        if self.size == 0:
            return fakes
        ranks = current()
        fakes = ranks.gathered(fakes)  # every rank has the same pool, of all ranks' images
        num, device = len(fakes), fakes.device

        def compute(index: int) -> dict[str, Tensor]:
            # small enough to be on its way at once: to wait would be to wait for the step before
            return {CHOICES: self.choose(num, index).to(device, non_blocking=True)}

        # two games in one step may have pools of one name
        choices = step.drawn(f"pool {self.name} {id(self)}", compute)[CHOICES]
        return ranks.own(self._swap(fakes, choices))

    def choose(self, num: int, step: int) -> Tensor:
        """What becomes of a batch of `num` images in a step; counts those that will be kept.

        Returns: `(4, num)`, on the CPU. For each place of the batch: which of the batch's images is
            shown there; which of the pool's would be; whether that one is; where the batch's image
            is kept.
        """
        generator = derive_generator(self.seed, "pool", self.name, step)
        choices = torch.zeros(4, num, dtype=torch.int64)
        choices[OWN], choices[KEPT] = torch.arange(num), self.size
        fresh: dict[int, int] = {}  # places of the pool that images of this batch have taken
        for number in range(num):
            if self.count < self.size:
                place, self.count = self.count, self.count + 1
            else:
                swap, where = torch.rand(2, generator=generator).tolist()
                if swap < 0.5:
                    continue
                place = int(where * self.size)
                if place in fresh:  # what was put there a moment ago comes out again
                    choices[OWN, number] = fresh[place]
                    choices[KEPT, fresh[place]] = self.size
                else:
                    choices[HELD, number], choices[OLDER, number] = place, 1
            choices[KEPT, number], fresh[place] = place, number
        return choices

    def _swap(self, fakes: Tensor, choices: Tensor) -> Tensor:
        storage = self._room_for(fakes)
        own, held = fakes[choices[OWN]], storage[choices[HELD]]
        shown = torch.where(choices[OLDER].bool()[:, None, None, None], held, own)
        storage.index_copy_(0, choices[KEPT], fakes)
        return shown

    def _room_for(self, fakes: Tensor) -> Tensor:
        """The storage, in the type and on the device of `fakes`: restored, it lies on the CPU."""
        if self.storage is None:
            self.storage = torch.zeros_like(fakes[:1].expand(self.size + 1, -1, -1, -1))
        if (self.storage.device, self.storage.dtype) != (fakes.device, fakes.dtype):
            self.storage = self.storage.to(fakes)
        return self.storage

    def get_extra_state(self) -> dict[str, Any]:
        """The pooled images, for `state_dict`."""
        return {"images": self.images.clone(memory_format=torch.contiguous_format)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Puts the pooled images back."""
        images = state["images"][: self.size]
        self.count = len(images)
        self.storage = None
        if self.count:
            self.storage = images.new_zeros((self.size + 1, *images.shape[1:]))
            self.storage[: self.count] = images
