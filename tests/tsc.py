"""The TypeScript compiler for tests, with the packages of the repository."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from reliability.serving import ROOT

_FAULT = re.compile(r"^(\S[^(]*)\((\d+),\d+\): error (TS\d+): (.*(?:\n +.*)*)", re.MULTILINE)

OPTIONS = {
    "target": "es2022",
    "lib": ["es2022", "dom", "dom.iterable"],
    "module": "esnext",
    "moduleResolution": "bundler",
    "jsx": "react-jsx",
    "strict": True,
    "noEmit": True,
    "types": [],
}


@dataclass(frozen=True)
class Fault:
    """An error of the compiler: the file within the folder, the line, and what is wrong."""

    file: str
    line: int
    text: str


def faults(folder: Path, **options: object) -> list[Fault]:
    """What the compiler says of all TypeScript in a folder, which can import what the repository has installed."""
    packages = folder / "node_modules"
    if not packages.exists():
        packages.symlink_to(ROOT / "node_modules")
    config = {"compilerOptions": OPTIONS | options, "include": ["**/*"], "exclude": ["node_modules"]}
    (folder / "tsconfig.json").write_text(json.dumps(config))
    compiler = ROOT / "node_modules/.bin/tsc"
    done = subprocess.run([compiler, "-p", "."], cwd=folder, capture_output=True, text=True, check=False)
    found = [Fault(file, int(line), f"{code} {text}") for file, line, code, text in _FAULT.findall(done.stdout)]
    assert found or done.returncode == 0, done.stdout + done.stderr
    return found
