"""Commands as processes of their own: logged, limited in time, gone when their parent is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # gancomp need not be installed: who imports this first finds it
    sys.path.insert(0, str(ROOT))
PR_SET_PDEATHSIG = 1
POLL_S, GRACE_S = 0.2, 45.0
BRIEF_S = 5.0  # grace of what saves nothing at its end
STUCK_S = 10.0  # after SIGKILL: what is still there hangs in a driver, and is left
TAIL = 2000  # characters of the output that are kept of what failed


class StoppedError(Exception):
    """SIGINT or SIGTERM came; the command that was running has ended."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: its exit status, negative for a signal's number.
        seconds: it took.
        out: what it wrote to stdout.
        tail: the end of what it wrote to stderr.
        cut: whether it was ended for its time.
    """

    status: int
    seconds: float
    out: str
    tail: str
    cut: bool


class Children:
    """Runs commands one at a time.

    Args:
        log: file to which all that they say is added; its folder is where they work.
        environment: variables beside those of this process.
    """

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self.log = log
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        self.environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        self.stopped = False

    def listen(self) -> None:
        """From now on SIGINT and SIGTERM end what is running, then this process."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        self.stopped = True

    def run(
        self,
        *arguments: str,
        seconds: float,
        grace: float = GRACE_S,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Ended:
        """`python ARGUMENTS`, in the background of `meanwhile`.

        Args:
            arguments: its words.
            seconds: until it gets SIGTERM, at which gancomp saves its state.
            grace: seconds from there to SIGKILL.
            meanwhile: called several times a second.

        Raises:
            StoppedError: after a signal to this process.
        """
        began = time.monotonic()
        out, err = self.log.with_suffix(".out"), self.log.with_suffix(".err")
        with out.open("w") as out_file, err.open("w") as err_file:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.log.parent,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
            cut = self._wait(process, began + seconds, grace, meanwhile)
        said, complained = (path.read_text(errors="replace") for path in (out, err))
        status = -signal.SIGKILL if process.returncode is None else process.returncode
        ended = Ended(status, time.monotonic() - began, said, complained[-TAIL:], cut)
        with self.log.open("a") as file:
            file.write(f"$ python {' '.join(arguments)}\n{complained}{said}")
            file.write(f"[status {ended.status}, {ended.seconds:.1f} s{', cut' * cut}]\n")
        if self.stopped:
            raise StoppedError
        return ended

    def _wait(
        self,
        process: subprocess.Popen[bytes],
        deadline: float,
        grace: float,
        meanwhile: Callable[[], object],
    ) -> bool:
        """Waits for the process; whether it had to be told to stop."""
        told: float | None = None
        try:
            while process.poll() is None:
                now = time.monotonic()
                if told is None and (self.stopped or now > deadline):
                    told = now
                    process.terminate()
                elif told is not None and now > told + grace + STUCK_S:
                    break
                elif told is not None and now > told + grace:
                    process.kill()
                meanwhile()
                time.sleep(POLL_S)
        finally:
            with contextlib.suppress(
                ProcessLookupError
            ):  # workers, sides of a benchmark, compilers
                os.killpg(process.pid, signal.SIGKILL)
        return told is not None


def _die_with_parent() -> None:
    """Where the system can, has this process killed with its parent: what it wrote is whole."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
