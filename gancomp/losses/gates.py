"""What GCC's gates learn from: the student's game as far from its balance as the teacher's."""

from __future__ import annotations

from torch import Tensor

from gancomp.losses.precision import at_least_float32


def adversarial_gap(generator_term: Tensor, fake_term: Tensor) -> Tensor:
    """How far apart a generator's term and its discriminator's on the same image are.

    Args:
        generator_term: `losses.gan.generator_loss` of an image, a scalar.
        fake_term: `losses.gan.discriminator_fake_loss` of the same image, a scalar.

    Returns: a scalar, at least 0.

    Source: Li et al. 2021 (GCC), eq. 5.
    """
    return (at_least_float32(generator_term) - at_least_float32(fake_term)).abs()


def smoothed_gap(gap: Tensor, previous: Tensor | None, momentum: float) -> Tensor:
    """The teacher's gap, mixed into its former values; without gradient.

    Args:
        gap: `adversarial_gap` of the teacher, a scalar.
        previous: what this returned last, None at first.
        momentum: weight of the new gap: 1 in the first epoch, then 1 minus the share of training
            that is over, in the released code.

    Returns: a scalar.

    Raises:
        ValueError: if `momentum` is not in [0, 1].
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum {momentum} of the teacher's gap must be from 0 to 1")
    if previous is None:
        return gap.detach()
    return momentum * gap.detach() + (1 - momentum) * previous


def selective_activation_loss(
    student_gap: Tensor, teacher_gap: Tensor, real_term: Tensor, fake_term: Tensor
) -> Tensor:
    """Difference of the two gaps plus half of what the discriminator itself minimizes.

    Args:
        student_gap: `adversarial_gap` of the student's image under the gated discriminator.
        teacher_gap: of the teacher's under its own; detached here.
        real_term: `discriminator_real_loss` of the gated discriminator, a scalar.
        fake_term: its `discriminator_fake_loss`, a scalar.

    Returns: a scalar; its gradient is for the gates only.

    Source: GCC, eq. 6; computed on images held out from the weights' training.
    """
    return (student_gap - teacher_gap.detach()).abs() + (real_term + fake_term) / 2
