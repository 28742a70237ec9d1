"""Opens model files of generators of people's own, whose code a person must have named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gancomp.errors import CheckpointError, ConfigError
from gancomp.export.containers import fill, shortened
from gancomp.networks.base import TappedNetwork
from gancomp.networks.own import refuse_unfit
from gancomp.own_code import answer_for
from gancomp.registry import build_network

OTHER_CODE = "the file is damaged, or its code was another one or has changed since"


def build_own(path: Path, header: Mapping[str, Any]) -> TappedNetwork:
    """The network of a file whose header records code, without the file's weights.

    Raises:
        CheckpointError: if no code was named for it, or it makes another network.
    """
    arch = answer_for(shortened(header["arch"]), path)
    try:
        return build_network(arch, **header["settings"])
    except TypeError as error:  # settings of another kind than ours
        raise CheckpointError(f"{path}: its header is damaged ({shortened(str(error))})") from error
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def fill_own(network: TappedNetwork, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Makes `tensors` the weights of the network that `build_own` gave; eval mode.

    Raises:
        CheckpointError: if they are another module's, or it makes no images in [-1, 1].
    """
    fill(network, tensors, path, otherwise=OTHER_CODE)
    refuse_unfit(network, path)
