"""README and examples say what the code does: commands, options, tables, figures."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from gancomp.cli import app
from gancomp.data.demo_set import write_demo_set
from gancomp.data.registered import KNOWN_DATASETS
from gancomp.export.native import save_model
from gancomp.methods.distillation import BlockSchedule
from gancomp.metrics.cost import measure_cost
from gancomp.options import all_options, gather
from gancomp.own_code import forget_code
from gancomp.planning.own import naming_code
from gancomp.planning.plan import Plan, make_plan
from gancomp.plugins import forget_plugins, load_plugins
from gancomp.recipes.methods import list_methods, list_presets
from gancomp.registry import NETWORKS, build_network
from gancomp.settings import Overrides

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAPER_VS_CODE = (ROOT / "examples" / "paper_vs_code.md").read_text()
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in [ROOT / "README.md", *sorted((ROOT / "examples").rglob("*"))]
    if path.suffix in (".md", ".py")
}
DOCUMENTS = {page: text for page, text in PAGES.items() if page.endswith(".md")}
ALL_DOCUMENTS = "\n".join(DOCUMENTS.values())
COMMANDS: Any = typer.main.get_command(app)
TABLE_3 = re.findall(
    r"^\| (x?) ?\| (x?) ?\| (x?) ?\| [\d.]+ \| `(gancomp .*?)` \|$", ALL_DOCUMENTS, re.M
)


def command_lines(text: str) -> list[str]:
    """Every `gancomp …` line of the page's shell blocks, and every inline one."""
    lines = []
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        for line in block.splitlines():
            lines += [part.strip() for part in line.split("&&") if part.strip()]
    lines += re.findall(r"(?<!`)`(gancomp [^`\n]+)`", text)
    return [line for line in lines if line.startswith("gancomp ")]


def words(line: str) -> list[str]:
    """The arguments of a line without `--plugin FILE`; `N` stands for a number."""
    line = re.sub(r" --plugin \S+", "", line)
    return ["1" if word == "N" else word for word in shlex.split(line, comments=True)[1:]]


