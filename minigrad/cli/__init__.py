"""The command line: `python -m minigrad train | eval | predict | convert | summary | graph | info`.

Each command is a module here: `TEXT` (one line of help), `EXAMPLES`, `options(parser)` and `run(**options)`, which
returns the exit status: 0 when it worked, 1 when training had to stop, 2 for a mistake in what was asked for, 130 after
Ctrl-C. A mistake is one line on standard error; `--debug` or MINIGRAD_DEBUG=1 shows the traceback too.
"""

import argparse
import codecs
import contextlib
import io
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import NoReturn

import minigrad as mg
from minigrad import backend
from minigrad.cli import convert, evaluate, graph, info, predict, summary, train
from minigrad.cli.errors import UsageError, one_line
from minigrad.training import TrainingError

COMMANDS = {
    "train": train,
    "eval": evaluate,
    "predict": predict,
    "convert": convert,
    "summary": summary,
    "graph": graph,
    "info": info,
}


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    >>> main(["info"])  # doctest: +SKIP
    0
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        with _every_name(), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            options = vars(_parser().parse_args(arguments))
            options.pop("debug", None)
            status: int = options.pop("run")(**options)
            sys.stdout.flush()
            return status
    except SystemExit as stop:  # argparse, after --help and --version
        return int(stop.code or 0)
    except KeyboardInterrupt as stop:
        print(f"\nminigrad: {stop or 'stopped'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output, head perhaps, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError as error:
        print(
            f"minigrad: error: the memory ran out{f': {one_line(error)}' if str(error) else ''}; use smaller images or batches",
            file=sys.stderr,
        )
        return 1
    except (UsageError, ValueError, OSError, backend.BackendError, TrainingError) as error:
        if "--debug" in arguments or os.environ.get("MINIGRAD_DEBUG", "0") not in ("", "0"):
            traceback.print_exc()
        print(f"minigrad: error: {one_line(error)}", file=sys.stderr)
        return 1 if isinstance(error, TrainingError) else 2


@contextlib.contextmanager
def _every_name() -> Iterator[None]:
    """Standard output takes every file's name, as the bytes that it is, and UTF-8 where the locale says nothing."""
    out = sys.stdout
    if not isinstance(out, io.TextIOWrapper):
        yield
        return
    encoding, errors = out.encoding, out.errors
    ascii_only = codecs.lookup(encoding).name == "ascii"
    out.reconfigure(encoding="utf-8" if ascii_only else encoding, errors="surrogateescape")
    try:
        yield
    finally:
        out.reconfigure(encoding=encoding, errors=errors)


def _parser() -> Parser:
    parser = Parser(prog="minigrad", description="Train and use PVT v2. Each command has its own --help.")
    parser.add_argument("--version", action="version", version=f"minigrad {mg.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=command.TEXT,
            description=command.TEXT[0].upper() + command.TEXT[1:] + ".",
            epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
        )
        sub.set_defaults(run=command.run)
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.options(sub)
    return parser


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"minigrad: warning: {one_line(message)}", file=sys.stderr)
