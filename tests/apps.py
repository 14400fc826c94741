"""Apps for tests: small packages written to a folder, as a user would have them."""

from __future__ import annotations

import textwrap
from pathlib import Path


def write_app(folder: Path, **modules: str) -> Path:
    """Writes an app package `app` into `folder` and returns its path.

    Args:
        folder: where the package goes.
        modules: the text of each module; in its name `__` stands for `/`, so `admin__users` is `admin/users.py`.
    """
    app = folder / "app"
    for name, text in modules.items():
        file = app.joinpath(*name.split("__")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip())
    return app
