"""The command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yugen.cli import early

app = typer.Typer(
    help="Yugen: a reactive backend whose functions are Python.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

App = Annotated[Path, typer.Argument(help="The folder of the app package.")]
Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(help="The port of the API.", min=0, max=65535)]
Data = Annotated[Path | None, typer.Option(help="The folder for data. Default: .yugen beside the app.")]
Url = Annotated[str, typer.Option(envvar="YUGEN_URL", help="The server to talk to.")]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit", envvar="YUGEN_LIMITS", help="Another value for a limit, name=value; several times for several."
    ),
]
AdminKey = Annotated[
    str | None,
    typer.Option("--admin-key", envvar="YUGEN_ADMIN_KEY", help="Default: the one in the folder for data."),
]
OwnUrl = Annotated[
    str | None,
    typer.Option("--url", envvar="YUGEN_URL", help="The address for clients. Default: where it listens."),
]


@app.command()
def dev(
    app: App = Path("app"),
    host: Host = "127.0.0.1",
    port: Port = 3210,
    data: Data = None,
    url: OwnUrl = None,
    limits: Limits = None,
) -> None:
    """Run the app for development: reload on save, readable logs, errors in full."""
    early.begin()
    from yugen.cli.serve import serve_forever

    serve_forever(app, host=host, port=port, data=data, url=url, limits=limits, development=True)


@app.command()
def serve(
    app: App = Path("app"),
    host: Host = "0.0.0.0",
    port: Port = 3210,
    data: Data = None,
    url: OwnUrl = None,
    limits: Limits = None,
) -> None:
    """Run the app for production: logs as JSON, errors of functions kept from clients."""
    early.begin()
    from yugen.cli.serve import serve_forever

    serve_forever(app, host=host, port=port, data=data, url=url, limits=limits, development=False)


@app.command()
def run(
    function: Annotated[str, typer.Argument(help="The function: module:name.")],
    args: Annotated[str, typer.Argument(help="Its arguments, as a JSON object.")] = "{}",
    watch: Annotated[bool, typer.Option("--watch", help="Keep a query live and print each new result.")] = False,
    url: Url = "http://127.0.0.1:3210",
) -> None:
    """Call a function of a running app and print its result as JSON."""
    from yugen.cli.run import run_function

    run_function(function, args, watch=watch, url=url)


@app.command()
def why(
    function: Annotated[str | None, typer.Argument(help="Only what happened to this function: module:name.")] = None,
    limit: Annotated[int, typer.Option(help="How many occurrences, the newest.", min=1, max=1000)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print each as a line of JSON.")] = False,
    url: Url = "http://127.0.0.1:3210",
    key: AdminKey = None,
    data: Annotated[Path, typer.Option(help="The folder for data of a server here.")] = Path(".yugen"),
) -> None:
    """Explain what ran again, lost a race or took long of late."""
    from yugen.cli.why import explain

    explain(function, limit=limit, as_json=as_json, url=url, key=key, data=data)


@app.command()
def version() -> None:
    """Print the version."""
    from yugen import __version__

    typer.echo(__version__)


def main() -> None:
    """Runs the command line."""
    app()
