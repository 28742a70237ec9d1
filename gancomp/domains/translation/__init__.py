"""Translation of images, paired and unpaired."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gancomp.data.in_order import evaluation_batches
from gancomp.data.splits import DatasetFiles
from gancomp.domains.base import NUM_SAMPLES, TRANSLATES, Domain
from gancomp.domains.translation.contest import translation_contest
from gancomp.domains.translation.pairs import translation_pairs
from gancomp.domains.translation.settings import (
    channel_problems,
    of_teacher,
    pixel_remarks,
    pixels_of,
    with_discriminators,
    with_networks,
)
from gancomp.export.model import open_model
from gancomp.inference.models import teacher_file
from gancomp.inference.pixels import format_of, formats_of
from gancomp.launch import unheard
from gancomp.settings import Json, Settings
from gancomp.sizes import Size, before_crop


class Translation(Domain):
    """One image from another: of any channels and values, with or without pairs."""

    purpose = TRANSLATES
    problems = staticmethod(channel_problems)
    remarks = staticmethod(pixel_remarks)
    pairs = staticmethod(translation_pairs)
    contest = staticmethod(translation_contest)

    def load_size(self, size: Size, task: str) -> Size:
        """A little larger than the crops, as CycleGAN and pix2pix have it."""
        return before_crop(size)

    def complete(self, values: Json, typed: Json, files: DatasetFiles) -> Json:
        """Channels and values of both sides, the networks' channels, the teacher's opponents."""
        source = (typed.get("teacher") or {}).get("source")
        given: Any = of_teacher(open_model(teacher_file(source))) if source else {}
        data = values["data"] | pixels_of(files, typed["data"], given)
        return with_networks(with_discriminators(values, typed) | {"data": data})

    def reader_options(self, settings: Settings) -> Json:
        """How sources and targets are stored; those of other kinds are plain 8-bit RGB."""
        source, target = formats_of(settings.data)
        return {"source_pixels": source, "target_pixels": target}

    def samples(self, settings: Settings, files: DatasetFiles) -> list[Tensor]:
        """Sources alone: there is no one truth."""
        split = files.test or files.train
        _, sources = next(
            evaluation_batches(
                split.source[: 2 * NUM_SAMPLES],
                size=settings.data.size,
                batch_size=NUM_SAMPLES,
                half=split.side_by_side,
                say=unheard,
                pixels=format_of(settings.data.source),
            )
        )
        return [sources]
