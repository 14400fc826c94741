"""Files to be imported: what is read of them, and what is refused."""

from __future__ import annotations

import io
import stat
import zlib
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import documents
from yugen.archive import reader
from yugen.archive.reader import InvalidImport, open_import
from yugen.archive.writer import writing_archive
from yugen.values import Int64, Value, dumps

USER = b'{"_id": "u1", "name": "ada"}\n'


def archive(folder: Path, *entries: tuple[str | ZipInfo, bytes]) -> Path:
    file = folder / "import.zip"
    with ZipFile(file, "w", ZIP_DEFLATED) as made, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("warnings.warn", lambda *args, **kwargs: None)  # of names that come twice
        for entry, content in entries:
            made.writestr(entry, content)
    return file


def read(file: Path, form: Any = "zip", table: str | None = None) -> dict[str, list[Any]]:
    with open_import(file, form, table=table, kinds={}) as found:
        return {each.table: list(each.rows()) for each in found.tables}


def refused(file: Path, form: Any = "zip", table: str | None = None) -> str:
    with pytest.raises(InvalidImport) as caught:
        read(file, form, table)
    return str(caught.value)


def test_an_archive_of_tables(tmp_path: Path) -> None:
    file = archive(
        tmp_path,
        ("README.md", b"hello"),
        ("_tables/documents.jsonl", b'{"name": "users", "id": 10001}\n{"name": "gone", "id": 10002.0}\n'),
        ("users/", b""),
        ("users/documents.jsonl", b'{"name": "ada", "n": {"$integer": "BwAAAAAAAAA="}}\n\n{"name": "bob"}\n'),
        ("notes/generated_schema.jsonl", b'"{\\"n\\": int64 | string}"\n{"k1": {"n": "int64"}}\n'),
        ("notes/documents.jsonl", b'{"_id": "k1", "n": "7"}\n{"_id": "k2", "n": "7"}\n'),
        ("loose/generated_schema.jsonl", b'"never"\n'),
    )
    with open_import(file, "zip", table=None, kinds={}) as found:
        notes, users = found.tables
        assert (notes.table, notes.number, users.table, users.number) == ("notes", None, "users", 10_001)
        assert users.place(3) == "row 3 of users/documents.jsonl"
        assert list(users.rows()) == [(1, {"name": "ada", "n": Int64(7)}), (3, {"name": "bob"})]
        rows = list(notes.rows())
        assert rows == [(1, {"_id": "k1", "n": Int64(7)}), (2, {"_id": "k2", "n": "7"})]
        assert type(rows[0][1]["n"]) is Int64
        assert found.notes == ()


def test_folders_above_the_tables_do_not_count(tmp_path: Path) -> None:
    file = archive(tmp_path, ("snapshot/deep/users/documents.jsonl", USER), ("__MACOSX/users/._documents.jsonl", b"x"))
    assert list(read(file)) == ["users"]


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    file = archive(
        tmp_path,
        ("users/documents.jsonl", USER),
        ("_storage/kg1.png", b"x"),
        ("_storage/kg2.png", b"x"),
        ("_scheduled_functions/documents.jsonl", b"not read"),
        ("_components/billing/users/documents.jsonl", b"not read"),
        ("_components/mail/_storage/kg3.png", b"not read"),
    )
    with open_import(file, "zip", table=None, kinds={}) as found:
        assert [each.table for each in found.tables] == ["users"]
        assert found.notes == (
            "2 stored files are left out, for no _storage/documents.jsonl says what they are.",
            "System tables are left out: _scheduled_functions.",
            "Components are left out, which an app does not have: billing, mail.",
        )


@given(st.lists(documents, max_size=5), st.booleans())
def test_what_was_written_is_read(written: list[dict[str, Value]], trusted: bool) -> None:
    given = [{"_id": f"id{number}", "_creationTime": 1.5, **each} for number, each in enumerate(written)]
    file = io.BytesIO()
    with writing_archive(file, {"notes": 10_001}) as made:
        with made.documents("notes") as entry:
            entry.write(given)
        with made.schema("notes", entry.shape) as hints:
            if entry.shape.ambiguous:
                hints.write(given)
    with ZipFile(file) as content:
        found = reader._Archive(content, reader._Budget(2**30), reader._Budget(0), trusted=trusted).read()
        assert [dumps(fields) for _, fields in found.tables[0].rows()] == [dumps(each) for each in given]


