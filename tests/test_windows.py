"""What Windows lacks is taken away from a process, which does the usual things all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from commands import SMALL

from gancomp.data.demo_set import write_demo_set

WITHOUT = """
import json, multiprocessing.resource_tracker, os, signal, sys
import torch, typer, torch.utils.data, gancomp.__main__  # what they need themselves stays
absent = {"fcntl", "resource", "pwd", "grp", "termios"}
for name in absent:
    sys.modules[name] = None
for name in ("register_at_fork", "sync", "statvfs", "getuid", "getpgid", "killpg", "fchmod"):
    delattr(os, name)
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGPIPE", "pthread_sigmask",
             "sigwaitinfo", "siginterrupt", "setitimer"):
    delattr(signal, name)
multiprocessing.set_start_method("spawn")
multiprocessing.resource_tracker._HAVE_SIGMASK = False
import gancomp.memory
gancomp.memory.physical_memory = gancomp.memory.peak_memory = lambda: 8 * 2**30
original = os.open
def open_no_folder(path, *arguments, **more):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied")
    return original(path, *arguments, **more)
os.open = open_no_folder
def no_link(*arguments, **more):
    raise OSError(1314, "A required privilege is not held by the client")
os.symlink = no_link
for command in json.loads(sys.argv[1]):
    print(command, gancomp.__main__.run(command), flush=True)
"""


def test_the_usual_commands_work_without_what_only_unix_has(tmp_path: Path) -> None:
    write_demo_set(tmp_path / "toy", size=32, train=3, test=1)
    pretrain = ["pretrain", "--dataset", "toy", *SMALL.split(), "--out", "run"]
    # a cache would be shared by forking
    resumed = ["--resume", "--max-steps", "2", "--workers", "1", "--cache", "off"]
    commands = [
        pretrain,
        [*pretrain, *resumed],
        ["translate", "run", "toy/testA", "-o", "new"],
        ["export", "run", "-o", "x.safetensors"],
        ["data", "check", "toy"],
    ]
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT, json.dumps(commands)],
        cwd=tmp_path,
        check=False,
        timeout=300,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    assert all(f"{command} 0\n" in found.stdout for command in commands), found.stderr
    assert found.stderr.count("runs/latest: not updated") == 2
    assert found.stderr.count("warning: ") == 1  # no locks: msvcrt is what Windows has instead
    assert not list((tmp_path / "run").rglob("*.owner"))
    assert (tmp_path / "run" / "checkpoints" / "step_00000002").is_dir()
