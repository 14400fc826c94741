"""A small object store for tests: what of S3's API a client needs that stores, reads, lists and removes objects."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

Stored = tuple[bytes, float]


class ObjectStore(ThreadingHTTPServer):
    """The store.

    Attributes:
        objects: what it holds, by bucket and key.
        uploads: parts of uploads that are not complete, by the id of the upload.
        clock: what time it is, in seconds since the epoch.
        failing: whether it answers everything with an error.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.clock = 1_800_000_000.0
        self.failing = False

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a client finds it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that leaves is none."""


class _Handler(BaseHTTPRequestHandler):
    server: ObjectStore
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        if self.server.failing:
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            return
        parts = urlsplit(self.path)
        key = unquote(parts.path).lstrip("/")
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        getattr(self, f"_{self.command.lower()}")(key, query, body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815 -- the names that the base class looks for

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _put(self, key: str, query: dict[str, str], body: bytes) -> None:
        if "uploadId" in query:
            self.server.uploads[query["uploadId"]][int(query["partNumber"])] = body
        else:
            self.server.objects[key] = body, self.server.clock
        self._answer(200, ETag=_etag(body))

    def _post(self, key: str, query: dict[str, str], body: bytes) -> None:
        if "uploads" in query:
            upload = f"upload-{len(self.server.uploads)}"
            self.server.uploads[upload] = {}
            self._answer(200, f"<R><UploadId>{upload}</UploadId></R>".encode())
        elif "delete" in query:
            bucket = key.rstrip("/")
            for name in re.findall(r"<Key>([^<]*)</Key>", body.decode()):
                self.server.objects.pop(f"{bucket}/{name}", None)
            names = re.findall(r"<Key>([^<]*)</Key>", body.decode())
            deleted = "".join(f"<Deleted><Key>{name}</Key></Deleted>" for name in names)
            self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())
        else:
            parts = self.server.uploads.pop(query["uploadId"])
            content = b"".join(parts[number] for number in sorted(parts))
            self.server.objects[key] = content, self.server.clock
            self._answer(200, f"<R><ETag>{escape(_etag(content))}</ETag></R>".encode())

    def _delete(self, key: str, query: dict[str, str], body: bytes) -> None:
        if "uploadId" in query:
            self.server.uploads.pop(query["uploadId"], None)
        self.server.objects.pop(key, None)
        self._answer(204)

    def _head(self, key: str, query: dict[str, str], body: bytes) -> None:
        self._get(key, query, body)

    def _get(self, key: str, query: dict[str, str], body: bytes) -> None:
        if "list-type" in query:
            self._list(key.rstrip("/"), query.get("prefix", ""))
            return
        if key not in self.server.objects:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        content, modified = self.server.objects[key]
        headers = {"ETag": _etag(content), "Last_Modified": formatdate(modified, usegmt=True)}
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        if found:
            start, end = int(found[1]), min(int(found[2]) + 1, len(content))
            content_range = f"bytes {start}-{end - 1}/{len(content)}"
            self._answer(206, content[start:end], Content_Range=content_range, **headers)
        else:
            self._answer(200, content, Content_Length=str(len(content)), **headers)

    def _list(self, bucket: str, prefix: str) -> None:
        lines = []
        for name, (content, _) in sorted(self.server.objects.items()):
            key = name.removeprefix(f"{bucket}/")
            if name.startswith(f"{bucket}/{prefix}"):
                lines.append(
                    f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
                    "<LastModified>2027-01-15T08:00:00.000Z</LastModified><ETag>e</ETag></Contents>"
                )
        self._answer(200, f"<ListBucketResult>{''.join(lines)}</ListBucketResult>".encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A store that runs meanwhile."""
    with ObjectStore() as store:
        thread = threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield store
        finally:
            store.shutdown()
            thread.join()
