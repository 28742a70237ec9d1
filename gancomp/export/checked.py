"""What the formats that a runtime opens have in common: the check, and what is told of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gancomp.export.form import Form
from gancomp.export.model import LoadedModel
from gancomp.export.native import header_of
from gancomp.export.parity import Parity, measure_parity, rounded_up
from gancomp.export.pixels_graph import measure_levels
from gancomp.export.runtimes import Session


@dataclass
class CheckedExporter:
    """A format whose files are run and compared with PyTorch before they are written.

    Attributes:
        pixels: bytes in and out, of any size, instead of numbers in [-1, 1].
        found: what the check of `write` found.
        checked: the same for people and programs, with what ran the file.
        weights_file: a second file that belongs to the first, if the format has one.
    """

    pixels: bool = False
    found: Parity | None = field(default=None, init=False)
    checked: dict[str, Any] | None = field(default=None, init=False)
    weights_file: Path | None = field(default=None, init=False)

    def parity(self, model: LoadedModel, out: Path) -> float | None:
        """The largest difference that `write` found."""
        return self.found.largest if self.found is not None else None

    def check(
        self, model: LoadedModel, form: Form, session: Session, *, least_db: float | None = None
    ) -> None:
        """Compares the file's images with the model's.

        Args:
            model: what is exported.
            form: of its network.
            session: the file.
            least_db: refuse what is worse than this, not what differs more than full precision may.

        Raises:
            ExportError: if they differ by more than they may.
        """
        size = model.header["input"]["size"]
        self.found = measure_parity(model.network, form, session.run, size, least_db=least_db)
        self.checked = self.found.recorded() | {"by": session.how}

    def check_pixels(
        self, model: LoadedModel, form: Form, session: Session, *, limited: bool = True
    ) -> None:
        """Compares the file's pixels with those that `translate` writes; see `check`."""
        assert self.checked is not None
        levels = measure_levels(model.network, form, session, limited=limited)
        self.checked["levels"] = levels

    def header(
        self, model: LoadedModel, form: Form, content: bytes, precision: str = "fp32"
    ) -> dict[str, Any]:
        """What the file says of itself: the model's header, with the entry `export`.

        Args:
            model: what is exported.
            form: of its network.
            content: the file without its header; its length and digest are told, so that a header
                of another file is noticed.
            precision: what it is to be computed in.
        """
        entry: dict[str, Any] = {
            "inputs": list(form.inputs),
            "pixels": self.pixels,
            "precision": precision,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        if self.found is not None:  # else it could not be run here
            found = self.found.recorded()
            entry["parity_below"] = rounded_up(self.found.largest)
            entry["checked"] = {key: found[key] for key in ("sizes", "batch_sizes")}
        header = header_of(model.network, model.header) | {"export": entry}
        if form.fixed_size is not None:
            header["input"] = header["input"] | {"size": list(form.fixed_size)}
        return header
