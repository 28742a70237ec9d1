"""Makes the demo's picture and the lines about it in the main README again.

python examples/demo_picture.py    # runs `gancomp demo`, about two minutes on two CPU cores

Replaces demo.png and demo.json beside this file, and what stands between the README's two marks.
To be run whenever the settings of the preset `demo` change; a test compares them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gancomp.presets import all_presets

Json = dict[str, Any]
HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- picture: examples/demo_picture.py -->", "<!-- end of picture -->"


def settings() -> Json:
    """The demo's presets, by command."""
    return {row.command: row.settings for row in all_presets() if row.name == "demo"}


def run_demo(folder: Path) -> Json:
    """What `gancomp demo --json` prints, run in `folder`, and the processor time it took."""
    before = os.times()
    command = [sys.executable, "-m", "gancomp", "demo", "--seed", "0", "--device", "cpu", "--json"]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # two gain little and round otherwise
    printed = subprocess.run(
        command, cwd=folder, env=one_thread, stdout=subprocess.PIPE, check=True, text=True
    )
    after = os.times()
    used = after.children_user - before.children_user
    return json.loads(printed.stdout) | {"processor_seconds": round(used)}


def caption(made: Json) -> str:
    """The README's lines about the picture."""
    scores, real = made["scores"], made["scores"]["real"]["stripes"]
    shown = "; ".join(
        f"{name} {scores[name]['stripes']:.2f} and {scores[name]['background_change']:.3f}"
        for name in ("teacher", "student")
    )
    return (
        "![Plain shapes, striped by the teacher and by the student](examples/demo.png)\n\n"
        "Input, teacher and student (a quarter of the channels), one test image per row, from\n"
        f"`gancomp demo --seed 0 --device cpu` on {made['date']}: one seed, one thread "
        f"(`OMP_NUM_THREADS=1`), {made['processor_seconds']} s of\n"
        "processor time on two cores that others used, too.\n"
        f"Stripes (0 plain, real images {real:.2f}) and background change (mean absolute, "
        "0 to 1):\n"
        f"{shown}. The backgrounds still lean toward one green.\n"
        "[examples/demo_picture.py](examples/demo_picture.py) makes it again."
    )


def with_caption(readme: str, made: Json) -> str:
    """The README with the lines between the marks replaced."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{caption(made)}\n{END}{after}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        result = run_demo(Path(folder))
        shutil.copyfile(Path(folder, result["picture"]), HERE / "demo.png")
    kept = ("scores", "steps", "processor_seconds")
    made = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "settings": settings()}
    made |= {key: result[key] for key in kept}
    (HERE / "demo.json").write_text(json.dumps(made, indent=2) + "\n")
    README.write_text(with_caption(README.read_text(), made))


if __name__ == "__main__":
    main()