def parse(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """Name and values of the command, parsed as the command line would, but not run."""
    command: Any = COMMANDS
    names = []
    while hasattr(command, "commands"):
        names.append(arguments[0])
        command, arguments = command.commands[arguments[0]], arguments[1:]
    return " ".join(names), command.make_context(names[-1], arguments).params


LINES = sorted({line for text in PAGES.values() for line in command_lines(text)})
# `gancomp COMMAND …` stands for any of them; help and version leave early
EARLY = {"COMMAND", "--help", "--version", "--install-completion"}
FULL_LINES = [line for line in LINES if not EARLY & set(line.split())]


@pytest.mark.parametrize("line", FULL_LINES)
def test_each_command_in_the_documents_is_understood_by_the_command_line(line: str) -> None:
    arguments = words(line)
    if len(arguments) == 1 and arguments[0] in COMMANDS.commands:
        return  # a bare command's name in running text
    parse(arguments)


def test_enough_commands_were_found_to_mean_something() -> None:
    assert len(FULL_LINES) >= 35
    used = {words(line)[0] for line in FULL_LINES}
    assert used == set(COMMANDS.commands), "each command appears in README or examples"


def own_options(page: Path) -> set[str]:
    """What the page declares itself; in a folder of `examples/`, what the scripts there declare."""
    inner = page.parents[1].name == "examples"
    files = [page, *(page.parents[1].glob("*/*.py") if inner else ())]
    declared = r'(?:\badd(?:_argument)?\(|\bsetting\(\s*[^\s,]+,)\s*"(--[a-z0-9-]+)"'
    return {name for file in files for name in re.findall(declared, file.read_text())}


@pytest.mark.parametrize("page", PAGES)
def test_each_option_named_in_running_text_exists(page: str) -> None:
    typers = {"--version", "--help", "--install-completion"}
    torchruns = {"--nproc-per-node", "--nnodes", "--rdzv-backend", "--rdzv-endpoint", "--rdzv-id"}
    known = typers | torchruns | {"--max-restarts", "--ranks"}
    known |= {"--plugin", "--cov", "--dist", "--rootdir", "--hand-on"}
    known |= {"--noconftest", "--exclude-standard", "--short"}  # pytest's, git's, and pip's
    known |= {"--no-deps", "--only-binary", "--python-version", "--implementation", "--platform"}
    groups = [getattr(command, "commands", {}) for command in COMMANDS.commands.values()]
    for command in [
        *COMMANDS.commands.values(),
        *(item for group in groups for item in group.values()),
    ]:
        for parameter in command.params:
            known |= {*parameter.opts, *parameter.secondary_opts}
    known |= own_options(ROOT / page)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", PAGES[page]))
    assert named <= known


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for known in KNOWN_DATASETS:
        paired = known.task == "paired"
        write_demo_set(root / known.name, size=32, train=1, test=1, paired=paired)
    write_demo_set(root / "my_photos", size=32, train=1, test=1)
    write_demo_set(root / "cityscapes", size=32, train=1, test=1, paired=True)
    for folder in ("DIV2K", "faces", "birds/finch", "birds/wren"):
        (root / folder).mkdir(parents=True)
        Image.new("RGB", (96, 96), "teal").save(root / folder / "photograph.png")
    return root


def plan_of(line: str, datasets: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setenv("GANCOMP_DATA", str(datasets))
    monkeypatch.chdir(ROOT)
    # not measured: --latency-budget must not depend on what else the machine does
    monkeypatch.setattr("gancomp.shrink.budget.Clock.ms", lambda *_: 1.0)
    monkeypatch.setattr("gancomp.shrink.budget.Clock.teacher_ms", 1.0)
    # nor exported, which would need the runtime, and a processor that computes in bf16
    monkeypatch.setattr("gancomp.shrink.budget.Clock._pass", lambda *_: None)
    monkeypatch.setattr("gancomp.export.timed.needed", lambda *_: None)
    monkeypatch.setattr("gancomp.export.timed.has_bf16", lambda: True)
    load_plugins(shlex.split(line, comments=True)[1:])
    command, values = parse(words(line))
    values.pop("json")
    given = Overrides(**gather(values))
    try:
        with naming_code(given):
            return make_plan(command, given, lambda message: None)
    finally:
        forget_plugins()
        forget_code()


TRAINING_LINES = [
    line
    for line in FULL_LINES
    if words(line)[0] in ("pretrain", "distill")
    and "--dataset" in line
    and not {"FILE", "--teacher"} & set(line.split())
]


@pytest.mark.parametrize("line", TRAINING_LINES)
def test_each_training_command_resolves_to_valid_settings(
    line: str, datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(line, datasets, monkeypatch)
    assert plan.files.root.parent == datasets


def test_the_teacher_of_the_published_tables_leads_to_the_same_student_as_the_online_one(
    datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("gancomp pretrain --dataset horse2zebra", datasets, monkeypatch)
    assert plan.settings.teacher.network.arch == "resnet9"
    assert plan.out.as_posix() == "runs/horse2zebra-pretrain-s0"
    plan = plan_of("gancomp distill --dataset horse2zebra --ratio 0.25", datasets, monkeypatch)
    assert plan.settings.teacher.network.arch == "mobile-resnet9"
    assert plan.settings.student is not None
    assert (plan.settings.student.arch, plan.settings.student.width) == ("mobile-resnet9", 16)
    assert plan.out.as_posix() == "runs/horse2zebra-dcd-r0.25-s0"


@pytest.mark.parametrize(("per", "dcd", "gan", "line"), TABLE_3)
def test_each_command_of_table_3_has_the_terms_of_its_row(
    per: str, dcd: str, gan: str, line: str, datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = plan_of(line, datasets, monkeypatch).options
    assert (options.lambda_feature > 0, options.lambda_style > 0) == (bool(per), bool(per))
    assert (options.lambda_dcd > 0) == bool(dcd)
    assert options.student_fools_discriminator == bool(gan)
    assert options.student_in_discriminator == bool(gan)


def test_all_seven_rows_of_table_3_are_there_with_runs_of_their_own() -> None:
    assert len({row[:3] for row in TABLE_3}) == 7
    assert len({row[3].split("--out ")[1] for row in TABLE_3}) == 7


def test_the_switches_of_the_comparison_page_resolve(
    datasets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAPER_VS_CODE, re.S)
    (tmp_path / "letter.toml").write_text(block)
    line = f"gancomp distill --dataset horse2zebra --config {tmp_path / 'letter.toml'}"
    options = plan_of(line, datasets, monkeypatch).options
    assert options.style_reduction == "sum"
    assert len(options.feature_taps) == 4
    line = "gancomp distill --dataset horse2zebra --arch resnet9 --student-arch mobile-resnet9"
    settings = plan_of(line, datasets, monkeypatch).settings
    assert settings.teacher.network.arch == "resnet9"
    assert settings.student is not None
    assert (settings.student.arch, settings.student.width) == ("mobile-resnet9", 16)


@pytest.mark.parametrize(
    ("dataset", "preset", "student_epochs", "all_epochs"),
    [
        ("horse2zebra", "dcd", 0, 100),
        ("horse2zebra", "dcd-released", 800, 1000),
        ("summer2winter", "dcd-released", 816, 1016),
        ("edges2shoes", "dcd-released", 0, 200),
    ],
)
def test_epochs_are_those_of_the_comparison_page(
    dataset: str,
    preset: str,
    student_epochs: int,
    all_epochs: int,
    datasets: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = f"gancomp distill --dataset {dataset} --preset {preset}"
    plan = plan_of(line, datasets, monkeypatch)
    options, schedule = plan.options, plan.settings.schedule
    epochs = schedule.epochs + schedule.decay_epochs
    total = BlockSchedule.of(options).num_epochs(epochs)
    assert (total - epochs, total) == (student_epochs, all_epochs)
    weights = options.lambda_style, options.lambda_feature, options.lambda_dcd
    assert weights == (1e4, 10, 1)
    assert (options.connector, options.train_connectors) == ("conv-bn-relu", "student")
    assert options.student_fools_discriminator == (preset == "dcd")
    assert plan.settings.teacher.network.width == 64
    for figure in ("133,400", "1,334,000", "1,067,200"):
        assert figure in PAPER_VS_CODE
    assert (100 * 1334, 1000 * 1334, 800 * 1334) == (133400, 1334000, 1067200)


def rows_after(heading: str) -> list[list[str]]:
    """The cells of the first table below the line that begins with `heading`."""
    lines = ALL_DOCUMENTS.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(heading))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return rows


def test_the_methods_table_is_what_gancomp_methods_prints() -> None:
    wanted = [[row["name"], row["command"], row["paper"]] for row in list_methods()]
    assert rows_after("| method | command | paper") == wanted


def test_the_presets_table_is_what_gancomp_methods_prints() -> None:
    wanted = [[value or "–" for value in row.values()] for row in list_presets()]
    assert rows_after("| preset | command") == wanted


MAC_ROWS = rows_after("| network | width | norm")


@pytest.mark.parametrize("row", MAC_ROWS, ids=lambda row: "-".join(row[:4]))
def test_the_figures_of_the_macs_table_are_exact(row: list[str]) -> None:
    arch, width, norm, channels, *figures = row
    network = build_network(arch, width=int(width), norm=norm, in_channels=int(channels))
    cost = measure_cost(network, (1, int(channels), 256, 256))
    assert figures == [f"{n:,}" for n in (cost.params, cost.macs, cost.macs_torchprofile)]


def test_the_macs_table_has_the_networks_of_the_published_tables() -> None:
    rows = {(row[0], row[1]) for row in MAC_ROWS}
    assert rows >= {("resnet9", "64"), ("mobile-resnet9", "64"), ("mobile-resnet9", "16")}
    assert rows >= {("unet256", "64"), ("unet256", "16")}


def test_python_and_packages_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [["Python", project["requires-python"]]]
    wanted += [["package", package] for package in project["dependencies"]]
    assert rows_after("| needed |") == wanted
    assert f"Python {project['requires-python'].replace('>=', '>= ')}" in README


def test_two_commands_set_everything_up_and_ci_runs_the_second() -> None:
    block = re.search(r"```sh\n(.*?)```", README, re.S)
    assert block is not None
    assert block[1].splitlines() == [
        "pip install . && gancomp demo",
        'pip install ".[test]" && python -m pytest -n 2 --dist loadfile',
    ]
    script = (ROOT / ".ci" / "run").read_text()
    pattern = re.search(r"sed -n 's/(.*?)//p' README\.md", script)
    assert pattern is not None
    prefix = pattern[1].replace("\\", "")
    assert prefix == '^pip install ".[test]" && '
    assert [line for line in README.splitlines() if line.startswith(prefix[1:])] == [
        block[1].splitlines()[1]
    ]


def local_links(page: str) -> list[tuple[Path, str]]:
    """File and heading (or nothing) that the page's links to the repository lead to."""
    links = re.findall(r"\]\(((?!http)[^)#]*)(?:#([^)]+))?\)", DOCUMENTS[page])
    here = ROOT / page
    return [((here.parent / file).resolve() if file else here, anchor) for file, anchor in links]


def anchors(document: Path) -> set[str]:
    """The names of its headings, as they stand in links."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", DOCUMENTS)
def test_each_link_to_a_file_of_the_repository_leads_somewhere(page: str) -> None:
    for file, anchor in local_links(page):
        assert file.exists(), file
        assert not anchor or anchor in anchors(file), f"{file}#{anchor}"


def test_readme_is_short_and_links_every_page() -> None:
    assert len(README.splitlines()) <= 150
    linked = {file for file, _ in local_links("README.md")}
    assert {ROOT / page for page in DOCUMENTS} - {ROOT / "README.md"} <= linked


PYTHON_BLOCKS = [
    pytest.param(textwrap.dedent(block), id=f"{page}-{number}")
    for page, text in DOCUMENTS.items()
    for number, block in enumerate(re.findall(r"^ *```python\n(.*?)^ *```", text, re.S | re.M))
]


@pytest.mark.parametrize("block", PYTHON_BLOCKS)
def test_each_piece_of_python_in_the_documents_runs(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "onnxruntime" in block:
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package, reason="needs the extra onnx")
    if "executorch" in block:
        pytest.importorskip("executorch", reason="needs the extra executorch")
    monkeypatch.chdir(tmp_path)
    network = build_network("mobile-resnet6", width=4)
    about: Any = {"role": "student", "task": "unpaired", "step": 0, "method": None, "dataset": None}
    save_model(tmp_path / "student.safetensors", network, input_size=64, **about)
    Image.new("RGB", (64, 48), "teal").save("horse.jpg")
    known = set(NETWORKS)
    exec(compile(block, "document", "exec", dont_inherit=True), {"__name__": "__main__"})
    for own in set(NETWORKS) - known:
        del NETWORKS[own]  # what a document hands over is none of gancomp's for other tests
    if "zebra.png" in block:
        with Image.open("zebra.png") as image:
            assert image.size == (64, 48)


def test_the_picture_was_made_with_the_demos_settings_and_the_readme_says_its_scores() -> None:
    script = runpy.run_path(str(ROOT / "examples" / "demo_picture.py"))
    made = json.loads((ROOT / "examples" / "demo.json").read_text())
    assert made["settings"] == script["settings"](), "python examples/demo_picture.py"
    assert script["with_caption"](README, made) == README
    assert script["caption"](made) in README
    picture = ROOT / "examples" / "demo.png"
    assert picture.stat().st_size < 200_000
    with Image.open(picture) as image:
        assert image.size == (3 * 128, 6 * 128)


def test_the_changelog_names_each_command() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    groups = ("data", "bench")
    names = [name for name in COMMANDS.commands if name not in groups]
    names += [f"{group} {name}" for group in groups for name in COMMANDS.commands[group].commands]
    assert len(names) >= 11
    assert [name for name in names if f"`gancomp {name}`" not in changelog] == []


def test_every_switch_of_the_comparison_page_is_a_training_option() -> None:
    flags = {flag for option in all_options() for flag in option.flag.split("/")}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", PAPER_VS_CODE))
    assert len(named) > 20
    assert named <= flags
