"""Files in an object store that fails, and what is left there."""

from __future__ import annotations

import pytest

from tests.object_store import ObjectStore
from yugen.files.objects import ObjectFiles
from yugen.files.store import BadFileStore, FileStoreError, new_key


def test_objects_are_below_the_prefix(s3: ObjectStore) -> None:
    writer = ObjectFiles("s3://bucket/some/prefix").create(key := new_key())
    writer.write(b"x")
    writer.finish()
    assert list(s3.objects) == [f"bucket/some/prefix/{key}"]


def test_an_upload_that_is_given_up_leaves_nothing_at_the_store(s3: ObjectStore) -> None:
    writer = ObjectFiles("s3://bucket").create(new_key())
    for _ in range(20):
        writer.write(bytes(1024 * 1024))
    assert s3.uploads != {}
    writer.abandon()
    assert (s3.uploads, s3.objects) == ({}, {})


def test_others_objects_are_left_alone(s3: ObjectStore) -> None:
    s3.objects["bucket/readme.txt"] = b"mine", s3.clock
    files = ObjectFiles("s3://bucket")
    assert [held for batch in files.held() for held in batch] == []


def test_a_store_that_refuses_is_named(s3: ObjectStore) -> None:
    s3.failing = True
    files = ObjectFiles("s3://bucket")
    with pytest.raises(FileStoreError, match="s3://bucket cannot be used"):
        files.open(new_key(), 0, 1)
    writer = files.create(new_key())
    writer.write(b"x")
    with pytest.raises(FileStoreError, match="s3://bucket cannot be used"):
        writer.finish()


def test_what_is_no_store_is_refused() -> None:
    with pytest.raises(BadFileStore, match="cannot be kept at ftp://x"):
        ObjectFiles("ftp://x")


def test_a_store_that_is_not_there_is_given_up_soon(monkeypatch: pytest.MonkeyPatch, s3: ObjectStore) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(FileStoreError, match="s3://bucket cannot be used"):
        ObjectFiles("s3://bucket").open(new_key(), 0, 1)
