"""Archives as they are written."""

from __future__ import annotations

import io
import math
from pathlib import Path
from zipfile import ZipFile

import orjson
import pytest

from yugen.archive.writer import writing_archive
from yugen.values import Int64

USERS = [
    {"_id": "u1", "_creationTime": 1.5, "big": Int64(2**60), "raw": b"\x00\x01", "n": math.inf, "either": Int64(1)},
    {"_id": "u2", "_creationTime": 2.5, "big": Int64(-1), "raw": b"", "n": 3.0, "either": "é"},
]


SHAPE = (
    '{"_id": string, "_creationTime": normalfloat64, "big": int64, "raw": bytes, "n": float64, '
    '"either": int64 | string}'
)


def write(file: io.BytesIO) -> None:
    with writing_archive(file, {"users": 10_002, "empty": 10_001}) as archive:
        for table, documents in (("users", USERS), ("empty", [])):
            with archive.documents(table) as entry:
                for document in documents:
                    entry.write([document])
            with archive.schema(table, entry.shape) as hints:
                if entry.shape.ambiguous:
                    hints.write(documents)


def test_the_layout_of_an_archive() -> None:
    file = io.BytesIO()
    write(file)
    with ZipFile(file) as archive:
        assert archive.testzip() is None
        text = {name: archive.read(name).decode() for name in archive.namelist()}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}
    lines = {
        name: [orjson.loads(line) for line in content.splitlines()] for name, content in text.items() if "/" in name
    }
    assert text["README.md"].startswith("# A snapshot of a Yugen deployment")
    assert lines == {
        "_tables/documents.jsonl": [{"name": "empty", "id": 10001}, {"name": "users", "id": 10002}],
        "users/documents.jsonl": [
            {"_id": "u1", "_creationTime": 1.5, "big": str(2**60), "raw": "AAE=", "n": "Infinity", "either": "1"},
            {"_id": "u2", "_creationTime": 2.5, "big": "-1", "raw": "", "n": 3.0, "either": "é"},
        ],
        "users/generated_schema.jsonl": [
            SHAPE,
            {
                "u1": {
                    "_id": "infer",
                    "_creationTime": "infer",
                    "big": "infer",
                    "raw": "infer",
                    "n": "infer",
                    "either": "int64",
                }
            },
        ],
        "empty/documents.jsonl": [],
        "empty/generated_schema.jsonl": ["never"],
    }


def test_the_same_documents_make_the_same_archive() -> None:
    one, other = io.BytesIO(), io.BytesIO()
    write(one)
    write(other)
    assert one.getvalue() == other.getvalue()


class FullDisk(io.BytesIO):
    room = 200

    def write(self, data: object) -> int:
        assert isinstance(data, bytes)
        self.room -= len(data)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_what_fails_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        write(FullDisk())
    with pytest.raises(LookupError), writing_archive(io.BytesIO(), {}) as archive, archive.documents("users"):
        raise LookupError
