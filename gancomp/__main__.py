"""The entry point: runs the command line and turns errors into one line and an exit status."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from gancomp.console import Stream, guarded_streams, open_closed_streams
from gancomp.errors import (
    DEFECTS,
    ConfigError,
    GancompError,
    explain_lack_of_device,
    explain_memory,
    explain_system_error,
    printable,
)
from gancomp.flags import as_typed
from gancomp.launch import has_agent, num_ranks, own_rank, voice
from gancomp.signals import stop_with_parent

# what several processes do together
SHARED = ("distill", "pretrain", "eval", "eval-fid", "eval-sr", "generate", "translate")
OBJECTS_BETWEEN_COLLECTIONS = 10_000  # Python 3.11's own choice is 700


def main() -> None:
    """Runs the command line; leaves with 0, 2 (the user can fix it), 1 (ours) or 130."""
    # importing torch makes so many objects that looking for garbage among them takes 0.2 s of 2.6,
    # and 0.3 s more in the end, when the system takes the memory back anyway
    open_closed_streams()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    status = run(sys.argv[1:])
    if "triton" not in sys.modules:  # which prints a list of all that was not collected
        gc.freeze()
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit status."""
    if has_agent():
        stop_with_parent()  # at once: torch takes seconds to import
    with guarded_streams(), one_voice():
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    try:
        return _command(arguments)
    except GancompError as error:
        return fail(str(error), 2)
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except OSError as error:
        if error.errno in DEFECTS:
            raise
        return fail(explain_system_error(error), 2)
    except Exception as error:
        if type(error).__name__ == "InterruptedRunError":
            return fail(str(error), 130)
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            return fail(explain_usage(error), 2)
        if message := explain_memory(error) or explain_lack_of_device(error):
            return fail(message, 2)
        if type(error).__name__ == "Abort":
            return fail("interrupted", 130)
        if str(error).startswith("Symlink loop"):  # what Python 3.11 makes of the system's error
            return fail(f"{error}; its links lead in a circle", 2)
        raise


def _command(arguments: list[str]) -> int:
    from gancomp.plugins import load_plugins

    arguments = load_plugins(arguments)
    refuse_ranks(arguments)
    from gancomp.cli import app
    from gancomp.commands import parser_of

    command = parser_of(app)
    try:
        result = command.main(arguments, prog_name="gancomp", standalone_mode=False)
        sys.stdout.flush()
        if result == 130:  # the parser caught the interrupt before us
            return fail("interrupted", 130)
        return result if isinstance(result, int) else 0
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):
            # the parser leaves so at any broken pipe; ours are guarded, so it is a worker's, say
            raise error.__context__ from None
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
            return 1
        return error.code or 0


def refuse_ranks(arguments: list[str]) -> None:
    """Raises ConfigError if torchrun started several processes of a command for one."""
    command = next((word for word in arguments if not word.startswith("-")), None)
    if num_ranks() == 1 or command in SHARED or {"--help", "--version"} & set(arguments):
        return
    raise ConfigError(
        f"torchrun: {num_ranks()} processes were started, but gancomp {command or ''} is the work "
        f"of one; start it without torchrun, which is for {', '.join(SHARED[:-1])} and {SHARED[-1]}"
    )


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Of several processes that torchrun started, only the first one is heard in the block.

    What it prints, it prints for all; where it is gone, the next one says so. A traceback, which is
    a defect of ours, comes after the block and is anyone's.
    """
    if num_ranks() > 1:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # lost connections are told by us
    voice.of_command, voice.speaks = True, own_rank() == 0
    heard = sys.stderr
    try:
        if voice.speaks:
            yield
            return
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            told = Stream(lambda: heard if voice.speaks else nowhere, needed=False)
            with (
                contextlib.redirect_stdout(nowhere),
                contextlib.redirect_stderr(cast(TextIO, told)),
            ):
                yield
    finally:
        voice.of_command = False


def explain_usage(error: Any) -> str:
    """What the command line parser complains about, the value it means, and where help is."""
    message = str(error.format_message()).strip().rstrip(".?")
    # some versions of the parser leave out what was typed
    details: Any = getattr(error.__cause__, "errors", list)()
    if details and "input" in details[0]:
        message += f" (got {details[0]['input']!r})"
    context = getattr(error, "ctx", None)
    return f"{message}; see {context.command_path if context else 'gancomp'} --help"


def fail(message: str, status: int) -> int:
    """Prints `error: …` as one line on stderr."""
    print("error: " + printable(as_typed(" ".join(message.split()))), file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
