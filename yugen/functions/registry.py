"""Loading an app: importing its package and finding the functions, tables and settings in it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import linecache
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

from yugen import values
from yugen.catalog import READABLE
from yugen.errors import Refused
from yugen.functions.arguments import Signature
from yugen.functions.declare import Function
from yugen.functions.extensions import Extension
from yugen.functions.http import HttpAction, HttpRouter
from yugen.functions.info import AppInfo, FunctionInfo, FunctionKind, IndexInfo
from yugen.functions.migrations import Migration
from yugen.functions.names import NO_PERMISSION, SYSTEM_PREFIX, FunctionNotFound, canonical_path
from yugen.functions.permissions import Roles, undecided
from yugen.functions.providers import JwtProvider, OidcProvider, Provider
from yugen.functions.rate_limits import RateLimit
from yugen.functions.routing import Route
from yugen.functions.rules import Rules
from yugen.functions.scheduling import check_arguments
from yugen.functions.shapes import shape
from yugen.schema import Document

if TYPE_CHECKING:
    from yugen.functions.crons import Cron, CronLine, Interval


class AppError(Refused):
    """An app that cannot be loaded; the text names the file."""

    code = "AppError"

    @classmethod
    def at(cls, file: str, line: int | None, text: str, column: int | None = None) -> AppError:
        """One that names the line too, and shows it.

        Args:
            file: the file.
            line: the number of the line, if there is one.
            text: what is wrong there, and what to do.
            column: the number of the character in the line, if it is there.
        """
        if line is None:
            return cls(f"{file}: {text}")
        linecache.checkcache(file)
        source = linecache.getline(file, line).rstrip()
        shown = [f"{file}:{line}: {text}"]
        if source:
            indented = len(source) - len(source.lstrip())
            shown.append(f"    {source[indented:]}")
            if column is not None and indented < column <= len(source) + 1:
                shown.append(f"    {' ' * (column - 1 - indented)}^")
            elif source[indented] == "@":  # a decorator says little without what stands under it
                shown.append(f"    {linecache.getline(file, line + 1).rstrip()[indented:]}")
        return cls("\n".join(shown))


class AdministratorsOnly(Refused):
    """One of Yugen's own functions, called without the admin key."""

    code = "AdministratorsOnly"

    def __init__(self) -> None:
        super().__init__(f"{NO_PERMISSION}: it takes this deployment's admin key.")


class WrongKind(Refused):
    """A function called as something it is not."""

    code = "WrongKind"


