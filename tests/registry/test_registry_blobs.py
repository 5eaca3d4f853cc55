from __future__ import annotations

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry_material import tensors

from ccvd_registry import BlobCorrupt, BlobMissing, BlobStore, IllegalDigest

_HEX = set("0123456789abcdef")


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_what_goes_in_comes_out_under_its_sha256(contents: list[bytes]) -> None:
    with TemporaryDirectory() as folder:
        blobs = BlobStore(Path(folder))
        digests = [blobs.put(data) for data in contents]
        assert digests == [hashlib.sha256(data).hexdigest() for data in contents]
        assert [blobs.verify(digest).read_bytes() for digest in digests] == contents
        assert len(list(blobs.root.rglob("*.*"))) == len(set(contents))


@settings(max_examples=25, deadline=None)
@given(st.sets(st.binary(max_size=20), max_size=6), st.data())
def test_collect_keeps_what_is_referenced_and_nothing_else(contents: set[bytes], draw: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        blobs = BlobStore(Path(folder))
        sizes = {blobs.put(data): len(data) for data in contents}
        kept = draw.draw(st.sets(st.sampled_from(sorted(sizes)))) if sizes else set()
        freed = blobs.collect(kept)
        assert freed == sum(size for digest, size in sizes.items() if digest not in kept)
        assert {path.stem for path in blobs.root.rglob("*.*")} == kept
        assert blobs.collect(kept) == 0


def test_a_blob_is_a_safetensors_file_under_a_fan_out_folder(blobs: BlobStore) -> None:
    digest = blobs.put(tensors("adapter", 1))
    assert blobs.path(digest) == blobs.root / digest[:2] / f"{digest}.safetensors"


def test_an_intact_blob_is_not_rewritten(blobs: BlobStore) -> None:
    data = tensors("adapter", 1)
    path = blobs.path(blobs.put(data))
    os.utime(path, (1, 1))
    blobs.put(data)
    assert path.stat().st_mtime == 1


def test_a_tampered_blob_is_noticed_and_putting_it_again_heals_it(blobs: BlobStore) -> None:
    data = tensors("adapter", 1)
    digest = blobs.put(data)
    path = blobs.path(digest)
    path.write_bytes(data[:-1] + b"\0")
    with pytest.raises(BlobCorrupt, match=digest):
        blobs.verify(digest)
    blobs.put(data)
    assert blobs.verify(digest).read_bytes() == data


def test_a_missing_blob_is_named(blobs: BlobStore) -> None:
    with pytest.raises(BlobMissing, match="0" * 64):
        blobs.path("0" * 64)


@given(
    st.text(max_size=80) | st.text(st.sampled_from("0123456789abcdefABCDEF./\\\n"), min_size=60, max_size=68)
)
def test_only_a_digest_becomes_a_path(text: str) -> None:
    if len(text) == 64 and set(text) <= _HEX:
        return
    with pytest.raises(IllegalDigest):
        BlobStore(Path("nowhere")).path(text)


@pytest.mark.parametrize(
    "digest",
    ["", "../../etc/passwd", "/etc/passwd", "a" * 63, "a" * 65, "A" * 64, "a" * 64 + "\n", "../" + "a" * 61],
)
def test_a_digest_cannot_leave_the_store(blobs: BlobStore, digest: str) -> None:
    for look_up in (blobs.path, blobs.verify):
        with pytest.raises(IllegalDigest):
            look_up(digest)


def test_a_failed_write_leaves_no_file(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        blobs.put(b"data")
    assert not list(blobs.root.rglob("*.*"))


def test_collect_sweeps_unfinished_files_and_leaves_foreign_ones(blobs: BlobStore) -> None:
    kept = blobs.put(b"kept")
    folder = blobs.path(kept).parent
    (folder / "0123.tmp").write_bytes(b"12345")
    (folder / "notes.txt").write_text("mine")
    (folder / "not-a-digest.safetensors").write_text("mine")
    assert blobs.collect({kept}) == 5
    assert {path.name for path in folder.iterdir()} == {
        f"{kept}.safetensors",
        "notes.txt",
        "not-a-digest.safetensors",
    }
