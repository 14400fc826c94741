"""The commands that talk to a deployment: what they take, what their help says, and where they are carried out.

Nothing of what they do is imported before they do it, so that `--help` stays quick.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

_ENDS = """\
exit status:
  0  it is done
  1  it could not be done; the last line says why
  2  the command line is wrong
  3  there is no server to ask, or it does not let us in"""

KINDS: Final = ("query", "mutation", "action", "http")


class _Help(argparse.HelpFormatter):
    """Help whose paragraphs are filled, and whose examples are left as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("examples:"):
            return text
        return "\n\n".join(super(_Help, self)._fill_text(each, width, indent) for each in text.split("\n\n"))


class Commands:
    """Adds commands to a parser, each with examples that tests run.

    Args:
        parser: the parser that they are to be commands of.
        required: whether it is a mistake to give none.
    """

    def __init__(self, parser: argparse.ArgumentParser, *, required: bool = False) -> None:
        self._commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=required)

    def add(self, command: Callable[..., None], examples: str, *, name: str | None = None) -> argparse.ArgumentParser:
        """Adds a command; returns its parser, to which its options are to be added.

        Args:
            command: carries it out, given the options by name. The first paragraph of its text is its help.
            examples: how it is called, a line each.
            name: how it is called, if not as its function.
        """
        text = "\n".join(line.strip() for line in (command.__doc__ or "").strip().splitlines())
        made = self._commands.add_parser(
            name or command.__name__,
            help=text.partition("\n\n")[0],
            description=text,
            epilog=f"examples:\n{_indented(examples)}\n\n{_ENDS}",
            formatter_class=_Help,
            allow_abbrev=False,
        )
        made.set_defaults(command=command)
        return made


def add_commands(commands: Commands) -> None:
    """Adds the commands that talk to a deployment."""
    _add_run(commands)
    _add_data(commands)
    _add_import(commands)
    _add_export(commands)
    _add_env(commands)
    _add_logs(commands)
    _add_functions(commands)
    _add_why(commands)
    _add_doctor(commands)
    _add_completion(commands)


# run ------------------------------------------------------------------------------------------------------------------


def run(function: str, args: str, watch: bool, identity: str | None, push: bool, as_json: bool, **where: Any) -> None:
    """Call a function and print its result as JSON.

    With the admin key, which it finds in the folder of the data here, internal functions can be called too.
    """
    from yugen.cli.run import run_function

    run_function(function, args, watch=watch, identity=identity, push=push, as_json=as_json, where=_where(where))


def _add_run(commands: Commands) -> None:
    one = commands.add(
        run,
        """\
yugen run messages:list
yugen run messages:send '{"author": "Ada", "body": "hi"}'
yugen run messages:list --watch
yugen run messages:whoami --identity '{"name": "Ada"}'
yugen run messages:list --push""",
    )
    one.add_argument("function", help="The function: module:name.")
    one.add_argument("args", nargs="?", default="{}", help="Its arguments, as a JSON object.")
    one.add_argument("--watch", action="store_true", help="Keep a query live and print each new result.")
    one.add_argument(
        "--identity",
        metavar="JSON",
        help="Call it as this user: an object of `subject`, `issuer`, `name`, `email` and other claims.",
    )
    one.add_argument(
        "--push", action="store_true", help="Have the server of `yugen dev` take up the app's present code first."
    )
    _add_json(one, "Print each result on one line.")
    _add_where(one, app=True)


# data -----------------------------------------------------------------------------------------------------------------


def data(table: str | None, conditions: list[str], order: str, limit: int | None, as_json: bool, **where: Any) -> None:
    """List the tables, or the documents of one.

    Conditions are FIELD=VALUE, and the same with !=, <, <=, > and >=; FIELD may be a dotted path. VALUE is JSON, or
    text as it is. All of them must hold.
    """
    from yugen.cli.data import show_data

    show_data(table, conditions, order=order, limit=limit, as_json=as_json, where=_where(where))