class Registered:
    """A function of an app under its public path, `messages:list`.

    Attributes:
        path: its public path.
        function: the function.
        signature: what it takes and gives.
        kind: what it can be called as.
        system: whether it is one of Yugen's own, for administrators.
        extension: whether it came with an extension.
    """

    __slots__ = ("extension", "function", "kind", "path", "signature", "system")

    def __init__(
        self, path: str, function: Function[Any, Any], signature: Signature, *, extension: bool = False
    ) -> None:
        self.extension = extension
        self.path = path
        self.function = function
        self.signature = signature
        self.kind: FunctionKind = function.kind
        self.system = path.startswith(SYSTEM_PREFIX)


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A function that runs again and again, as it is written down in the database.

    Attributes:
        path: the function.
        args: its arguments as values of the wire.
        times: when it runs.
    """

    path: str
    args: Mapping[str, Any]
    times: Interval | CronLine


@dataclass(frozen=True)
class App:
    """What a loaded app package holds; `strict` tells that it has no tables but those it declares."""

    folder: Path
    functions: Mapping[str, Registered]
    documents: Mapping[str, type[Document]]
    providers: tuple[Provider, ...]
    strict: bool
    migrations: Mapping[str, Migration]
    _paths: Mapping[int, str] = field(repr=False)
    crons: Mapping[str, Scheduled] = field(default_factory=dict)
    http: Mapping[Route, HttpAction] = field(default_factory=dict)
    extensions: Mapping[type, Extension] = field(default_factory=dict)
    rules: Rules | None = None

    @classmethod
    def empty(cls, folder: Path) -> App:
        """One without anything, for data that is only looked at."""
        return cls(folder, functions={}, documents={}, providers=(), strict=False, migrations={}, _paths={})

    def find(self, path: str, *, public: bool) -> Registered:
        """The function at a canonical path.

        Raises:
            FunctionNotFound: there is none, or it is internal and `public` was asked for.
            AdministratorsOnly: it is one of Yugen's own, and `public` was asked for.
        """
        if public and path.startswith(SYSTEM_PREFIX):
            raise AdministratorsOnly
        found = self.functions.get(path)
        if found is None or (public and not found.function.public):
            raise FunctionNotFound(path, public=public)
        return found

    def path_of(self, function: Function[Any, Any]) -> str:
        """The public path of a function object."""
        if isinstance(function, HttpAction):
            raise AppError(f"{function!r} answers requests and cannot be called; move what you need of it out of it.")
        try:
            return self._paths[id(function)]
        except KeyError:
            raise AppError(f"{function!r} is not of this app; define it in a module of the app's folder.") from None


def describe(app: App) -> AppInfo:
    """What others need to know of the app."""
    return AppInfo(
        {
            path: FunctionInfo(each.kind, each.function.public, each.function.long)
            for path, each in app.functions.items()
        },
        {
            table: {
                name: IndexInfo(index.fields, index.unique, index.total) for name, index in document.__indexes__.items()
            }
            for table, document in app.documents.items()
        },
        app.providers,
        {table: shape(document) for table, document in app.documents.items()},
        tuple(app.http),
        tuple(route for each in app.extensions.values() for route in each.http),
        tuple(name for each in app.extensions.values() for name in each.secrets),
    )


def load(folder: Path, *, fresh: bool = True) -> App:
    """Imports every module of the app package at `folder` and collects what they define.

    The folder above it becomes importable.

    Args:
        folder: the folder of the package.
        fresh: whether a package of the same name that was loaded before is loaded anew. Without this, its functions and
            classes stay the objects that others have imported.

    Raises:
        AppError: there is no such folder, a module does not import, two functions, tables or rate limits share a name,
            `auth.py` lists anything but providers, or a router stands anywhere but in `http.py`.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise AppError(f"There is no app at {folder}; give the folder that holds its modules.")
    if not folder.name.isidentifier():
        raise AppError(f"The folder {folder.name!r} cannot be imported as a package; rename it to a Python identifier.")
    _make_importable(folder, fresh=fresh)
    functions: dict[str, Registered] = {}
    documents: dict[str, type[Document]] = {}
    providers: tuple[Provider, ...] = ()
    strict = False
    migrations: dict[str, Migration] = {}
    routers: list[tuple[Path, HttpRouter]] = []
    limits: dict[str, RateLimit] = {}
    crons: dict[str, Cron] = {}
    extensions: dict[type, tuple[Path, Extension]] = {}
    found_rules: list[tuple[Path, Rules]] = []
    found_roles: list[tuple[Path, Roles]] = []
    for file in sorted(folder.rglob("*.py")):
        packages = _packages(folder, file)
        if not all(part.isidentifier() for part in packages):
            continue
        module = _import(folder, ".".join((folder.name, *packages)))
        if packages == ("auth",):
            providers = _providers(file, module)
        if packages == ("schema",):
            strict = getattr(module, "strict", False) is True
        found_rules += [(file, each) for each in vars(module).values() if isinstance(each, Rules)]
        found_roles += [(file, each) for each in vars(module).values() if isinstance(each, Roles)]
        for each in vars(module).values():
            if isinstance(each, Extension) and extensions.setdefault(type(each), (file, each))[1] is not each:
                where = extensions[type(each)][0]
                raise AppError(f"{file}: there is a {type(each).__name__} in {where} already; an app has one.")
        _check_limits(file, module, limits)
        routers += [(file, each) for each in vars(module).values() if isinstance(each, HttpRouter)]
        found = [each for each in vars(module).values() if isinstance(each, Migration)]
        own = {each.name: each for each in found if each.__module__ == module.__name__}
        if packages == ("migrations",):
            migrations = own
        elif own:
            raise AppError(f"{file}: {next(iter(own))} is a migration; they stand in migrations.py, in their order.")
        if packages == ("crons",):
            crons = _crons(file, module)
        for member in _defined_in(module):
            if isinstance(member, Function):
                registered = _registered(module_path(folder, file), member)
                other = functions.setdefault(registered.path, registered).function
                if other is not member:
                    place = ":".join(map(str, _place(other)))
                    raise AppError.at(*_place(member), f"{place} is {registered.path} too; rename one of them.")
            elif member.__table__:
                _complete(file, member)
                twin = documents.setdefault(member.__table__, member)
                if twin is not member:
                    raise AppError(
                        f"{file}: the table {member.__table__!r} of {member.__name__} is also the table of "
                        f"{twin.__module__}.{twin.__name__}; rename one of them."
                    )
    http = dict(_router(folder, routers).actions)
    for file, roles in found_roles:
        _check_roles(file, roles, functions, http)
    for file, each in extensions.values():
        _extend(file, each, functions, documents, http)
        providers += each.providers
    paths = {id(registered.function): path for path, registered in functions.items()}
    for file, rules in found_rules:
        _check_rules(file, rules, documents)
    app = App(folder, functions, documents, providers, strict, migrations, paths, http=http)
    app = replace(app, extensions={kind: each for kind, (_, each) in extensions.items()}, rules=_one(found_rules))
    scheduled = {name: _scheduled(app, folder / "crons.py", cron) for name, cron in crons.items()}
    for file, each in extensions.values():
        scheduled |= {name: _scheduled(app, file, cron) for name, cron in each.crons.items()}
    return replace(app, crons=scheduled)


