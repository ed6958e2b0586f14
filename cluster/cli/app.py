"""The command `lorikeet`: its nouns, and how an error ends it.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import sys

import httpx
import typer

from cluster.cli import adapters, chat, down, files, keys, models, status, train, up
from cluster.cli.output import complain
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
app.add_typer(keys.app, name="keys")


def main() -> None:
    try:
        app()
    except LorikeetError as error:
        complain(error.message)
        sys.exit(1)
    except httpx.HTTPError as error:
        complain(f"The connection failed: {error or type(error).__name__}.")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader has seen enough (`| head`). Nothing is left to flush to.
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        complain(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
