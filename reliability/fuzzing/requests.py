"""Requests over HTTP that are valid, and how they are spoiled: whole grammars for all that is answered.

A request is plain data: `method`, `target`, `headers` as pairs, and `body`, in which `⟨admin⟩` and the like stand for
what only a backend knows (see `world.filled`). `rendered` makes the bytes of it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote, urlencode

from reliability.fuzzing import spoil

Request = dict[str, Any]

_UUID: Final = "3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c11"
_FUNCTIONS: Final = (
    *("notes:list", "notes:pages", "notes:odd", "notes:fail", "notes:add", "notes:refuse", "notes:act"),
    *("notes:upload_url", "notes:file_url", "notes.js:list", "notes"),
)
_NO_FUNCTIONS: Final = (
    *("notes:digest", "notes:nothing", "os:system", "../notes:list", "notes:__class__", "_system/imports:begin"),
    *(
        "",
        ":",
        "::",
        "notes:list:x",
        "é:é",
        "\0:a",
        "auth/sessions:standing",
        "a" * 3000,
        "schema:Note",
        "canary:Perch",
    ),
)
_CREDENTIALS: Final = (
    *(
        "Convex ⟨admin~1⟩",
        "Convex ⟨admin~2⟩",
        "Convex",
        "Bearer ⟨user⟩",
        "Bearer ⟨user~3⟩",
        "Bearer ⟨apikey⟩",
        "Bearer ⟨apikey~4⟩",
        "Bearer ⟨session⟩",
        "Bearer x",
    ),
    *("Bearer eyJhbGciOiJub25lIn0.e30.", "Basic YTpi", "", "convex  ⟨admin⟩ ", "Bearer " + "x" * 70_000, "Convex é"),
    *(
        "Convex ⟨admin⟩:e30=",
        "Convex ⟨admin⟩:eyJ0b2tlbklkZW50aWZpZXIiOiJ4fHkifQ==",
        "Convex ⟨admin⟩:?",
        "Bearer ⟨file⟩",
    ),
)
_ODD_VALUES: Final = ("", "\x80\xff", "x" * 9000, "a,b", "0", "-1", "é", ";", '"', "\t", "null", "chunked", "9" * 40)
_ODD_NAMES: Final = (
    *("Accept", "Accept-Encoding", "Expect", "Host", "Origin", "Cookie", "X-Forwarded-For", "X-Forwarded-Proto"),
    *("Forwarded", "Upgrade", "Connection", "Content-Encoding", "Convex-Client", "Convex-Request-Id", "Sec-Fetch-Site"),
    *(
        "X-HTTP-Method-Override",
        "Range",
        "If-Match",
        "If-Modified-Since",
        "Traceparent",
        "Sentry-Trace",
        "X-Request-Id",
    ),
)
_METHODS: Final = ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "CONNECT")


def call(dice: random.Random) -> Request:
    """A function that is called."""
    path = spoil.mostly(dice, dice.choice(_FUNCTIONS), _NO_FUNCTIONS)
    args: Any = {"topic": dice.choice("tu"), "text": "x", "number": dice.random()}
    match path.partition(":")[2]:
        case "list" | "act":
            del args["text"], args["number"]
        case "pages":
            args = {
                "topic": "t",
                "opts": {"numItems": dice.randrange(5), "cursor": dice.choice((None, "⟨cursor⟩", "⟨cursor~4⟩"))},
            }
        case "odd":
            args = {"big": {"$integer": "KgAAAAAAAAA="}, "raw": {"$bytes": "AAE="}, "any": spoil.encoded_value(dice)}
        case "fail":
            args = {"how": dice.choice(("", "mine"))}
        case "refuse":
            args = {"text": "y"}
        case "upload_url":
            args = {}
        case "file_url":
            args = {"file": dice.choice(("⟨note⟩", "⟨note~5⟩", "⟨file⟩", _UUID)), "private": True}
    form = spoil.mostly(dice, dice.choice(("json", "convex_encoded_json", None)), ("xml", 1))
    body: Any = {"path": path, "args": [args] if dice.random() < 0.2 else args, "format": form}
    target = f"/api/{dice.choice(('query', 'query', 'mutation', 'action', 'function', 'query_at_ts', 'query_batch'))}"
    if target.endswith("at_ts"):
        body["ts"] = dice.choice(("⟨ts⟩", "⟨ts~6⟩", "AAAAAAAAAAA="))
    elif target.endswith("batch"):
        body = {"queries": [body] * dice.choice((0, 1, 2, 3, 1001))} if dice.random() < 0.9 else body
    elif dice.random() < 0.15:
        target = f"/api/run/{quote(path.replace(':', '/'))}"
    elif dice.random() < 0.15:
        given = {"path": path, "args": spoil.hostile(dice, args), "format": dice.choice(("json", "x"))}
        return {"method": "GET", "target": f"/api/query?{_query(given)}", "headers": [], "body": ""}
    return _json(dice, target, body)


def file(dice: random.Random) -> Request:
    """A file that is sent or fetched."""
    if dice.random() < 0.35:
        digest = dice.choice(("sha-256=" + "A" * 43 + "=", "sha-256=?", "md5=x", "sha-256=" + "A" * 9000))
        headers = [
            ["Content-Type", spoil.mostly(dice, "text/plain", ("é", "a/b\x80", "x" * 300, "text/html, image/png"))]
        ]
        headers += [["Digest", digest]] if dice.random() < 0.3 else []
        target = dice.choice(
            ("⟨upload⟩", "⟨upload⟩", "⟨upload~7⟩", "/api/storage/upload?token=x", "/api/storage/upload")
        )
        return {"method": "POST", "target": target, "headers": headers, "body": "b" * dice.choice((0, 9, 9, 70_000))}
    places = (
        *("⟨file⟩", "⟨private⟩", "⟨file⟩", "⟨private~8⟩", "⟨file~9⟩", f"/api/storage/{_UUID}", "/api/storage/private"),
        *(
            "/api/storage/../admin_key",
            "/api/storage/%2e%2e/x",
            "/api/storage/%00",
            "/api/storage/" + "a" * 3000,
            "⟨file⟩/",
        ),
    )
    ranges = (
        *(
            "bytes=0-3",
            "bytes=-2",
            "bytes=5-",
            "bytes=9-1",
            "bytes=99999-",
            "bytes=" + "0-0," * 1500,
            "bytes=0-" + "9" * 5000,
        ),
        *(
            "bytes=-0",
            "bytes=a-b",
            "items=0-1",
            "bytes=0-1,2-3",
            "bytes=-99999999999999999999",
            "bytes",
            "bytes=\xb2-\xb3",
        ),
    )
    conditions = ("*", '"x"', "W/" + '"x",' * 2000, "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 99 Foo 9999", "0", '"' * 900)
    headers = [["Range", dice.choice(ranges)]] if dice.random() < 0.7 else []
    for name in ("If-None-Match", "If-Match", "If-Range", "If-Modified-Since", "If-Unmodified-Since"):
        if dice.random() < 0.2:
            headers.append([name, dice.choice(conditions)])
    return {
        "method": dice.choice(("GET", "GET", "HEAD")),
        "target": dice.choice(places),
        "headers": headers,
        "body": "",
    }


def site(dice: random.Random) -> Request:
    """An HTTP action that is asked."""
    paths = (
        "/topic?topic=t",
        "/read/a",
        "/read/a/b%20c",
        "/topic",
        "/read/%ff",
        "/none",
        "",
        "/",
        "/read/../topic",
        "/read/./",
    )
    headers = (
        [["Cookie", dice.choice(("a=b; c=d", "a" * 5000, ";;=", 'a="b', "é=é", "a=b" * 900))]]
        if dice.random() < 0.4
        else []
    )
    headers += [["Authorization", dice.choice(_CREDENTIALS)]] if dice.random() < 0.3 else []
    body = "x" * dice.choice((0, 5, 5, 70_000))
    return {
        "method": dice.choice(("GET", "POST", "PUT")),
        "target": "/http" + dice.choice(paths),
        "headers": headers,
        "body": body,
    }


def admin(dice: random.Random) -> Request:
    """What only administrators may ask."""
    name = spoil.mostly(
        dice, "X" + "abc"[dice.randrange(3)], ("", "1x", "A B", "SECRET\0", "x" * 300, "CONVEX_SITE_URL", "é")
    )
    changes = [{"name": name, "value": spoil.mostly(dice, dice.choice(("v", None)), ("v" * 9000, "\ud800", 7))}]
    wanted = {
        "format": dice.choice(("jsonLines", "csv", "zip", "exe")),
        "mode": dice.choice(("append", "replace", "x")),
    }
    finish = {
        "import": {**wanted, "tableName": "notes"},
        "uploadToken": dice.choice(("⟨import⟩", "x")),
        "partTokens": ["x"],
    }
    posts: tuple[tuple[str, Any], ...] = (
        ("/api/update_environment_variables", {"changes": changes}),
        ("/api/import/start_upload", {}),
        ("/api/import/upload_part?uploadToken=⟨import⟩", {}),
        ("/api/import/finish_upload", finish),
        ("/api/perform_import", {"importId": dice.choice(("⟨note⟩", "x"))}),
        ("/api/cancel_import", {"importId": dice.choice(("⟨note⟩", "⟨note~9⟩"))}),
        ("/api/reload", {}),
        (
            "/api/function",
            {"path": dice.choice(("notes:digest", "_system/imports:list_imports", "notes:list")), "args": {}},
        ),
        ("/api/deploy2/start_push", {}),
    )
    gets = (
        *("/api/why", "/api/why?limit=0", "/api/why?limit=²", "/api/why?limit=" + "9" * 5000, "/api/why?function=é"),
        *("/api/export/zip/1", "/api/export/zip/" + "9" * 30, "/api/export/zip/" + "9" * 5000, "/api/export/zip/-1"),
        *(
            "/api/stream_function_logs?cursor=nan",
            "/api/stream_function_logs?cursor=0",
            "/metrics",
            "/api/export/zip/x",
        ),
    )
    if dice.random() < 0.3:
        made: Request = {"method": "GET", "target": dice.choice(gets), "headers": [], "body": ""}
    else:
        made = _json(dice, *dice.choice(posts))
    key = spoil.mostly(dice, "Convex ⟨admin⟩", _CREDENTIALS, 0.7)
    made["headers"] = [each for each in made["headers"] if each[0] != "Authorization"] + [["Authorization", key]]
    return made


def sign_in(dice: random.Random) -> Request:
    """What sign-in answers, with forms and with JSON."""
    posts = (
        *(
            "sign-up/password",
            "sign-in/password",
            "verify-email",
            "send-verification",
            "forgot-password",
            "reset-password",
        ),
        *("change-password", "set-password", "reauthenticate", "sign-in/anonymous", "sign-out", "token", "profile"),
        *("change-email", "confirm-email", "ways/remove", "delete-account", "api-keys", "nothing", "../auth/token"),
    )
    gets = (
        "session",
        "token",
        "methods",
        "sign-in",
        "sign-up",
        "reset-password?token=x",
        "verify-email?token=x",
        "account",
        "x",
    )
    fields: dict[str, Any] = {
        "email": spoil.mostly(
            dice, f"u{dice.randrange(50)}@example.com", ("", "a", "a@b", "é@é.é", "a@" + "b" * 5000, "a\r\n@b.c")
        ),
        "password": spoil.mostly(dice, "correct horse battery", ("", "a", "p" * 5000, "\0", "é" * 99)),
        "token": dice.choice(("x", "⟨session⟩", "⟨session~3⟩", "")),
        "name": dice.choice(("Ada", "<script>", "x" * 5000)),
        "redirect": dice.choice(
            ("/", "//evil", "https:evil", "\\evil", "https://app.example@evil", "javascript:alert(1)")
        ),
        "way": dice.choice(("⟨note⟩", "x")),
        "scopes": dice.choice((["a"], "a", None, [1])),
        "newPassword": "another horse battery",
    }
    fields = {name: value for name, value in fields.items() if dice.random() < 0.8}
    credentials = dice.choice((None, None, "Bearer ⟨session⟩", "Bearer ⟨session~2⟩", "Bearer ⟨user⟩"))
    headers = [["Authorization", credentials]] if credentials else []
    if dice.random() < 0.5:
        headers.append(
            [
                "Origin",
                spoil.mostly(dice, "https://app.example", ("https://evil", "null", "https://host.evil", "x"), 0.5),
            ]
        )
    if dice.random() < 0.2:
        headers.append(
            [
                "Cookie",
                dice.choice(("yugen-session=x.y", "__Host-yugen-session=⟨session⟩", "yugen-session=" + "x" * 5000)),
            ]
        )
    if dice.random() < 0.3:
        headers.append(["Accept", "text/html"])
    if dice.random() < 0.2:
        return {"method": "GET", "target": f"/auth/{dice.choice(gets)}", "headers": headers, "body": ""}
    # Hashing a password takes longer than all else together.
    path = dice.choice(posts if dice.random() < 0.3 else posts[8:])
    if dice.random() < 0.4:
        kinds = (
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=b",
            "multipart/form-data",
            "text/plain",
        )
        kind = dice.choice(kinds)
        body = _query(fields)
        if "multipart" in kind:
            parts = (
                f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                for name, value in fields.items()
            )
            body = "".join(parts) + dice.choice(("--b--\r\n", "--b", ""))
        body = spoil.corrupt(dice, body) if dice.random() < 0.3 else body
        headers.append(["Content-Type", kind])
        return {"method": "POST", "target": f"/auth/{path}", "headers": headers, "body": body}
    made = _json(dice, f"/auth/{path}", fields)
    made["headers"] += headers
    return made


def other(dice: random.Random) -> Request:
    """All else that is answered, and what is not."""
    targets = (
        *(
            "/",
            "/version",
            "/instance_name",
            "/health",
            "/ready",
            "/openapi.json",
            "/docs",
            "/client.js",
            "/echo",
            "/metrics",
        ),
        *(
            "/../beside.txt",
            "/%2e%2e/beside.txt",
            "/..%2fbeside.txt",
            "/%2e%2e%5cbeside.txt",
            "//api//query",
            "/api%2fquery",
        ),
        *(
            "/a%00b",
            "/" + "a" * 5000,
            "/%ff%fe",
            "/index.html",
            "/api/",
            "/api/none",
            "*",
            "/?" + "a=b&" * 2000,
            "/.well-known/jwks.json",
        ),
        *(
            "/.yugen/admin_key",
            "/app/auth.py",
            "/api/1.2.3/sync",
            "/api/sync",
            "http://a/version",
            "http://b/version",
            "/docs/../x",
        ),
        *(
            "/.well-known/openid-configuration",
            "/auth/",
            "/auth",
            "/http",
            "/http/../api/query",
            "/api/query/",
            "/%61pi/query",
        ),
    )
    body = "x" * dice.choice((0, 0, 5, 70_000))
    return {
        "method": dice.choice(("GET", "GET", "POST", "HEAD")),
        "target": dice.choice(targets),
        "headers": [],
        "body": body,
    }


KINDS: Final[tuple[tuple[Callable[[random.Random], Request], int], ...]] = (
    *((call, 40), (file, 15), (site, 10), (admin, 15)),
    *((sign_in, 10), (other, 10)),
)


def request(dice: random.Random) -> Request:
    """A request of any kind, spoiled more often than not."""
    made = dice.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])[0](dice)
    if dice.random() < 0.1:
        made["method"] = dice.choice(_METHODS)
    if dice.random() < 0.1:
        made["target"] = spoil.corrupt(dice, made["target"], among=0x100)
    while dice.random() < 0.2:
        made["headers"].append([dice.choice(_ODD_NAMES), dice.choice(_ODD_VALUES)])
    return made


def _json(dice: random.Random, target: str, body: Any) -> Request:
    kind = spoil.mostly(
        dice, "application/json", ("text/plain", "application/json; charset=x", "", "application/x-json", "é"), 0.95
    )
    headers = [["Content-Type", kind]]
    if dice.random() < 0.2:
        headers.append(["Authorization", dice.choice(_CREDENTIALS)])
    if dice.random() < 0.1:
        headers.append(["Convex-Request-Id", dice.choice(("r-1", "é", "x" * 99, ""))])
    text = json.dumps(body) if dice.random() < 0.4 else spoil.hostile(dice, body)
    return {"method": "POST", "target": target, "headers": headers, "body": text}


def _query(fields: dict[str, Any]) -> str:
    return urlencode({name: str(value).encode("utf-8", "replace") for name, value in fields.items()}, safe="⟨⟩~")


def rendered(made: Request) -> bytes:
    """The bytes of a request whose placeholders are filled. Its length is said, unless its headers say one."""
    body = str(made.get("body", "")).encode("utf-8", "surrogatepass")
    pairs = [(str(each[0]), str(each[-1])) for each in made.get("headers", ()) if each]
    names = {name.lower() for name, _ in pairs}
    if "host" not in names:
        pairs.insert(0, ("Host", "a"))
    if not names & {"content-length", "transfer-encoding"} and (body or made.get("method") != "GET"):
        pairs.append(("Content-Length", str(len(body))))
    lines = [
        f"{made.get('method', 'GET')} {made.get('target', '/')} HTTP/1.1",
        *(f"{name}: {value}" for name, value in pairs),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body
