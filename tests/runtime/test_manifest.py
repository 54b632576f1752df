"""A manifest finds every kind of damage to the files of a checkpoint."""

import random

import pytest

from avjax.runtime import manifest


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of three files, with its manifest."""
    rng = random.Random(0)
    for name in ("a", "d/b", "d/e/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(rng.randbytes(5000))
    manifest.write(tmp_path, step=3)
    return tmp_path


def test_an_undamaged_checkpoint_is_verified(folder):
    assert manifest.exists(folder) and manifest.damage(folder) == ""
    (folder / "new").write_bytes(b"x")  # Not part of what was saved.
    assert manifest.damage(folder) == ""


def test_each_of_500_flipped_bits_is_found(folder):
    rng = random.Random(1)
    for _ in range(500):
        path = folder / rng.choice(("a", "d/b", "d/e/c"))
        data = bytearray(path.read_bytes())
        place = rng.randrange(len(data))
        data[place] ^= 1 << rng.randrange(8)
        before = path.read_bytes()
        path.write_bytes(data)
        assert manifest.damage(folder) == f"{path.relative_to(folder)} is not what was saved"
        path.write_bytes(before)
    assert manifest.damage(folder) == ""


def test_truncated_deleted_and_swapped_files_are_found(folder):
    path, other = folder / "a", folder / "d" / "b"
    data = path.read_bytes()
    for size in (0, 1, 4999):
        path.write_bytes(data[:size])
        assert manifest.damage(folder) == f"a has {size} bytes, 5000 were saved"
    path.unlink()
    assert manifest.damage(folder) == "a is missing"
    path.write_bytes(other.read_bytes())
    other.write_bytes(data)
    assert manifest.damage(folder) == "a is not what was saved"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"files": [1]}', '{"files": {"a": 1}}'])
def test_a_damaged_manifest_is_damage(folder, text):
    (folder / manifest.FILENAME).write_text(text)
    assert manifest.damage(folder).startswith("manifest.json cannot be read")


def test_a_checkpoint_without_a_manifest_is_not_verified(folder):
    (folder / manifest.FILENAME).unlink()
    assert not manifest.exists(folder)
    assert manifest.damage(folder) == "manifest.json is missing"


def test_each_of_100_flipped_bits_of_a_manifest_is_found(folder):
    path, rng = folder / manifest.FILENAME, random.Random(2)
    before = path.read_bytes()
    for _ in range(100):
        data = bytearray(before)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        assert manifest.damage(folder)
    path.write_bytes(before)
    assert manifest.damage(folder) == ""
