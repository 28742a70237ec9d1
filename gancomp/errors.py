"""The errors a user can mend: each becomes one `error: …` line and exit status 2."""

from __future__ import annotations

import pickle


class GancompError(Exception):
    """Base of every error whose message is meant for the person at the keyboard.

    The message names the option or file, the offending value, what is allowed and the way out,
    in one line.
    """


class ConfigError(GancompError):
    """An option, setting or name that cannot be used as given."""


class DataError(GancompError):
    """A dataset or image that is missing, incomplete or unreadable."""


class CheckpointError(GancompError):
    """A model file or checkpoint that is missing, damaged or of an unknown layout."""


class MissingPartError(CheckpointError):
    """A model file that does not hold the network that was asked for by name."""


class WeightsError(GancompError):
    """Pretrained weights (VGG, Inception) that are neither on disk nor to be downloaded."""


class RunError(GancompError):
    """A run folder that cannot be written, continued or is in use by another process."""


class TrainingError(GancompError):
    """Training that cannot go on: a term or a parameter became non-finite."""


def why_unreadable(error: Exception) -> str:
    """One line on why a file of weights could not be read."""
    if isinstance(error, pickle.UnpicklingError):
        # PyTorch's own text advises to open the file unsafely: never pass it on
        return "it holds something else than tensors, which was not run"
    return f"{type(error).__name__}: {error}".splitlines()[0]
