"""`lorikeet train`: fine-tunes, from a data file to an adapter that answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cluster.cli.command import command, line
from cluster.cli.connection import Answer, Connection, RequestFailed, RequestRefused
from cluster.cli.files import delete_file, upload_file
from cluster.cli.output import note, say
from cluster.cli.table import Row, moment, print_fields, table
from cluster.cli.train_progress import follow
from cluster.errors import InvalidRequest, LorikeetError

app = typer.Typer(help="Submit, watch, pause and cancel fine-tunes.", no_args_is_help=True)
PATH = "/v1/fine_tuning/jobs"
JobId = Annotated[str, typer.Argument(help="As `train list` names it.")]


class JobEnded(LorikeetError):
    """Otherwise than with an adapter."""

    code = "job_ended"


def _tell_result(job: Answer) -> None:
    say(job.get("fine_tuned_model") or job["id"])


def _require_result(job: Answer) -> None:
    if job["status"] in ("failed", "cancelled"):
        error = job.get("error") or {}
        why = error.get("message")
        told = f"The job {job['status']}" if job["status"] == "failed" else "The job was cancelled"
        raise JobEnded(f"{told}: {why}" if why else f"{told}.", code=error.get("code"))


@command(app, _tell_result, judge=_require_result)
def submit(
    connection: Connection,
    data: Annotated[str, typer.Argument(help="A JSONL file, or the id of an uploaded one.")],
    model: Annotated[str, typer.Option("--model", "-m", help="The base model.")],
    suffix: Annotated[str | None, typer.Option(help="Goes into the adapter's name.")] = None,
    validation: Annotated[str | None, typer.Option(help="A file or an id, like DATA.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Suits the data unless given.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Suits the data unless given.")] = None,
    learning_rate_multiplier: Annotated[
        float | None, typer.Option(help="Times the rate that suits the model.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same data and seed, the same run.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")] = False,
) -> Answer:
    """Upload the data if it is a file, and start a fine-tune; print the job's id.

    With --watch print the new model's name, once it answers.
    """
    hyperparameters = _given(
        n_epochs=epochs, batch_size=batch_size, learning_rate_multiplier=learning_rate_multiplier
    )
    body: dict[str, Any] = {"model": model} | _given(suffix=suffix, seed=seed)
    if hyperparameters:
        body["method"] = {
            "type": "supervised",
            "supervised": {"hyperparameters": hyperparameters},
        }
    with _uploads(connection) as file_id:
        body["training_file"] = file_id(data)
        if validation is not None:
            body["validation_file"] = file_id(validation)
        job = connection.post(PATH, json=body)
    if not watch:
        return job
    note(f"Job {job['id']}")
    return _follow(connection, job["id"])


@command(app, _tell_result, judge=_require_result)
def watch(connection: Connection, job_id: JobId) -> Answer:
    """Follow a job to its end: progress, loss, time left. Ctrl-C leaves it running.

    A paused job is waited for.
    """
    return _follow(connection, job_id)


@command(
    app,
    table(
        {
            "ID": "id",
            "STATUS": "status",
            "MODEL": "model",
            "RESULT": "fine_tuned_model",
            "CREATED": moment("created_at"),
        }
    ),
    name="list",
)
def list_jobs(
    connection: Connection, limit: Annotated[int, typer.Option(min=1)] = 20
) -> list[Answer]:
    """List jobs, newest first."""
    return connection.pages(PATH, limit)


@command(app, print_fields)
def show(connection: Connection, job_id: JobId) -> Answer:
    """Show one job."""
    return connection.get(_path(job_id))


@command(app, line("{id} {status}"))
def cancel(connection: Connection, job_id: JobId) -> Answer:
    """Cancel a job, whatever it is at."""
    return connection.post(_path(job_id, "cancel"))


@command(app, line("{id} {status}"))
def pause(connection: Connection, job_id: JobId) -> Answer:
    """Pause a job; one that runs writes a checkpoint first and goes on from it."""
    job = connection.post(_path(job_id, "pause"))
    if job["status"] == "running":
        note("It pauses when its checkpoint is written.")
    return job


@command(app, line("{id} {status}"))
def resume(connection: Connection, job_id: JobId) -> Answer:
    """Resume a paused job from its last checkpoint."""
    return connection.post(_path(job_id, "resume"))


def _show_events(rows: list[Answer]) -> None:
    at = moment("created_at")
    for row in rows:
        say(f"{at(row)}  {row.get('level', ''):<5}  {row['message']}")


@command(app, _show_events)
def events(
    connection: Connection, job_id: JobId, limit: Annotated[int, typer.Option(min=1)] = 100
) -> list[Answer]:
    """Show a job's newest events, oldest first."""
    return connection.pages(_path(job_id, "events"), limit)[::-1]


def _metrics(row: Row) -> str:
    found = row.get("metrics") or {}
    return "  ".join(f"{name} {value:.4g}" for name, value in found.items() if name != "step")


@command(
    app,
    table(
        {"ID": "id", "STEP": "step_number", "METRICS": _metrics, "CREATED": moment("created_at")}
    ),
)
def checkpoints(
    connection: Connection, job_id: JobId, limit: Annotated[int, typer.Option(min=1)] = 100
) -> list[Answer]:
    """List a job's checkpoints, newest first."""
    return connection.pages(_path(job_id, "checkpoints"), limit)


def _path(job_id: str, *below: str) -> str:
    return "/".join((PATH, quote(job_id, safe=""), *below))


def _given(**asked: Any) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value is not None}


@contextmanager
def _uploads(connection: Connection) -> Iterator[Callable[[str], str]]:
    """What makes an id of DATA, by an upload if it is a file; a refusal takes these back."""
    uploaded: list[str] = []

    def file_id(data: str) -> str:
        path = Path(data)
        if data.startswith("file-") and not path.exists():
            return data
        found = str(upload_file(connection, path, "fine-tune")["id"])
        uploaded.append(found)
        note(f"Uploaded {path.name} as {found}.")
        return found

    try:
        yield file_id
    except (InvalidRequest, RequestRefused):
        for found in uploaded:
            # The refusal is what the user has to read, not that a file stayed behind.
            with suppress(RequestFailed):
                delete_file(connection, found)
                note(f"Deleted {found} again.")
        raise


def _follow(connection: Connection, job_id: str) -> Answer:
    try:
        return follow(connection, _path(job_id))
    except KeyboardInterrupt:
        note(f"It goes on without you: lorikeet train watch {job_id}")
        raise