def test_an_archive_of_our_own_may_be_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "own.zip"
    rows = [{"_id": f"id{number}", "a": value} for number, value in enumerate([Int64(1), "1", b"1", "x", Int64(2)])]
    with file.open("wb") as out, writing_archive(out, {"notes": 10_001}) as made:
        with made.documents("notes") as entry:
            entry.write(rows)
        with made.schema("notes", entry.shape) as hints:
            hints.write(rows)
    monkeypatch.setattr(reader, "BYTES_MAX", 10)
    with open_import(file, "zip", table=None, kinds={}, trusted=True) as found:
        for _ in range(2):
            assert [row for _, row in found.tables[0].rows()] == rows
    with pytest.raises(reader.InvalidImport, match="at most 10"), open_import(file, "zip", table=None, kinds={}):
        pass


def symlink(name: str, mode: int = stat.S_IFLNK) -> ZipInfo:
    entry = ZipInfo(name)
    entry.external_attr = (mode | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ([("../users/documents.jsonl", USER)], "a file called '../users/documents.jsonl', which no export does"),
        ([("users/../../documents.jsonl", USER)], "which no export does"),
        ([("/users/documents.jsonl", USER)], "which no export does"),
        ([("C:/users/documents.jsonl", USER)], "which no export does"),
        ([("..\\users\\documents.jsonl", USER)], "which no export does"),
        (
            [(symlink("users/documents.jsonl"), b"/etc/passwd")],
            "users/documents.jsonl in the archive is a link or a dev",
        ),
        ([(symlink("users/fifo", stat.S_IFIFO), b"")], "is a link or a device"),
        ([("users/documents.jsonl", USER), ("users/documents.jsonl", b"")], "two files called users/documents.jsonl"),
        ([("users/documents.jsonl", USER), ("a/users/documents.jsonl", USER)], "are both of the table users"),
        ([("1users/documents.jsonl", USER)], "'1users' cannot name a table"),
        ([("documents.jsonl", USER)], "'' cannot name a table"),
        ([("README.md", b"")], "The archive holds no documents.jsonl of any table"),
        ([], "The archive holds no documents.jsonl of any table"),
        ([("users/documents.jsonl", USER + b"{")], "users/documents.jsonl: row 2 is not valid JSON"),
        (
            [("users/documents.jsonl", b'{"a": {"$integer": "x"}}')],
            "users/documents.jsonl: row 1 is not of wire values: ",
        ),
        (
            [("users/documents.jsonl", USER), ("users/generated_schema.jsonl", b'"uniform"')],
            "users/generated_schema.jsonl: 'uniform' is not expected in the text of a shape",
        ),
        (
            [("users/documents.jsonl", USER), ("users/generated_schema.jsonl", b"{}\n")],
            "the first line is not the shape of the table",
        ),
        (
            [("users/documents.jsonl", USER), ("users/generated_schema.jsonl", b"")],
            "users/generated_schema.jsonl: not valid JSON",
        ),
        (
            [("users/documents.jsonl", USER), ("users/generated_schema.jsonl", b'"{\\"name\\": int64}"')],
            "users/documents.jsonl: row 1 is not of the table's shape: 'ada' should be of the kind int64",
        ),
        ([("_tables/documents.jsonl", b'{"name": "users"}')], "_tables/documents.jsonl: row 1 is not of the form"),
        (
            [("_tables/documents.jsonl", b'{"name": "a", "id": 1}\n{"name": "a", "id": 2}')],
            "row 2 names the table a or the number 2 again",
        ),
        (
            [("_tables/documents.jsonl", b'{"name": "a", "id": 1}\n{"name": "b", "id": 1}')],
            "row 2 names the table b or the number 1 again",
        ),
    ],
)
def test_an_archive_that_no_export_makes(
    tmp_path: Path, entries: list[tuple[str | ZipInfo, bytes]], fault: str
) -> None:
    assert fault in refused(archive(tmp_path, *entries))


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    for content in (b"", b"PK", b"PK\x05\x06" + bytes(18) + b"x", b"x" * 100_000):
        (tmp_path / "import.zip").write_bytes(content)
        assert "cannot be read as an archive" in refused(tmp_path / "import.zip") or not content.strip(b"PK\x05\x06\0x")


def test_a_damaged_archive(tmp_path: Path) -> None:
    file = archive(tmp_path, ("users/documents.jsonl", USER * 100))
    content = file.read_bytes()
    place = content.index(b"users/documents.jsonl") + 30
    file.write_bytes(content[:place] + b"\xff\xff\xff\xff" + content[place + 4 :])
    assert "users/documents.jsonl: cannot be read as an archive" in refused(file)