def _add_data(commands: Commands) -> None:
    one = commands.add(
        data,
        """\
yugen data
yugen data messages --limit 5
yugen data messages 'body=hi' 'likes>=3' --order asc
yugen data messages --json --limit 1000 > messages.jsonl""",
    )
    one.add_argument("table", nargs="?", help="The table; system tables such as _exports too.")
    one.add_argument("conditions", nargs="*", metavar="condition", help="What must hold, as likes>=3; quote < and >.")
    one.add_argument("--order", choices=("asc", "desc"), default="desc", help="By creation time. Default: desc.")
    one.add_argument("--limit", type=whole(1, 10**9), help="How many documents. Default: 100; all of them with --json.")
    _add_json(one, "Print each on a line of JSON, which `yugen import` reads.")
    _add_where(one)


# import and export ----------------------------------------------------------------------------------------------------


def import_(file: Path, table: str | None, form: str | None, mode: str, yes: bool, as_json: bool, **where: Any) -> None:
    """Bring documents in from a file: all of them in one transaction, or none.

    The file is tried out first, and what would change is shown. It is a snapshot of Yugen or Convex (.zip), or
    documents of one table as lines of JSON (.jsonl), an array of JSON (.json) or CSV (.csv).
    """
    from yugen.cli.importing import import_file

    import_file(file, table=table, form=form, mode=mode, yes=yes, as_json=as_json, where=_where(where))


def _add_import(commands: Commands) -> None:
    one = commands.add(
        import_,
        """\
yugen import users.jsonl --table users
yugen import users.csv --table users --append
yugen import backup.zip --replace --yes""",
        name="import",
    )
    one.add_argument("file", type=Path, help="The file.")
    one.add_argument("--table", help="The table of the documents; not for a snapshot, which names its tables.")
    one.add_argument(
        "--format",
        dest="form",
        choices=("zip", "jsonl", "json", "csv"),
        help="How the file is written. Default: by the end of its name.",
    )
    mode = one.add_mutually_exclusive_group()
    mode.add_argument(
        "--append", dest="mode", action="store_const", const="append", help="Add to the documents that are there."
    )
    mode.add_argument(
        "--replace", dest="mode", action="store_const", const="replace", help="Replace the documents of its tables."
    )
    mode.add_argument(
        "--replace-all",
        dest="mode",
        action="store_const",
        const="replaceAll",
        help="Replace those, and empty all other tables.",
    )
    one.set_defaults(mode="requireEmpty")
    one.add_argument("--yes", action="store_true", help="Do not ask before documents are removed.")
    _add_json(one, "Print what came of it as JSON.")
    _add_where(one, app=True)


def export(
    path: Path, table: str | None, form: str | None, files: bool, force: bool, as_json: bool, **where: Any
) -> None:
    """Write all documents of one moment to a snapshot, or those of one table as JSON Lines or CSV.

    A snapshot (.zip) is laid out as those of Convex, which can import it. For a folder, the file is named by its time.
    """
    from yugen.cli.exporting import export_file

    export_file(path, table=table, form=form, files=files, force=force, as_json=as_json, where=_where(where))


def _add_export(commands: Commands) -> None:
    one = commands.add(
        export,
        """\
yugen export snapshot.zip
yugen export everything.zip --include-file-storage
yugen export messages.jsonl --table messages
yugen export messages.csv --table messages""",
    )
    one.add_argument("path", type=Path, help="The file to write, or a folder for it.")
    one.add_argument("--table", help="Only this table, as .jsonl or .csv.")
    one.add_argument(
        "--format",
        dest="form",
        choices=("zip", "jsonl", "csv"),
        help="How to write it. Default: by the end of its name.",
    )
    one.add_argument(
        "--include-file-storage", dest="files", action="store_true", help="Put stored files into the snapshot too."
    )
    one.add_argument("--force", action="store_true", help="Write over a file that is there.")
    _add_json(one, "Print what came of it as JSON.")
    _add_where(one, app=True)


# env ------------------------------------------------------------------------------------------------------------------


def env(**_: Any) -> None:
    """List, set and remove the environment variables that functions see as `ctx.env`."""


def env_list(names: bool, as_json: bool, **where: Any) -> None:
    """List all variables as lines of NAME=VALUE, which `yugen env import` reads."""
    from yugen.cli.env import list_variables

    list_variables(names=names, as_json=as_json, where=_where(where))


def env_get(name: str, as_json: bool, **where: Any) -> None:
    """Print the value of a variable."""
    from yugen.cli.env import get_variable

    get_variable(name, as_json=as_json, where=_where(where))


