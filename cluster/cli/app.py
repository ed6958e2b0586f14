"""The command `lorikeet`: its nouns, and how an error ends it.

Exit codes: 0 done, 1 failed (in silence where the reader of a pipe has left), 2 wrong usage,
130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import typer

from cluster.cli import (
    adapters,
    aliases,
    budget,
    chat,
    down,
    files,
    keys,
    limits,
    models,
    prices,
    status,
    train,
    up,
    virtual_models,
)
from cluster.cli.output import complain, speak_json
from cluster.errors import LorikeetError

app = typer.Typer(
    name="lorikeet",
    help="Serve language models and their fine-tunes from one OpenAI-compatible endpoint.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(up.up)
app.command("down")(down.down)
app.command("status")(status.status)
app.command("chat")(chat.chat)
app.add_typer(files.app, name="files")
app.add_typer(train.app, name="train")
app.add_typer(models.app, name="models")
app.add_typer(adapters.app, name="adapters")
app.add_typer(aliases.app, name="aliases")
app.add_typer(virtual_models.app, name="virtual-models")
app.add_typer(keys.app, name="keys")
app.add_typer(limits.app, name="limits")
app.add_typer(budget.app, name="budget")
app.add_typer(prices.app, name="prices")


def main() -> None:
    words = sys.argv[1:]
    # Read here, not as an option: an error in the words themselves has the same shape.
    speak_json("--json" in (words[: words.index("--")] if "--" in words else words))
    # A shell may have closed them (`<&-`): then there is no stream at all.
    sys.stdin = sys.stdin or io.TextIOWrapper(io.BytesIO())
    sys.stdout = sys.stdout or io.TextIOWrapper(io.BytesIO())
    sys.stderr = sys.stderr or io.TextIOWrapper(io.BytesIO())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter is no error
    sys.exit(_run(words) or _flush())


def _run(words: Sequence[str]) -> int:
    try:
        code = app(words, prog_name="lorikeet", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except LorikeetError as error:
        complain(error.message, error.code, error.param)
    except typer.TyperException as error:
        if message := error.format_message().strip().rstrip("."):  # else the help has been shown
            complain(f"{message}.{_hint(error)}", "usage")
        return error.exit_code
    except typer.Abort:
        return 130
    except UnicodeError as error:
        complain(f"What was given is not UTF-8 text: {error}.", "not_text")
    except OSError as error:
        _complain_of_system(error)
    return 1


def _flush() -> int:
    """The exit code, once all is said. In silence where the reader has seen enough (`| head`)."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python flushes once more at its end: to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            _complain_of_system(error)
        return 1
    return 0


def _complain_of_system(error: OSError) -> None:
    why = error.strerror or str(error)
    complain(f"{why}: {error.filename}" if error.filename else f"{why}.", "system_error")


def _hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f" See `{context.command_path} --help`." if context else ""


if __name__ == "__main__":
    main()