def test_an_encrypted_archive(tmp_path: Path) -> None:
    file = archive(tmp_path, ("users/documents.jsonl", USER))
    content = bytearray(file.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(content)
    assert "users/documents.jsonl in the archive is encrypted" in refused(file)


def test_a_bomb_is_refused_for_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BYTES_MAX", 1_000_000)
    file = archive(
        tmp_path, *[(f"t{number}/documents.jsonl", b" " * 300_000) for number in range(4)], ("README.md", bytes(10**6))
    )
    assert file.stat().st_size < 10_000
    assert "The documents are 1200000 bytes of text or more; an import has at most 1000000." in refused(file)


def test_a_bomb_is_refused_for_what_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BYTES_MAX", 1_000_000)
    lines = (USER + b"\n" * 1000) * 2000
    file = archive(tmp_path, ("users/documents.jsonl", lines))
    content = bytearray(file.read_bytes())
    # It says that it unpacks to little.
    place = content.index(b"PK\x01\x02") + 24
    assert int.from_bytes(content[place : place + 4], "little") == len(lines)
    content[place : place + 4] = (1000).to_bytes(4, "little")
    file.write_bytes(content)
    assert refused(file)
    # Its list says what is so, and is not what is asked.
    monkeypatch.setattr(reader._Archive, "_check_declared", lambda self, entries: None)
    assert "an import has at most 1000000" in refused(archive(tmp_path, ("users/documents.jsonl", lines)))


def test_a_list_of_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "DIRECTORY_BYTES_MAX", 5000)
    file = archive(tmp_path, *[(f"t{number}/x", b"") for number in range(200)])
    assert "The archive holds too many files" in refused(file)


def test_an_array_hidden_in_a_stream_of_zeros_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BYTES_MAX", 10_000)
    packer = zlib.compressobj()
    assert len(packer.compress(bytes(10**6))) < 10_000
    for form in ("jsonLines", "jsonArray", "csv"):
        file = tmp_path / "import"
        file.write_bytes(b"[" + b" " * 20_000)
        assert "an import has at most 10000" in refused(file, form, "users")


@pytest.mark.parametrize(
    ("form", "content", "rows"),
    [
        ("jsonLines", b'{"a": 1}\n{"a": {"$bytes": "AAE="}}\n', [{"a": 1.0}, {"a": b"\x00\x01"}]),
        ("jsonArray", b'[{"a": 1}, {"a": "x"}]', [{"a": 1.0}, {"a": "x"}]),
        ("csv", b"a\n1\nx\n", [{"a": 1.0}, {"a": "x"}]),
        ("jsonLines", b"", []),
    ],
)
def test_documents_of_one_table(tmp_path: Path, form: str, content: bytes, rows: list[Any]) -> None:
    file = tmp_path / "import"
    file.write_bytes(content)
    assert read(file, form, "users") == {"users": [(number, fields) for number, fields in enumerate(rows, 1)]}


@pytest.mark.parametrize(
    ("form", "content", "table", "fault"),
    [
        ("jsonLines", b'{"a": 1}\n{', "users", "row 2 is not valid JSON"),
        ("jsonLines", b'{"a": {"$bytes": 1}}', "users", "row 1 is not of wire values: .a: $bytes holds base64 text"),
        ("jsonLines", b'{"$bytes": ""}', "users", "row 1 is not a document but a single value."),
        ("jsonArray", b"{}", "users", "The file is not an array of objects"),
        ("csv", b"a,a\n", "users", "The file is without a name of its own for each column in the first row."),
        ("csv", b"a\n1\n", "_users", "'_users' cannot name a table"),
        ("csv", b"a\n1\n", None, "Name the table that the documents are for"),
        ("zip", b"", "users", "An archive names its tables itself"),
    ],
)
def test_a_file_of_one_table_that_is_none(
    tmp_path: Path, form: str, content: bytes, table: str | None, fault: str
) -> None:
    file = tmp_path / "import"
    file.write_bytes(content)
    assert fault in refused(file, form, table)


def test_what_goes_wrong_elsewhere_is_no_fault_of_the_file(tmp_path: Path) -> None:
    file = archive(tmp_path, ("users/documents.jsonl", USER))
    with pytest.raises(ValueError, match="^elsewhere$"), open_import(file, "zip", table=None, kinds={}):  # noqa: RUF043
        raise ValueError("elsewhere")
