"""Commands about models: publish, serve, score."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lineshaft.cli.outcome import reported
from lineshaft.cli.output import AsJson, document, own_output, say
from lineshaft.errors import UsageError

if TYPE_CHECKING:
    from lineshaft.core.artifact import Artifact
    from lineshaft.core.home import Home

Name = Annotated[str, typer.Argument(help="A published name, say reviews@live.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("publish")(reported(publish))
    app.command("serve")(reported(serve))
    app.command("score")(reported(score))


def publish(
    name: Name,
    previous: Annotated[bool, typer.Option("--previous", help="Go back to what was published before.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a name points at and pointed at, or point it back; scripts publish with run.publish."""
    from lineshaft.core import names
    from lineshaft.core.home import Home

    home = Home()
    if previous:
        _published(home, name)
        names.go_back(home.catalog, name)
    found, past = _published(home, name), names.entries(home.catalog, name)
    if as_json:
        history = [{"digest": entry.digest, "at": entry.at, "run": entry.run, "note": entry.note} for entry in past]
        document({"name": name, "digest": found.digest, "history": history})
        return
    say(f"{name} -> {found}")
    for entry in reversed(past):
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.at))
        say(f"    {when}  {entry.digest[:12]}  {'back to it' if entry.note.get('rollback') else 'published'}")


def serve(
    name: Annotated[list[str], typer.Argument(help="Published names.", metavar="NAME...")],
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help="Holds the token; made (mode 0600) if it is not there. Default: token in the home."),
    ] = None,
    host: Annotated[str, typer.Option(help="Anything but the loopback needs --remote-host.")] = "127.0.0.1",
    remote_host: Annotated[
        list[str] | None, typer.Option(help="Host name under which other machines reach this server.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads for the model.", min=1)] = 1,
    as_json: AsJson = False,
) -> None:
    """Serve published models over HTTP until a signal."""
    from lineshaft.core.home import Home

    home = Home()
    found = {item: _published(home, item) for item in name}

    import torch

    from lineshaft.serve.guard import token_file as read_token
    from lineshaft.serve.server import serve as run_server
    from lineshaft.serve.stored import open_model

    torch.set_num_threads(threads)
    token = read_token(token_file or home.folder / "token")
    with own_output(alone=as_json) as stdout:

        def announce(names: list[str], url: str) -> None:
            if as_json:
                document({"serving": names, "url": url}, to=stdout)
            else:
                say(f"serving {', '.join(names)} on {url}")

        models = {item: open_model(home, artifact) for item, artifact in found.items()}
        hosts = tuple(remote_host or ())
        run_server(models, token=token, host=host, port=port, remote_hosts=hosts, announce=announce)


def score(
    name: Name,
    data: Annotated[list[Path], typer.Argument(help="Parquet, CSV or JSON lines files.", metavar="DATA...")],
    out: Annotated[Path, typer.Option(help="Folder for the parts; run again to go on.")],
    key: Annotated[list[str] | None, typer.Option(help="Columns that name a row.")] = None,
    max_rejected: Annotated[
        int | None, typer.Option(help="Stop when more rows than this break the schema.", min=0)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict every row of files into a folder of Parquet files."""
    from lineshaft.core.events import listening
    from lineshaft.core.home import Home
    from lineshaft.serve.score import score as run_score
    from lineshaft.serve.stored import open_model
    from lineshaft.ui.console import Console

    home = Home()
    artifact = _published(home, name)
    with own_output(alone=as_json), Console(quiet=as_json) as console, listening(console.hear):
        served = open_model(home, artifact)
        done = run_score(served, [str(path) for path in data], out, key=key or None, max_rejected=max_rejected)
    if as_json:
        counts = {"parts": done.parts, "reused": done.reused, "rows": done.rows, "rejected": done.rejected}
        document({"model": artifact.digest, **counts, "out": str(out)})
    else:
        say(f"{done.rows} rows in {done.parts} parts ({done.reused} were there), {done.rejected} rejected: {out}")


def _published(home: Home, name: str) -> Artifact:
    """Look a name up, or say which there are."""
    from lineshaft.core import names

    found = names.look_up(home.catalog, name)
    if found is None:
        known = ", ".join(names.all_names(home.catalog)) or "no names"
        raise UsageError(f"nothing is published as {name!r}; there are {known}")
    return found
