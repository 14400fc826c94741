"""Loading an app: importing its package and finding the functions, tables and settings in it."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from yugen.errors import Refused
from yugen.functions.arguments import Signature
from yugen.functions.declare import Function
from yugen.functions.info import AppInfo, FunctionInfo, IndexInfo, Kind
from yugen.functions.names import FunctionNotFound
from yugen.schema import Document, SchemaError

class AppError(Refused):
    """An app that cannot be loaded; the text names the file."""

    code = "AppError"


class WrongKind(Refused):
    """A function called as something it is not."""

    code = "WrongKind"


@dataclass(frozen=True, slots=True)
class Registered:
    """A function of an app under its public path, `messages:list`."""

    path: str
    function: Function[Any, Any]
    signature: Signature

    @property
    def kind(self) -> Kind:
        return self.function.kind


@dataclass(frozen=True)
class App:
    """What a loaded app package holds."""

    folder: Path
    functions: Mapping[str, Registered]
    documents: Mapping[str, type[Document]]
    _paths: Mapping[int, str] = field(repr=False)

    def find(self, path: str, *, public: bool) -> Registered:
        """The function at a canonical path.

        Raises:
            FunctionNotFound: there is none, or it is internal and `public` was asked for.
        """
        found = self.functions.get(path)
        if found is None or (public and not found.function.public):
            raise FunctionNotFound(path)
        return found

    def path_of(self, function: Function[Any, Any]) -> str:
        """The public path of a function object."""
        try:
            return self._paths[id(function)]
        except KeyError:
            raise AppError(f"{function!r} is not of this app; define it in a module of the app package.") from None


def describe(app: App) -> AppInfo:
    """What others need to know of the app."""
    return AppInfo(
        {path: FunctionInfo(each.kind, each.function.public) for path, each in app.functions.items()},
        {
            table: {name: IndexInfo(index.fields, index.unique) for name, index in document.__indexes__.items()}
            for table, document in app.documents.items()
        },
    )


def load(folder: Path) -> App:
    """Imports every module of the app package at `folder` and collects what they define.

    The folder above it becomes importable. A package of the same name that was loaded from elsewhere is replaced.

    Raises:
        AppError: there is no such folder, a module does not import, or two functions share a path.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise AppError(f"There is no app at {folder}; give the folder that holds its modules.")
    if not folder.name.isidentifier():
        raise AppError(f"The folder {folder.name!r} cannot be imported as a package; rename it to a Python identifier.")
    _forget(folder)
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    importlib.invalidate_caches()
    functions: dict[str, Registered] = {}
    documents: dict[str, type[Document]] = {}
    for file in sorted(folder.rglob("*.py")):
        module = _import(folder, file)
        if module is None:
            continue
        place = ".".join(module.__name__.split(".")[1:]).replace(".", "/")
        for member in _defined_in(module):
            if isinstance(member, Function):
                path = f"{place or '__init__'}:{member.name}"
                if path in functions and functions[path].function is not member:
                    raise AppError(f"{file}: two functions are called {path}; rename one of them.")
                functions[path] = Registered(path, member, Signature(path, member))
            elif member.__table__:
                other = documents.get(member.__table__)
                if other is not None and other is not member:
                    raise AppError(f"{file}: the table {member.__table__!r} is declared twice; rename one of them.")
                documents[member.__table__] = member
    paths = {id(registered.function): path for path, registered in functions.items()}
    return App(folder, functions, documents, paths)


def _forget(folder: Path) -> None:
    """Drops modules of a package with this name from the interpreter, so that the files are read again."""
    for name in [name for name in sys.modules if name == folder.name or name.startswith(f"{folder.name}.")]:
        del sys.modules[name]
    if str(folder.parent) in sys.path:
        sys.path.remove(str(folder.parent))


def _import(folder: Path, file: Path) -> ModuleType | None:
    parts = file.relative_to(folder.parent).with_suffix("").parts
    if not all(part.isidentifier() for part in parts):
        return None
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    try:
        return importlib.import_module(name)
    except SchemaError as error:
        raise AppError(f"{file}: {error}") from error
    except Exception as error:
        line = next(
            (frame.lineno for frame in _frames(error) if Path(frame.filename).is_relative_to(folder)), None
        )
        at = f"{file}:{line}" if line else str(file)
        raise AppError(f"{at} does not import: {type(error).__name__}: {error}") from error


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    if isinstance(error, SyntaxError):
        return [traceback.FrameSummary(error.filename or "", error.lineno, "")]
    return list(reversed(traceback.extract_tb(error.__traceback__)))


def _defined_in(module: ModuleType) -> Iterator[Any]:
    for member in vars(module).values():
        is_document = isinstance(member, type) and issubclass(member, Document)
        if (is_document or isinstance(member, Function)) and member.__module__ == module.__name__:
            yield member
