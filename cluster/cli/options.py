"""Options that several commands share, with one wording each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Home = Annotated[
    Path | None,
    typer.Option(
        "--home", help="Data directory.", envvar="LORIKEET_HOME", show_default="~/.lorikeet"
    ),
]
Url = Annotated[
    str | None,
    typer.Option("--url", help="Address of the endpoint, if not that of the home's product."),
]
Key = Annotated[
    str | None,
    typer.Option("--key", help="API key, if not LORIKEET_API_KEY or the home's admin key."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, errors too; nothing else is said.")]
