"""A history of generated images that the discriminator is shown now and then (Shrivastava 2017)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gancomp.seeding import derive_generator


class FakePool(nn.Module):
    """Keeps up to `size` images; each new one is swapped against an old one with probability 0.5.

    Its random choices derive from (seed, name, step), its images are part of the state: a resumed
    run goes on exactly. Source: CycleGAN, section 4 (50 images).

    Args:
        size: number of images kept; 0 hands every batch through.
        seed: of the run.
        name: tells pools of one run apart.
    """

    def __init__(self, size: int, seed: int, name: str) -> None:
        super().__init__()
        self.size, self.seed, self.name = size, seed, name
        self.images: list[Tensor] = []

    def exchange(self, fakes: Tensor, step: int) -> Tensor:
        """The images to show for `fakes` `(N, C, H, W)`: each its own or an older one.

        Only detached images belong in a pool.
        """
        if self.size == 0:
            return fakes
        generator = derive_generator(self.seed, "pool", self.name, step)
        shown = []
        for fake in fakes:
            if len(self.images) < self.size:
                self.images.append(fake.clone())
                shown.append(fake)
                continue
            swap, place = torch.rand(2, generator=generator).tolist()
            if swap < 0.5:
                shown.append(fake)
                continue
            index = int(place * self.size)
            # a restored pool lies on the CPU until its images have been shown
            shown.append(self.images[index].to(fake))
            self.images[index] = fake.clone()
        return torch.stack(shown)

    def get_extra_state(self) -> dict[str, Any]:
        """The pooled images, for `state_dict`."""
        return {"images": torch.stack(self.images) if self.images else torch.empty(0)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Puts the pooled images back."""
        self.images = list(state["images"].clone())
