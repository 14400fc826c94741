"""The command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from yugen.cli import early
from yugen.cli.commands import Commands, add_commands, whole
from yugen.cli.edge import add_edge_options
from yugen.cli.status import told

ENVIRONMENTS: Final = ("dev", "test", "prod")


def dev(app: Path, **options: Any) -> None:
    """Run the app for development: reload on save, readable logs, errors in full."""
    early.begin()
    from yugen.cli.serve import serve_forever

    serve_forever(app, **options, development=True)


def serve(app: Path, workers: int, **options: Any) -> None:
    """Run the app for production: logs as JSON, errors of functions kept from clients."""
    if workers > 1:
        from yugen.cli.supervise import serve_in_nodes

        serve_in_nodes(workers, app, **options)
    early.begin()
    from yugen.cli.serve import serve_forever

    serve_forever(app, **options, development=False)


def init(folder: Path, template: str) -> None:
    """Make a new app from a template."""
    from yugen.cli.init import make_app

    make_app(folder, template)


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
    parser = make_parser()
    options = vars(parser.parse_args(arguments))
    if "limits" in options and options["limits"] is None:
        options["limits"] = os.environ.get("YUGEN_LIMITS", "").split()
    command = options.pop("command", None)
    if command is None:
        parser.print_help()
        parser.exit(2)
    with told():
        command(**options)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line.

    It is of the standard library: libraries for command lines take as long to import as the server does.
    """
    parser = argparse.ArgumentParser(
        "yugen", description="Yugen: a reactive backend whose functions are Python.", allow_abbrev=False
    )
    commands = Commands(parser)
    add = commands.add

    one = add(init, "yugen init guestbook\nyugen init wall --template react")
    one.add_argument("folder", nargs="?", type=Path, default=Path(), help="Where. Default: the current folder.")
    one.add_argument(
        "--template",
        choices=["page", "minimal", "react"],
        default="page",
        help="With a plain page, with functions only, or with React and Vite. Default: page.",
    )
    _add_server_options(add(dev, "yugen dev\nyugen dev ./app --port 4000"), "127.0.0.1", "dev")
    one = add(serve, "yugen serve --port 8080 --data /var/lib/notes\nyugen serve --workers 4")
    _add_server_options(one, "0.0.0.0", "prod")
    one.add_argument(
        "--workers",
        type=whole(1, 64),
        default=os.environ.get("YUGEN_WORKERS", "1"),
        help="Server processes that share the connections. Default: $YUGEN_WORKERS, or 1.",
    )
    add_commands(commands)
    _add_codegen_options(add(codegen, "yugen codegen\nyugen codegen --openapi\nyugen codegen --check"))
    add(version, "yugen version")
    return parser


def _add_server_options(to: argparse.ArgumentParser, host: str, environment: str) -> None:
    to.add_argument("app", nargs="?", type=Path, default=Path("app"), help="The folder of the app package.")
    to.add_argument("--host", default=host, help=f"The address to listen on. Default: {host}.")
    to.add_argument("--port", type=whole(0, 65535), default=3210, help="The port of the API. Default: 3210.")
    to.add_argument(
        "--site-port",
        type=whole(0, 65535),
        help="The port of the HTTP actions, which are below /http/ of the API too. Default: the one after --port.",
    )
    to.add_argument("--data", type=Path, help="The folder for data. Default: .yugen beside the app.")
    to.add_argument(
        "--url",
        default=os.environ.get("YUGEN_URL"),
        help="The address for clients. Default: $YUGEN_URL, or where it listens.",
    )
    to.add_argument(
        "--environment",
        choices=ENVIRONMENTS,
        default=os.environ.get("YUGEN_ENVIRONMENT") or environment,
        help=f"What the data is for, and for nothing else. Default: $YUGEN_ENVIRONMENT, or {environment}.",
    )
    to.add_argument(
        "--site-url",
        default=os.environ.get("YUGEN_SITE_URL"),
        help="The address of the HTTP actions. Default: $YUGEN_SITE_URL, /http below --url, or where it listens.",
    )
    to.add_argument(
        "--files",
        metavar="PLACE",
        default=os.environ.get("YUGEN_FILES", ""),
        help="Where stored files are: s3://bucket/prefix, or a folder. Default: $YUGEN_FILES, or beside the data.",
    )
    to.add_argument(
        "--limit",
        dest="limits",
        action="append",
        metavar="NAME=VALUE",
        help="Another value for a limit; several times for several. Default: those in $YUGEN_LIMITS.",
    )
    add_edge_options(to, whole)


def _add_codegen_options(to: argparse.ArgumentParser) -> None:
    to.add_argument("app", nargs="?", type=Path, default=Path("app"), help="The folder of the app package.")
    to.add_argument("--out", type=Path, help="The folder for the files. Default: _generated in the folder of the app.")
    to.add_argument("--openapi", action="store_true", help="Write openapi.json too, which describes the HTTP API.")
    to.add_argument("--check", action="store_true", help="Write nothing; exit with 1 if a file is out of date.")
    to.add_argument("--json", dest="as_json", action="store_true", help="Print what has changed as JSON.")
