"""`yugen codegen`: what clients in TypeScript need to know of an app, as files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from yugen.cli.status import fail
from yugen.codegen.declarations import declarations
from yugen.codegen.files import FOLDER, outdated, write_files
from yugen.codegen.openapi import openapi_json
from yugen.errors import Refused
from yugen.functions.registry import load


def generate(app: Path, *, out: Path | None, openapi: bool, check: bool, as_json: bool) -> None:
    """Writes the files and says which have changed.

    It exits with status 1 when the app does not load or a file cannot be written; with `check`, which writes nothing,
    also when a file would change.
    """
    folder = app / FOLDER if out is None else out
    try:
        loaded = load(app)
        files = declarations(loaded) | ({"openapi.json": openapi_json(loaded)} if openapi else {})
        changed = outdated(files, folder) if check else write_files(files, folder)
    except Refused as error:
        fail(str(error))
    except OSError as error:
        fail(f"Cannot write to {folder} ({error.strerror}); name another folder with --out.")
    if as_json:
        print(json.dumps({"changed": [str(path) for path in changed], "written": not check}))
    elif check:
        for path in changed:
            print(f"{path} is out of date; run `yugen codegen` again.", file=sys.stderr)
    else:
        for path in changed:
            print(f"Wrote {path}.")
        if not changed:
            print(f"{folder} is up to date.")
    if check and changed:
        sys.exit(1)