def env_set(name: str, value: str | None, **where: Any) -> None:
    """Set a variable.

    A value that is not given is asked for, or read from standard input, and stays out of the history of the shell.
    """
    from yugen.cli.env import set_variable

    set_variable(name, value, where=_where(where))


def env_unset(names: list[str], **where: Any) -> None:
    """Remove variables."""
    from yugen.cli.env import unset_variables

    unset_variables(names, where=_where(where))


def env_import(file: Path, **where: Any) -> None:
    """Set all variables of a file of lines like NAME=VALUE, or none of them; others stay as they are."""
    from yugen.cli.env import import_variables

    import_variables(str(file), where=_where(where))


def env_rotate(as_json: bool, **where: Any) -> None:
    """Seal all variables with a new key, and drop the old one.

    Functions notice nothing of it. Where YUGEN_ENCRYPTION_KEY gives the server its keys, put the new one before the old
    one, restart it, rotate, and leave the old one out from the next start on.
    """
    from yugen.cli.env import rotate_key

    rotate_key(as_json=as_json, where=_where(where))


def _add_env(commands: Commands) -> None:
    group = Commands(commands.add(env, "yugen env list"), required=True)
    one = group.add(env_list, "yugen env list\nyugen env list --names\nyugen env list > .env", name="list")
    one.add_argument("--names", action="store_true", help="Only their names, a line each.")
    _add_json(one, "Print an object of JSON.")
    _add_where(one)
    one = group.add(env_get, "yugen env get GREETING", name="get")
    one.add_argument("name", help="The variable.")
    _add_json(one, "Print a string of JSON.")
    _add_where(one)
    one = group.add(env_set, "yugen env set GREETING hello\nyugen env set API_KEY < key.txt", name="set")
    one.add_argument("name", help="The variable; NAME=VALUE sets it as well.")
    one.add_argument("value", nargs="?", help="Its value. Default: what is typed, or comes from standard input.")
    _add_where(one)
    one = group.add(env_unset, "yugen env unset GREETING", name="unset")
    one.add_argument("names", nargs="+", metavar="name", help="A variable.")
    _add_where(one)
    one = group.add(env_import, "yugen env import .env\nyugen env list | yugen env import -", name="import")
    one.add_argument("file", type=Path, help="The file; - for standard input.")
    _add_where(one)
    one = group.add(env_rotate, "yugen env rotate", name="rotate")
    _add_json(one, "Print what was done as JSON.")
    _add_where(one)


# logs, functions, why -------------------------------------------------------------------------------------------------


def logs(
    function: str | None,
    follow: bool,
    kind: str | None,
    failures: bool,
    since: float | None,
    limit: int | None,
    as_json: bool,
    **where: Any,
) -> None:
    """Show the last runs of functions: what they logged, how long they took, and their errors.

    The server keeps the last 1000 in memory.
    """
    from yugen.cli.logs import Wanted, show_logs

    wanted = Wanted(function=function, kind=kind, failures=failures, since=since)
    show_logs(wanted, follow=follow, limit=limit, as_json=as_json, where=_where(where))


def _add_logs(commands: Commands) -> None:
    one = commands.add(
        logs,
        """\
yugen logs
yugen logs --follow
yugen logs messages:send --failures --since 10m
yugen logs --kind mutation --limit 20 --json""",
    )
    one.add_argument("function", nargs="?", help="Only this function, module:name, or those of this module.")
    one.add_argument("--follow", action="store_true", help="Go on with each that runs, until interrupted.")
    one.add_argument("--kind", choices=KINDS, help="Only functions of this kind.")
    one.add_argument("--failures", action="store_true", help="Only what has failed.")
    one.add_argument(
        "--since",
        type=moment,
        metavar="WHEN",
        help="Only what came later: 30s, 10m, 2h or 1d ago, or a time like 2026-01-31T12:00.",
    )
    one.add_argument("--limit", type=whole(1, 1000), help="At most so many to begin with, the newest.")
    _add_json(one, "Print each on a line of JSON.")
    _add_where(one)


def functions(prefix: str | None, as_json: bool, **where: Any) -> None:
    """List the functions of the app with their arguments and results."""
    from yugen.cli.functions import list_functions

    list_functions(prefix, as_json=as_json, where=_where(where))