def module_path(folder: Path, file: Path) -> str:
    """What comes before the `:` in the paths of the functions in a file of the app's folder."""
    return "/".join(_packages(folder, file)) or "__init__"


def _packages(folder: Path, file: Path) -> tuple[str, ...]:
    """The module in a file, part by part, within the app's package."""
    parts = file.relative_to(folder).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def _make_importable(folder: Path, *, fresh: bool) -> None:
    """Puts the folder above first on the import path, and forgets modules of a package with this name.

    Those of another package with this name are forgotten in any case.
    """
    package = sys.modules.get(folder.name)
    here = package is not None and str(folder) in list(getattr(package, "__path__", ()))
    if fresh or not here:
        for name in [name for name in sys.modules if name == folder.name or name.startswith(f"{folder.name}.")]:
            del sys.modules[name]
    above = str(folder.parent)
    sys.path[:] = [above, *(entry for entry in sys.path if entry != above)]
    importlib.invalidate_caches()
    if folder.name not in sys.modules and not (folder / "__init__.py").exists():
        # A folder that Python itself would only take for a part of a package, and look for more of it elsewhere.
        spec = ModuleSpec(folder.name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[folder.name] = importlib.util.module_from_spec(spec)


def _import(folder: Path, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except SyntaxError as error:
        raise AppError.at(error.filename or name, error.lineno, f"{error.msg}.", error.offset) from error
    except Exception as error:
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(folder)
        ]
        text = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
        at = (frames[-1].filename, frames[-1].lineno) if frames else (name, None)
        raise AppError.at(*at, text) from error


def _defined_in(module: ModuleType) -> Iterator[Any]:
    """The functions and documents of a module itself, without those it imports.

    Raises:
        AppError: something hides a function, which nobody could call then.
    """
    for name, member in list(vars(module).items()):  # annotations may add to it
        hidden = _hidden_function(member)
        if hidden is not None and member.__module__ == module.__name__:
            text = f"{name} is wrapped by another decorator; put @{hidden.kind} above that one."
            raise AppError.at(*_place(hidden), text)
        is_document = isinstance(member, type) and issubclass(member, Document)
        if (is_document or isinstance(member, Function)) and member.__module__ == module.__name__:
            yield member


def _hidden_function(member: Any) -> Function[Any, Any] | None:
    """The declared function that something of another kind was made of with `functools.wraps`."""
    wrapped = member
    while not isinstance(wrapped, Function) and isinstance(getattr(wrapped, "__dict__", None), dict):
        wrapped = vars(wrapped).get("__wrapped__")
    return wrapped if isinstance(wrapped, Function) and wrapped is not member else None


def _registered(module: str, function: Function[Any, Any]) -> Registered:
    path = f"{module}:{function.name}"
    if path.startswith(SYSTEM_PREFIX):
        text = "the folder _system is for Yugen's own functions; give it another name."
        raise AppError.at(*_place(function), text)
    try:
        canonical_path(path)
        return Registered(path, function, Signature(path, function))
    except FunctionNotFound:
        text = f"no client can call {path}; name folders and modules in ASCII, 64 characters at most."
        raise AppError.at(*_place(function), text) from None
    except Refused as error:
        raise AppError.at(*_place(function), str(error)) from error


def _providers(file: Path, module: ModuleType) -> tuple[Provider, ...]:
    providers = getattr(module, "providers", [])
    if not isinstance(providers, list | tuple):
        wrong = [providers]
    else:
        wrong = [each for each in providers if not isinstance(each, OidcProvider | JwtProvider)]
        if not wrong:
            return tuple(providers)
    raise AppError(
        f"{file}: write `providers = [OidcProvider(...), JwtProvider(...)]`, a list of either or both; "
        f"there is something of type {type(wrong[0]).__name__!r}."
    )


def _router(folder: Path, routers: Sequence[tuple[Path, HttpRouter]]) -> HttpRouter:
    """The router of the app, of those that its files have; an empty one where there is none."""
    served = getattr(sys.modules.get(f"{folder.name}.http"), "http", None)
    for file, router in routers:
        if router is not served:
            raise AppError(f"{file}: nobody asks this router; write `http = HttpRouter()` in {folder.name}/http.py.")
    return served if routers and isinstance(served, HttpRouter) else HttpRouter()


def _one(found: Sequence[tuple[Path, Rules]]) -> Rules | None:
    """The rules of the app, which has one of them, whichever of its modules name it."""
    for file, each in found:
        if each is not found[0][1]:
            raise AppError(f"{file}: there are rules in {found[0][0]} already; have all of them in one `Rules`.")
    return found[0][1] if found else None


def _check_rules(file: Path, rules: Rules, documents: Mapping[str, type[Document]]) -> None:
    """Refuses rules for tables that there are not: a name that is misspelled would leave the right one open."""
    for table in sorted(rules.tables):
        if documents and table not in documents and table not in READABLE:
            raise AppError(
                f"{file}: there are rules for {table!r}, which is the table of no class; see how it is spelled."
            )


def _check_roles(
    file: Path, roles: Roles, functions: Mapping[str, Registered], http: Mapping[Route, HttpAction]
) -> None:
    """Refuses functions for anybody that do not say so, where that is asked, and roles that nobody can have."""
    if not roles.is_whole:
        raise AppError(f"{file}: nothing says who has which role; put @roles.of above an @internal_query.")
    if not roles.denies:
        return
    text = "does not say who may call it; write @roles.requires(...) or @roles.anybody below its decorator"
    for path, registered in functions.items():
        if registered.function.public and undecided(registered.function.handler):
            raise AppError.at(*_place(registered.function), f"{path} {text}, or make it internal.")
    for route, action in http.items():
        if undecided(action.handler):
            raise AppError.at(*_place(action), f"{route} {text}.")


def _extend(
    file: Path,
    extension: Extension,
    functions: dict[str, Registered],
    documents: dict[str, type[Document]],
    http: dict[Route, HttpAction],
) -> None:
    """Adds what an extension brings to what the app has."""
    own = {id(registered.function) for registered in functions.values()}
    for path, function in extension.functions.items():
        if id(function) in own:
            continue  # of a part of it that the app has made itself
        if path in functions:
            raise AppError.at(*_place(functions[path].function), f"{path} comes with {file}; give this another name.")
        functions[path] = Registered(path, function, Signature(path, function), extension=True)
    for document in extension.documents:
        other = documents.setdefault(document.__table__, document)
        if other is not document:
            raise AppError(
                f"{file}: the table {document.__table__!r} comes with {type(extension).__name__}; "
                f"give that of {other.__module__}.{other.__name__} another name."
            )
    for route, action in extension.http.items():
        if http.setdefault(route, action) is not action:
            raise AppError(f"{file}: {route} comes with {type(extension).__name__}; give yours another path.")


def _check_limits(file: Path, module: ModuleType, limits: dict[str, RateLimit]) -> None:
    """Makes sure that no two limits count as one, of those that stand in modules."""
    for each in vars(module).values():
        if isinstance(each, RateLimit) and limits.setdefault(each.name, each) is not each:
            raise AppError(f"{file}: {each!r} has the name of another; rename it or import that.")


def _crons(file: Path, module: ModuleType) -> dict[str, Cron]:
    from yugen.functions.crons import Crons  # noqa: PLC0415 -- most apps have none

    crons = getattr(module, "crons", None)
    if crons is None and not any(isinstance(each, Crons) for each in vars(module).values()):
        return {}  # it holds functions and nothing else
    if not isinstance(crons, Crons):
        raise AppError(f"{file}: write `crons = Crons()` and `crons.daily(...)` or the like; there is no such `crons`.")
    return crons.all


def _scheduled(app: App, file: Path, cron: Cron) -> Scheduled:
    try:
        path = canonical_path(cron.function) if isinstance(cron.function, str) else app.path_of(cron.function)
        registered = app.find(path, public=False)
        if registered.kind not in ("mutation", "action"):
            raise WrongKind(f"{path} is a {registered.kind}; let a cron run a mutation or an action.")
        args = values.loads(registered.signature.encode_arguments(cron.args, None))
        check_arguments(path, args)
    except Refused as error:
        raise AppError(f"{file}: the cron {cron.name!r}: {error}") from error
    assert isinstance(args, dict)
    return Scheduled(path, args, cron.times)


def _complete(file: Path, document: type[Document]) -> None:
    """Resolves annotations that name what the module defines further down."""
    try:
        document.model_rebuild()
    except (PydanticUndefinedAnnotation, PydanticUserError) as error:
        raise AppError(f"{file}: {document.__name__}: {error.message.splitlines()[0]}") from error


def _place(function: Function[Any, Any] | HttpAction) -> tuple[str, int]:
    """The file and the line of a function."""
    code = inspect.unwrap(function.handler).__code__
    return code.co_filename, code.co_firstlineno
