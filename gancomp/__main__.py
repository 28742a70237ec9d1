"""The entry point: runs the command line and turns errors into one line and an exit status."""

from __future__ import annotations

import sys

from gancomp.errors import GancompError


def main() -> None:
    """Runs the command line; leaves with 0, 2 (the user can mend it), 1 (ours) or 130."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit status."""
    from typer.main import get_command

    from gancomp.cli import app

    command = get_command(app)
    try:
        result = command.main(arguments, prog_name="gancomp", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except GancompError as error:
        return fail(str(error), 2)
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except BrokenPipeError:
        return 0
    except Exception as error:
        if type(error).__name__ == "InterruptedRunError":
            return fail(str(error), 130)
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            return fail(error.format_message(), 2)
        if type(error).__name__ == "Abort":
            return fail("interrupted", 130)
        raise


def fail(message: str, status: int) -> int:
    """Prints `error: …` as one line on stderr."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
