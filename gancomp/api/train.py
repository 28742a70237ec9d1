"""Training from Python: `pretrain` and `distill`."""

from __future__ import annotations

from typing import Any

from gancomp.api.arguments import described, overrides
from gancomp.api.boundary import called, view
from gancomp.api.run import Run
from gancomp.recipes.distill import distill as distill_recipe
from gancomp.recipes.pretrain import pretrain as pretrain_recipe


@described("pretrain")
def pretrain(*, progress: bool = False, **options: Any) -> Run:
    """Trains a teacher alone, as `gancomp pretrain` does; `dataset` is needed.

    Args:
        progress: show a bar on stderr.
        options: named as the command's; what is None or left out takes the command's default.

    Returns: the run; `run.generators["teacher"]` is what it made.

    Raises:
        GancompError: for whatever the caller can fix, `field` naming the argument; what was
            already saved stays.
        KeyboardInterrupt: after a signal (Ctrl-C, a notebook's stop), when the state was saved. In
            any thread but the main one a run listens to none.
    """
    with called():
        given = overrides("pretrain", options)
        return Run(pretrain_recipe(given, view(progress=progress)).run)


@described("distill")
def distill(*, progress: bool = False, **options: Any) -> Run:
    """Trains a small student, as `gancomp distill` does; `dataset` is needed.

    Args:
        progress: show a bar on stderr.
        options: named as the command's; what is None or left out takes the command's default.

    Returns: the run; `run.generators["student"]` is what it made.

    Raises:
        GancompError: for whatever the caller can fix, `field` naming the argument; what was
            already saved stays.
        KeyboardInterrupt: after a signal (Ctrl-C, a notebook's stop), when the state was saved. In
            any thread but the main one a run listens to none.
    """
    with called():
        given = overrides("distill", options)
        return Run(distill_recipe(given, view(progress=progress)).run)
