"""The command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from yugen.cli import early

_LOCAL_URL = "http://127.0.0.1:3210"


def dev(app: Path, host: str, port: int, data: Path | None, url: str | None, limits: list[str] | None) -> None:
    """Run the app for development: reload on save, readable logs, errors in full."""
    early.begin()
    from yugen.cli.serve import serve_forever

    serve_forever(app, host=host, port=port, data=data, url=url, limits=limits, development=True)


def serve(
    app: Path, host: str, port: int, data: Path | None, url: str | None, limits: list[str] | None, workers: int
) -> None:
    """Run the app for production: logs as JSON, errors of functions kept from clients."""
    if workers > 1:
        from yugen.cli.supervise import serve_in_nodes

        serve_in_nodes(workers, app, host=host, port=port, data=data, url=url, limits=limits)
    early.begin()
    from yugen.cli.serve import serve_forever

    serve_forever(app, host=host, port=port, data=data, url=url, limits=limits, development=False)


def init(folder: Path, template: str) -> None:
    """Make a new app from a template."""
    from yugen.cli.init import make_app

    make_app(folder, template)


def run(function: str, args: str, watch: bool, url: str) -> None:
    """Call a function of a running app and print its result as JSON."""
    from yugen.cli.run import run_function

    run_function(function, args, watch=watch, url=url)


def why(function: str | None, limit: int, as_json: bool, url: str, key: str | None, data: Path) -> None:
    """Explain what ran again, lost a race or took long of late."""
    from yugen.cli.why import explain

    explain(function, limit=limit, as_json=as_json, url=url, key=key, data=data)


def codegen(app: Path, out: Path | None, openapi: bool, check: bool, as_json: bool) -> None:
    """Write the types of an app's functions and documents for TypeScript."""
    from yugen.cli.codegen import generate

    generate(app, out=out, openapi=openapi, check=check, as_json=as_json)


def version() -> None:
    """Print the version."""
    from yugen import __version__

    print(__version__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; without arguments it prints what there is."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    if "limits" in options and options["limits"] is None:
        options["limits"] = os.environ.get("YUGEN_LIMITS", "").split()
    command = options.pop("command", None)
    if command is None:
        parser.print_help()
        parser.exit(2)
    command(**options)


def _parser() -> argparse.ArgumentParser:
    """Of the standard library: libraries for command lines take as long to import as the server does."""
    parser = argparse.ArgumentParser(
        "yugen", description="Yugen: a reactive backend whose functions are Python.", allow_abbrev=False
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(command: Callable[..., None]) -> argparse.ArgumentParser:
        text = command.__doc__
        made = commands.add_parser(command.__name__, help=text, description=text, allow_abbrev=False)
        made.set_defaults(command=command)
        return made

    one = add(init)
    one.add_argument("folder", nargs="?", type=Path, default=Path(), help="Where. Default: the current folder.")
    one.add_argument(
        "--template",
        choices=["page", "minimal", "react"],
        default="page",
        help="With a plain page, with functions only, or with React and Vite. Default: page.",
    )
    _add_server_options(add(dev), "127.0.0.1")
    one = add(serve)
    _add_server_options(one, "0.0.0.0")
    one.add_argument(
        "--workers",
        type=_whole(1, 64),
        default=os.environ.get("YUGEN_WORKERS", "1"),
        help="Server processes that share the connections. Default: $YUGEN_WORKERS, or 1.",
    )
    one = add(run)
    one.add_argument("function", help="The function: module:name.")
    one.add_argument("args", nargs="?", default="{}", help="Its arguments, as a JSON object.")
    one.add_argument("--watch", action="store_true", help="Keep a query live and print each new result.")
    _add_url(one)
    one = add(why)
    one.add_argument("function", nargs="?", help="Only what happened to this function: module:name.")
    one.add_argument("--limit", type=_whole(1, 1000), default=20, help="How many occurrences, the newest. Default: 20.")
    one.add_argument("--json", dest="as_json", action="store_true", help="Print each as a line of JSON.")
    _add_url(one)
    one.add_argument(
        "--admin-key",
        dest="key",
        default=os.environ.get("YUGEN_ADMIN_KEY"),
        help="Default: $YUGEN_ADMIN_KEY, or the one in the folder for data.",
    )
    one.add_argument("--data", type=Path, default=Path(".yugen"), help="The folder for data of a server here.")
    _add_codegen_options(add(codegen))
    add(version)
    return parser


def _add_server_options(to: argparse.ArgumentParser, host: str) -> None:
    to.add_argument("app", nargs="?", type=Path, default=Path("app"), help="The folder of the app package.")
    to.add_argument("--host", default=host, help=f"The address to listen on. Default: {host}.")
    to.add_argument("--port", type=_whole(0, 65535), default=3210, help="The port of the API. Default: 3210.")
    to.add_argument("--data", type=Path, help="The folder for data. Default: .yugen beside the app.")
    to.add_argument(
        "--url",
        default=os.environ.get("YUGEN_URL"),
        help="The address for clients. Default: $YUGEN_URL, or where it listens.",
    )
    to.add_argument(
        "--limit",
        dest="limits",
        action="append",
        metavar="NAME=VALUE",
        help="Another value for a limit; several times for several. Default: those in $YUGEN_LIMITS.",
    )


def _add_codegen_options(to: argparse.ArgumentParser) -> None:
    to.add_argument("app", nargs="?", type=Path, default=Path("app"), help="The folder of the app package.")
    to.add_argument("--out", type=Path, help="The folder for the files. Default: _generated in the folder of the app.")
    to.add_argument("--openapi", action="store_true", help="Write openapi.json too, which describes the HTTP API.")
    to.add_argument("--check", action="store_true", help="Write nothing; exit with 1 if a file is out of date.")
    to.add_argument("--json", dest="as_json", action="store_true", help="Print what has changed as JSON.")


def _add_url(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--url",
        default=os.environ.get("YUGEN_URL", _LOCAL_URL),
        help=f"The server to talk to. Default: $YUGEN_URL, or {_LOCAL_URL}.",
    )


def _whole(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not from {least} to {most}")
        return value

    return number
