"""DCD's rows of settings with another method in them: all of table 2 is trained alike."""

from __future__ import annotations

from gancomp.preset_parts import DCD, PAPER_SCHEDULE, Json, Preset, paired, unpaired

TABLE = f"{DCD}, table 2: all but the maps' term as there"


def rows(method: str, name: str, reported: str | None, options: Json, source: str) -> list[Preset]:
    """One row for horse2zebra with its figure, and for any data the rows that `dcd` has.

    Args:
        method: its registry name.
        name: of the preset.
        reported: the figure of horse2zebra.
        options: the method's own, where they differ from their defaults.
        source: of the weight and form of the maps' term.
    """
    own: Json = {"method": {"options": options}} if options else {}

    def row(
        task: str, arch: str, dataset: str | None, settings: Json, figure: str | None
    ) -> Preset:
        merged = settings | PAPER_SCHEDULE | own
        text = f"{TABLE}; {source}"
        return Preset(name, "distill", method, task, arch, dataset, merged, text, figure)

    return [
        row("unpaired", "mobile-resnet9", "horse2zebra", unpaired(), reported),
        row("unpaired", "mobile-resnet9", None, unpaired(), None),
        row("paired", "unet256", None, paired("batch"), None),
        row("paired", "mobile-resnet9", None, paired("instance"), None),
    ]
