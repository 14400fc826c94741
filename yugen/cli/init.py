"""`yugen init`: a new app from a template."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TEMPLATES: Final = {
    "page": ("minimal", "page"),
    "minimal": ("minimal",),
    "react": ("minimal", "react"),
}
"""The folders of `yugen/templates` that each is made of: what a later one has takes the place of what was before."""

NEXT: Final = {
    "page": ("yugen dev",),
    "minimal": ("yugen dev",),
    "react": ("npm install", "yugen dev", "npm run dev    # in another shell"),
}
"""What to type to see it run."""

_HOME = Path(__file__).parent.parent / "templates"
_OWN_NAMES = {"gitignore": ".gitignore"}  # under their own they would mean something where the templates are


def make_app(folder: Path, template: str) -> None:
    """Makes an app and says how to run it. Exits with status 1, having written nothing, if the folder has files."""
    try:
        made = _copy(folder, template)
    except OSError as error:
        print(error if error.strerror is None else f"{error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    print(f"Made {', '.join(str(file) for file in made)}.")
    here = folder.resolve() == Path.cwd()
    steps = [*([] if here else [f"cd {shlex.quote(str(folder))}"]), *NEXT[template]]
    print("\n".join(["Next:", *(f"  {step}" for step in steps)]))


def files_of(template: str) -> dict[Path, Path]:
    """The files of a template, by where they come to be in the folder of the app."""
    return {
        place.with_name(_OWN_NAMES.get(place.name, place.name)): file
        for part in TEMPLATES[template]
        for place, file in _files(_HOME / part)
    }


def _copy(folder: Path, template: str) -> list[Path]:
    """Writes the files of a template; gives their places.

    Raises:
        OSError: there are files already, or the folder cannot be written.
    """
    # What a version control system, an editor or a virtual environment has put there is no app.
    if folder.is_dir():
        there = sorted(each.name for each in folder.iterdir() if not each.name.startswith(".") and each.name != "venv")
        if there:
            raise OSError(
                f"{folder} is not empty: there is {', '.join(there[:3])}{' and more' if len(there) > 3 else ''}. "
                "Name a folder that does not exist yet, as in `yugen init my-app`."
            )
    made = []
    for place, file in sorted(files_of(template).items()):
        target = folder / place
        if target.exists():
            continue  # the .gitignore of whoever began with that
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            out.write(file.read_bytes())
        made.append(target)
    return made


def _files(home: Path) -> Iterator[tuple[Path, Path]]:
    for file in home.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            yield file.relative_to(home), file