def _add_functions(commands: Commands) -> None:
    one = commands.add(functions, "yugen functions\nyugen functions messages --json")
    one.add_argument("prefix", nargs="?", help="Only those whose paths begin so.")
    _add_json(one, "Print each on a line of JSON, with Convex's validators.")
    _add_where(one, app=True)


def why(function: str | None, limit: int, as_json: bool, **where: Any) -> None:
    """Explain what ran again, lost a race or took long of late."""
    from yugen.cli.why import explain

    explain(function, limit=limit, as_json=as_json, where=_where(where))


def _add_why(commands: Commands) -> None:
    one = commands.add(why, "yugen why\nyugen why messages:list --limit 5 --json")
    one.add_argument("function", nargs="?", help="Only what happened to this function: module:name.")
    one.add_argument("--limit", type=whole(1, 1000), default=20, help="How many occurrences, the newest. Default: 20.")
    _add_json(one, "Print each on a line of JSON.")
    _add_where(one)


# doctor and completion ------------------------------------------------------------------------------------------------


def doctor(as_json: bool, port: int, thorough: bool, **where: Any) -> None:
    """Check this machine, the app, its data and the server, and say what to do about what is wrong.

    It changes nothing. The status is 1 if anything is wrong.
    """
    from yugen.cli.doctor import examine

    examine(_where(where), port=port, as_json=as_json, thorough=thorough)


def _add_doctor(commands: Commands) -> None:
    one = commands.add(doctor, "yugen doctor\nyugen doctor --thorough\nyugen doctor --json")
    one.add_argument("--port", type=whole(1, 65535), default=3210, help="The port of the API. Default: 3210.")
    one.add_argument(
        "--thorough",
        action="store_true",
        help="Also hold the whole database and all files against their checksums.",
    )
    _add_json(one, "Print each check on a line of JSON.")
    _add_where(one, app=True)


def completion(shell: str) -> None:
    """Print a script that completes commands and options in your shell.

    bash: put it into ~/.local/share/bash-completion/completions/yugen.

    zsh: put it into a folder of $fpath as _yugen.

    fish: put it into ~/.config/fish/completions/yugen.fish.
    """
    from yugen.cli.completion import script
    from yugen.cli.main import make_parser

    print(script(make_parser(), shell), end="")


def _add_completion(commands: Commands) -> None:
    one = commands.add(completion, 'yugen completion bash\neval "$(yugen completion bash)"')
    one.add_argument("shell", choices=("bash", "zsh", "fish"), help="The shell.")


# What they have in common ---------------------------------------------------------------------------------------------


def whole(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number in these bounds from an argument."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not from {least} to {most}")
        return value

    return number


def moment(text: str) -> float:
    """Reads a time from an argument, `10m` ago or a date; in seconds since the epoch."""
    import re
    import time
    from datetime import datetime

    ago = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if ago:
        return time.time() - float(ago[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[ago[2]]
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text} is no time; write 10m, or 2026-01-31T12:00") from None


def _add_json(to: argparse.ArgumentParser, text: str) -> None:
    to.add_argument("--json", dest="as_json", action="store_true", help=text)


def _add_where(to: argparse.ArgumentParser, *, app: bool = False) -> None:
    group = to.add_argument_group("the deployment")
    group.add_argument(
        "--url",
        default=os.environ.get("YUGEN_URL") or None,
        help="Its server. Default: $YUGEN_URL, the server that has its data open, or http://127.0.0.1:3210.",
    )
    group.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="The folder of its data, and of its admin key. Default: .yugen. Where it is given, and no server has the "
        "data open and no --url is given, this process opens it.",
    )
    group.add_argument(
        "--admin-key",
        dest="key",
        metavar="KEY",
        default=os.environ.get("YUGEN_ADMIN_KEY") or None,
        help="Its admin key. Default: $YUGEN_ADMIN_KEY, or the one in the folder of the data.",
    )
    if app:
        group.add_argument(
            "--app", type=Path, metavar="DIR", default=Path("app"), help="The app, for --data. Default: app."
        )


def _where(options: dict[str, Any]) -> Any:
    from yugen.cli.remote import Where

    return Where(**options)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
