"""Content Relationship Distillation (CRD, arXiv 2212.11091).

Teacher's and student's image are cut into rows, columns and patches, and how the pieces relate to
each other is compared: their distances, and the angles between three. Nothing in that tells
brightness or sign: OMGD's perceptual terms and the teacher's discriminator do. The paper's formulas
could not be read; they are the released code's, its crashes fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from gancomp.engine.phases import Step
from gancomp.errors import ConfigError
from gancomp.losses.relations import columns, patches, relation_loss, released_patches, rows
from gancomp.methods.base import Components
from gancomp.methods.crd_options import CrdOptions
from gancomp.methods.distillation import Distillation
from gancomp.ranks import apart, current
from gancomp.sizes import Size, shown_size, sides
from gancomp.tasks.base import Translation


class Crd(Distillation):
    """Teacher, discriminator (real, teacher fake), student: jointly or in blocks.

    The student's own GAN term asks the discriminator, which never sees the student's images in its
    own turn.
    """

    name = "crd"
    shared_by_ranks = True
    paper = "Exploring Content Relationships for Distilling Efficient GANs, arXiv 2212.11091"
    Options = CrdOptions
    replayable = True
    hosts_only = frozenset({"lambda_gan"})
    options: CrdOptions

    def __init__(self, components: Components, options: CrdOptions) -> None:
        super().__init__(components, options, lambda_fools=options.lambda_gan)
        # the relations alone cannot train a student: they are blind to brightness and sign
        self.refuse_no_loss(0.0, "lambda_gan")
        self._phases = self.make_phases(components)

    def check_size(self, size: Size) -> None:
        """Refuses images of which too few patches can be cut.

        Raises:
            ConfigError: naming `--patch-size`.
        """
        super().check_size(size)
        height, width = (length // self.options.patch_size for length in sides(size))
        if self.options.lambda_patch > 0 and height * width < 2:
            raise ConfigError(
                f"`patch_size` {self.options.patch_size}: images of `size` {shown_size(size)} have "
                "fewer than 2 patches, which cannot relate; use a smaller one, or `lambda_patch` 0"
            )

    def own_losses(
        self, step: Step, teacher: Translation, student: Translation
    ) -> dict[str, Tensor]:
        """The weighted relations of rows, columns and patches."""
        options = self.options
        cuts: dict[str, tuple[float, Callable[[Tensor], Tensor]]] = {
            "row": (options.lambda_row, rows),
            "column": (options.lambda_column, columns),
            "patch": (options.lambda_patch, partial(patches, size=options.patch_size)),
        }
        losses = {
            name: weight * self._distance(cut(teacher.fake.detach()), cut(student.fake))
            for name, (weight, cut) in cuts.items()
            if weight > 0 and not (name == "patch" and options.released_patches)
        }
        if options.released_patches and options.lambda_patch > 0:
            losses["patch"] = options.lambda_patch * self._released(teacher.fake, student.fake)
        return losses

    def _distance(self, teacher: Tensor, student: Tensor) -> Tensor:
        return relation_loss(teacher, student, reduction=self.options.relation_reduction)

    def _released(self, teacher_fake: Tensor, student_fake: Tensor) -> Tensor:
        """The distance of the released patches, which are those of the whole batch's first image.

        Every rank has all of them, so that there is nothing for the loss to share out.
        """
        images = current().gathered(teacher_fake.detach()), current().gathered(student_fake)
        teacher, student = (released_patches(item, self.options.patch_size) for item in images)
        with apart():
            return self._distance(teacher, student)
