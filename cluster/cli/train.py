"""`lorikeet train`: fine-tunes, from a data file to an adapter that answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.connection import Connection, connect
from cluster.cli.files import upload_file
from cluster.cli.options import Home, Json, Key, Url
from cluster.cli.output import complain, moment, note, print_json, print_table, say
from cluster.cli.train_progress import follow

app = typer.Typer(help="Submit, watch and cancel fine-tunes.", no_args_is_help=True)
PATH = "/v1/fine_tuning/jobs"
JobId = Annotated[str, typer.Argument(help="As `train list` names it.")]


@app.command()
def submit(
    data: Annotated[str, typer.Argument(help="A JSONL file, or the id of an uploaded one.")],
    model: Annotated[str, typer.Option("--model", "-m", help="The base model.")],
    suffix: Annotated[str | None, typer.Option(help="Goes into the adapter's name.")] = None,
    validation: Annotated[str | None, typer.Option(help="A file or an id, like DATA.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Suits the data unless given.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Suits the data unless given.")] = None,
    learning_rate_multiplier: Annotated[
        float | None, typer.Option(help="Times the rate that suits the model.")
    ] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")] = False,
    home: Home = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Upload the data if it is a file, and start a fine-tune."""
    connection = connect(home, url, key)
    body: dict[str, Any] = {"model": model, "training_file": _file_id(connection, data)}
    if validation is not None:
        body["validation_file"] = _file_id(connection, validation)
    if suffix is not None:
        body["suffix"] = suffix
    if seed is not None:
        body["seed"] = seed
    asked = {
        "n_epochs": epochs,
        "batch_size": batch_size,
        "learning_rate_multiplier": learning_rate_multiplier,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    if given:
        body["method"] = {"type": "supervised", "supervised": {"hyperparameters": given}}
    job = connection.post(PATH, json=body)
    if watch:
        note(f"Job {job['id']}")
        job = _follow(connection, job["id"], show=not as_json)
    told = (job["fine_tuned_model"] or job["status"]) if watch else job["id"]
    print_json(job) if as_json else say(told)
    _exit_by(job, watched=watch)


@app.command()
def watch(
    job_id: JobId, home: Home = None, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """Follow a job to its end: progress, loss, time left. Ctrl-C leaves it running."""
    job = _follow(connect(home, url, key), job_id, show=not as_json)
    print_json(job) if as_json else say(job["fine_tuned_model"] or job["status"])
    _exit_by(job, watched=True)


@app.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option(min=1)] = 20,
    home: Home = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    rows = connect(home, url, key).pages(PATH, limit)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ID", "STATUS", "MODEL", "RESULT", "CREATED"),
        (
            (r["id"], r["status"], r["model"], r["fine_tuned_model"], moment(r["created_at"]))
            for r in rows
        ),
    )


@app.command()
def show(
    job_id: JobId, home: Home = None, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """Show one job."""
    job = connect(home, url, key).get(f"{PATH}/{job_id}")
    if as_json:
        print_json(job)
    else:
        print_table(("FIELD", "VALUE"), ((k, v) for k, v in job.items() if v not in (None, [], {})))


@app.command()
def cancel(
    job_id: JobId, home: Home = None, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """Cancel a job, whatever it is at."""
    job = connect(home, url, key).post(f"{PATH}/{job_id}/cancel")
    print_json(job) if as_json else say(f"{job_id} {job['status']}")


@app.command()
def events(
    job_id: JobId,
    limit: Annotated[int, typer.Option(min=1)] = 100,
    home: Home = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Show a job's events, oldest first."""
    rows = connect(home, url, key).pages(f"{PATH}/{job_id}/events", limit)[::-1]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        say(f"{moment(row['created_at'])}  {row['level']:<5}  {row['message']}")


@app.command()
def checkpoints(
    job_id: JobId, home: Home = None, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """List a job's checkpoints."""
    rows = connect(home, url, key).pages(f"{PATH}/{job_id}/checkpoints", 1000)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ID", "STEP", "METRICS", "CREATED"),
        ((r["id"], r["step_number"], r.get("metrics"), moment(r["created_at"])) for r in rows),
    )


def _file_id(connection: Connection, data: str) -> str:
    """`data` if it is an id already; else the id of the file, uploaded now."""
    path = Path(data)
    if data.startswith("file-") and not path.exists():
        return data
    found = upload_file(connection, path, "fine-tune")
    note(f"Uploaded {path.name} as {found['id']}.")
    return str(found["id"])


def _follow(connection: Connection, job_id: str, *, show: bool) -> dict[str, Any]:
    try:
        return follow(connection, f"{PATH}/{job_id}", show=show)
    except KeyboardInterrupt:
        note(f"It goes on without you: lorikeet train watch {job_id}")
        raise


def _exit_by(job: dict[str, Any], *, watched: bool) -> None:
    if watched and job["status"] != "succeeded":
        error = (job.get("error") or {}).get("message")
        complain(f"The job {job['status']}" + (f": {error}" if error else "."))
        raise typer.Exit(1)
