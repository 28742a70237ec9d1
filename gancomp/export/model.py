"""Opens a model file of any known origin: ours, or a checkpoint of others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gancomp.errors import MissingPartError
from gancomp.export.biggan import biggan_file, is_biggan_folder
from gancomp.export.containers import read_safetensors, sniff
from gancomp.export.foreign import read_foreign
from gancomp.export.native import HEADER_KEY, open_native
from gancomp.export.own_states import read_own
from gancomp.networks.base import TappedNetwork
from gancomp.own_code import answer_for_bare


@dataclass(frozen=True)
class LoadedModel:
    """A network out of a file and what the file says about it.

    Attributes:
        network: in eval mode, on the CPU.
        header: the entries of our format; None where a foreign file does not tell.
        path: the file.
        origin: `"gancomp"`, or whose layout a foreign file has.
    """

    network: TappedNetwork
    header: dict[str, Any]
    path: Path
    origin: str


def open_model(path: str | Path, part: str | None = None) -> LoadedModel:
    """The model in `path`, whatever its file name.

    Args:
        path: a `.safetensors` file of ours, or a checkpoint of others in either format; also a
            folder of BigGAN-PyTorch's.
            A bare state dict is of the generator that was named by `own_code.naming`, if one was.
        part: which network of a file that holds several, `"G_A"`; by default G_A, then G. Of a
            BigGAN folder G_ema, G or D, by default the first of them that is there.

    Raises:
        CheckpointError: if the file is missing, damaged, hostile or of an unknown layout.
    """
    path = Path(path)
    if is_biggan_folder(path):
        file, part = biggan_file(path, part)
        model = open_model(file)
        return replace(model, header=model.header | {"part": part})
    if sniff(path) == "safetensors" and HEADER_KEY in read_safetensors(path)[0]:
        if part is not None:
            raise MissingPartError(
                f"{path}: has no part {part!r}, it holds a single network; remove it"
            )
        network, header = open_native(path)
        return LoadedModel(network, header, path, "gancomp")
    if (code := answer_for_bare()) is not None:
        network, header = read_own(path, part, *code)
        return LoadedModel(network, header, path, header["layout"])
    network, header = read_foreign(path, part)
    return LoadedModel(network, header, path, header["layout"])
