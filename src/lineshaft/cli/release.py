"""Commands about models: publish, serve, score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lineshaft.cli.output import AsJson, document, say
from lineshaft.errors import UsageError

Name = Annotated[str, typer.Argument(help="A published name, say reviews@live.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("publish")(publish)
    app.command("serve")(serve)
    app.command("score")(score)


def publish(
    name: Name,
    previous: Annotated[bool, typer.Option("--previous", help="Go back to what was published before.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a name points at and pointed at, or point it back; scripts publish with run.publish."""
    from lineshaft.core import names
    from lineshaft.core.home import Home

    catalog = Home().catalog
    if previous:
        names.go_back(catalog, name)
    found = names.look_up(catalog, name)
    if found is None:
        raise UsageError(
            f"nothing is published as {name!r}; there are {', '.join(names.all_names(catalog)) or 'no names'}"
        )
    past = names.entries(catalog, name)
    if as_json:
        document(
            {
                "name": name,
                "digest": found.digest,
                "history": [{"digest": e.digest, "at": e.at, "note": e.note} for e in past],
            }
        )
        return
    say(f"{name} -> {found}")
    for entry in reversed(past):
        say(f"    {entry.digest[:12]}  {'back to it' if entry.note.get('rollback') else 'published'}")


def serve(
    name: Annotated[list[str], typer.Argument(help="Published names.", metavar="NAME...")],
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8000,
    token_file: Annotated[Path, typer.Option(help="Holds the token; made (mode 0600) if it is not there.")] = Path(
        ".lineshaft-token"
    ),
    host: Annotated[str, typer.Option(help="Anything but the loopback needs --remote-host.")] = "127.0.0.1",
    remote_host: Annotated[
        list[str] | None, typer.Option(help="Host name under which other machines reach this server.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads for the model.", min=1)] = 1,
    as_json: AsJson = False,
) -> None:
    """Serve published models over HTTP until a signal."""
    import torch

    from lineshaft.core import names
    from lineshaft.core.home import Home
    from lineshaft.serve.guard import token_file as read_token
    from lineshaft.serve.server import serve as run_server
    from lineshaft.serve.stored import open_model

    torch.set_num_threads(threads)
    home = Home()
    found = {item: names.look_up(home.catalog, item) for item in name}
    if missing := [item for item, artifact in found.items() if artifact is None]:
        raise UsageError(
            f"nothing is published as {missing[0]!r}; there are {', '.join(names.all_names(home.catalog)) or 'no names'}"
        )
    models = {item: open_model(home, artifact) for item, artifact in found.items() if artifact is not None}

    def announce(names_: list[str], url: str) -> None:
        if as_json:
            document({"serving": names_, "url": url})
        else:
            say(f"serving {', '.join(names_)} on {url}")
        typer.get_text_stream("stdout").flush()

    run_server(
        models,
        token=read_token(token_file),
        host=host,
        port=port,
        remote_hosts=tuple(remote_host or ()),
        announce=announce,
    )


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
    from lineshaft.core import names
    from lineshaft.core.events import listening
    from lineshaft.core.home import Home
    from lineshaft.serve.score import score as run_score
    from lineshaft.serve.stored import open_model
    from lineshaft.ui.console import Console

    home = Home()
    artifact = names.look_up(home.catalog, name)
    if artifact is None:
        raise UsageError(
            f"nothing is published as {name!r}; there are {', '.join(names.all_names(home.catalog)) or 'no names'}"
        )
    served = open_model(home, artifact)
    with Console(quiet=as_json) as console, listening(console.hear):
        done = run_score(served, [str(path) for path in data], out, key=key or None, max_rejected=max_rejected)
    if as_json:
        document(
            {
                "model": artifact.digest,
                "parts": done.parts,
                "rows": done.rows,
                "rejected": done.rejected,
                "out": str(out),
            }
        )
    else:
        say(f"{done.rows} rows in {done.parts} parts ({done.reused} were there), {done.rejected} rejected: {out}")
