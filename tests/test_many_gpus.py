"""The scripts for many GPUs and machines, and the page's figures."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import rank_runs
import tiny_runs
import torchruns
import typer
from torch.distributed.run import get_args_parser

from gancomp.cli import app
from gancomp.data.demo_set import write_demo_set
from gancomp.engine.run import read_metrics
from gancomp.registry import build_network

EXAMPLES = Path(__file__).parents[1] / "examples"
MACHINES, SLURM = EXAMPLES / "many_machines.sh", EXAMPLES / "slurm_many_gpus.sh"
COUNTS = EXAMPLES / "many_gpus.json"
PAGE = (EXAMPLES / "many_gpus.md").read_text()


def command_of(script: Path, first: str) -> list[str]:
    """The words of the command that begins with `first`, variables as they stand there."""
    text = script.read_text().replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if re.match(rf"(exec )?{first} ", line)]
    return shlex.split(line)


def torchruns_words() -> list[str]:
    """What torchrun is given on each machine, with the script's defaults."""
    words = command_of(MACHINES, "torchrun")[2:-1]
    return [re.sub(r"^\$\{\w+:-(\w+)\}$", r"\1", word) for word in words]


def parsed(arguments: list[str]) -> dict[str, Any]:
    commands: Any = typer.main.get_command(app)
    name, *rest = arguments
    found: dict[str, Any] = commands.commands[name].make_context(name, rest).params
    return found


@pytest.mark.parametrize("script", [MACHINES, SLURM])
def test_the_shell_understands_the_script(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


def test_torchrun_and_gancomp_understand_what_each_machine_starts() -> None:
    words = [
        re.sub(r"^\$\{\w+:-(\w+)\}$", r"\1", word) for word in command_of(MACHINES, "torchrun")
    ]
    given = get_args_parser().parse_args(words[words.index("torchrun") + 1 : -1])
    assert (given.nnodes, given.nproc_per_node, given.rdzv_backend) == ("2", "8", "c10d")
    assert [given.training_script, *given.training_script_args] == ["gancomp", "distill"]


def test_slurm_and_gancomp_understand_the_job() -> None:
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", SLURM.read_text(), re.M))
    assert len(asked) == len(re.findall("^#SBATCH", SLURM.read_text(), re.M))
    assert asked["ntasks-per-node"] == "1", "torchrun starts the others"
    words = command_of(SLURM, "srun")
    assert words[:4] == ["srun", "sh", MACHINES.name, "$HOST:29500"]
    given = parsed(["distill", *words[4:]])
    processes = int(asked["nodes"]) * int(asked["gpus-per-node"])
    assert given["batch_size"] % processes == 0
    assert given["workers"] * int(asked["gpus-per-node"]) <= int(asked["cpus-per-task"])


@pytest.mark.slow
def test_two_machines_train_one_run(tmp_path: Path) -> None:
    write_demo_set(tmp_path / "toys", size=32, train=5, test=2)
    run, endpoint = tmp_path / "run", f"localhost:{torchruns.free_port()}"
    more = ["--batch-size", "2", "--rank-timeout", "60", "--max-steps", "2"]
    typed = tiny_runs.arguments(tmp_path / "toys", run, *more)
    words = [word.replace("$endpoint", endpoint) for word in torchruns_words()]
    words[words.index("--nproc-per-node") + 1] = "1"
    logs = [tmp_path / name for name in ("first", "second")]
    machines = [
        rank_runs.context.Process(target=rank_runs.machine, args=(words, typed, log))
        for log in logs
    ]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join(tiny_runs.PATIENCE_S)
        machine.kill()
    said = [log.read_text() for log in logs]
    assert [machine.exitcode for machine in machines] == [0, 0], said
    assert sum("written:" in text for text in said) == 1, "one of them speaks"
    assert [record["step"] for record in read_metrics(run)] == [1, 2]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / "many_gpus_table.py"))


def test_the_figures_of_the_page_are_those_of_the_script(script: dict[str, Any]) -> None:
    kept = json.loads(COUNTS.read_text())
    costs = {name: script["Counted"](**row) for name, row in kept.items()}
    assert costs.keys() == script["CASES"].keys()
    assert script["count_table"](costs) in PAGE
    assert script["model_table"](costs, script["Cluster"]()) in PAGE


def test_a_step_is_counted_as_one_of_two_ranks_takes_it(
    script: dict[str, Any], tmp_path: Path
) -> None:
    name = "dcd, unpaired, 256 px"
    small = {"width": 4, "student_width": 2, "d_width": 2, "d_layers": 1, "perceptual": "none"}
    cost = script["counted"](script["CASES"][name], tmp_path, size=64, **small)
    known = json.loads(COUNTS.read_text())[name]
    collectives = [{kind: row[kind] for kind in ("sums", "gathers", "every")}
                   for row in (*cost.phases.values(), *known["phases"].values())]  # fmt: skip
    assert collectives[:3] == collectives[3:]
    pools = 3 * 3 * 64 * 64 * 4  # of the fakes of both teachers and of the student
    assert cost.phases["discriminator"]["gather_bytes"] == pools
    assert cost.operations > 0
    teacher = build_network("mobile-resnet9", width=64)
    weights = sum(parameter.numel() for parameter in teacher.parameters())
    assert known["phases"]["teacher"]["sum_bytes"] == pytest.approx(2 * 4 * weights, rel=1e-3)


def test_what_more_gpus_cost_in_the_model(script: dict[str, Any]) -> None:
    cost = script["Counted"](
        {}, sums=4, sum_bytes=4e8, gathers=1, gather_bytes=1e6, operations=1e12
    )
    cluster = script["Cluster"](machine_gbs=100, network_gbs=10, machine_us=0, network_us=0,
                                agreement_us=0)  # fmt: skip
    on_one = script["collectives_s"](cost, cluster, 8, 2)
    # 2 * 7 / 8 of 0.4 GB by 100 GB/s, and twice a megabyte from each of seven
    assert on_one == pytest.approx(0.007 + 0.00014)
    on_two = script["collectives_s"](cost, cluster, 16, 2)
    assert on_two == pytest.approx(on_one + 0.04 + 8 * 0.0002)
    assert script["computing_s"](cost, cluster, 2) == pytest.approx(0.1)
