"""The Python face of gancomp: what its commands do, for notebooks and other programs.

`import gancomp` is all that is needed; these names are there too, and torch is imported only when
one of them is used. Functions have the command line's names, defaults and checks: the option
`--lambda-dcd 2` is the keyword argument `lambda_dcd=2`, `--no-flip` is `flip=False`. Nothing is
printed, unless asked for with `progress=True`; what a command would say on the way goes to the
logger `gancomp`. Installed plug-ins, and files named in `GANCOMP_PLUGINS`, are there as for any
command.

Recipes raise errors in the command line's words. `boundary` is the one place where these become
Python's, on their way out of this package: `--batch-size 0: must be at least 1` is then
`batch_size 0: must be at least 1`, with `batch_size` as the error's `field`.
"""

from gancomp.api.compare import report, sweep
from gancomp.api.generator import Generator, load
from gancomp.api.measure import evaluate, export, profile
from gancomp.api.run import Run
from gancomp.api.train import distill, pretrain

__all__ = [
    "Generator",
    "Run",
    "distill",
    "evaluate",
    "export",
    "load",
    "pretrain",
    "profile",
    "report",
    "sweep",
]
