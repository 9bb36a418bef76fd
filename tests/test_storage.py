"""The store on disk: whole or absent, bounded, shared by processes, never wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_ld.errors import StorageError
from napari_ld.storage import Store, atomic_write, content_key, default_root

resource = pytest.importorskip("resource", reason="the system has no file size limit to imitate a full disk with")


def _key(name: str) -> str:
    return content_key("test", name)


def _file(store: Store, key: str) -> Path:
    return next(store.root.rglob(f"{key}*"))


@contextmanager
def small_files_only() -> Iterator[None]:
    """The system refuses to let a file grow beyond 4096 bytes, as a full disk does.

    No fixture: pytest writes its own report, perhaps to a file, before fixtures are torn down.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestContentKey:
    def test_parts_do_not_run_into_each_other(self) -> None:
        keys = {content_key("ab", "c"), content_key("a", "bc"), content_key("abc"), content_key(b"abc")}
        assert len(keys) == 4

    def test_arrays_count_with_dtype_shape_and_values(self) -> None:
        zeros = np.zeros((2, 3), np.uint8)
        keys = {
            content_key(array) for array in (zeros, zeros.T, zeros.astype(np.int8), zeros + np.uint8(1), zeros.ravel())
        }
        assert len(keys) == 5

    def test_memory_layout_does_not_count(self) -> None:
        array = np.arange(24, dtype=np.float32).reshape(4, 6)
        assert content_key(array) == content_key(np.asfortranarray(array)) == content_key(array[:, ::-1][:, ::-1])

    def test_the_key_never_changes_between_releases(self) -> None:
        assert content_key("a", b"b", np.arange(3, dtype=np.uint8)) == (
            "1ebf87c81d9d59a0d8ba0d2a5a2b909cefc2d8bc219be6833f86371bbaf80d56"
        )

    def test_objects_are_refused(self) -> None:
        with pytest.raises(TypeError, match="cannot hash an array of dtype object"):
            content_key(np.array([None]))


class TestAtomicWrite:
    def test_error_in_the_block_leaves_the_old_file_and_no_temporary(self, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        path.write_text("old")
        with pytest.raises(ZeroDivisionError), atomic_write(path, "w") as file:
            file.writelines(str(1 // left) for left in (1, 0))
        assert path.read_text() == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]

    def test_text_is_utf8_without_newline_translation(self, tmp_path: Path) -> None:
        with atomic_write(tmp_path / "a.txt", "w") as file:
            file.write("é\r\n\n")
        assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\r\n\n"

    def test_permissions_of_the_old_file_are_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "a.bin"
        path.write_bytes(b"old")
        path.chmod(0o640)
        with atomic_write(path) as file:
            file.write(b"new")
        assert path.stat().st_mode & 0o777 == 0o640
        assert path.read_bytes() == b"new"

    def test_a_link_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "real.txt").write_text("old")
        (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
        with atomic_write(tmp_path / "link.txt", "w") as file:
            file.write("new")
        assert (tmp_path / "link.txt").is_symlink()
        assert (tmp_path / "real.txt").read_text() == "new"

    def test_missing_folder(self, tmp_path: Path) -> None:
        with (
            pytest.raises(StorageError, match=r"cannot write .*gone/a\.txt: .*create the folder first"),
            atomic_write(tmp_path / "gone" / "a.txt", "w"),
        ):
            pass

    def test_a_folder_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").mkdir()
        with pytest.raises(StorageError, match="not a regular file"), atomic_write(tmp_path / "a.txt", "w"):
            pass

    def test_too_long_a_name(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="choose another name"), atomic_write(tmp_path / ("a" * 300), "w"):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_disk_full(self, tmp_path: Path) -> None:
        path = tmp_path / "a.bin"
        full = pytest.raises(StorageError, match=r"cannot write .*a\.bin: .*free some space")
        with small_files_only(), full, atomic_write(path) as file:
            file.write(b"0" * 100_000)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_no_permission(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with (
            pytest.raises(StorageError, match=r"cannot write .*choose a folder that you may write to"),
            atomic_write(tmp_path / "a.txt", "w"),
        ):
            pass
        tmp_path.chmod(0o700)

    def test_read_only_file_system(self) -> None:
        with (
            pytest.raises(StorageError, match=r"cannot write /proc/napari-ld\.txt"),
            atomic_write("/proc/napari-ld.txt", "w"),
        ):
            pass

    def test_modes_that_read_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="mode is 'a'"), atomic_write(tmp_path / "a", "a"):
            pass


class TestRoundTrip:
    @settings(max_examples=60, deadline=None)
    @given(
        arrays=st.dictionaries(
            st.text(max_size=8),
            hnp.arrays(
                st.sampled_from(["u1", "?", "<f2", "<f4", ">i2", "<i8", "<c8"]),
                hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
            ),
            max_size=4,
        )
    )
    def test_what_goes_in_comes_out(
        self, arrays: dict[str, npt.NDArray[Any]], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        store = Store(tmp_path_factory.mktemp("store"))
        store.put(_key("x"), arrays, {"scale": 0.1, "name": "é"})
        back = store.get(_key("x"))
        assert back is not None
        assert list(back) == list(arrays)
        for name, array in arrays.items():
            assert back[name].dtype == array.dtype
            np.testing.assert_array_equal(back[name], array, strict=True)
        assert store.meta(_key("x")) == {"scale": 0.1, "name": "é"}

    def test_arrays_are_read_only_maps_of_the_file(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.put(_key("x"), {"a": np.arange(6).reshape(2, 3)[:, ::-1]})
        array = store.get(_key("x"))["a"]
        assert isinstance(array, np.memmap)
        assert array.ctypes.data % 64 == 0
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1

    def test_absent(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "never made")
        assert store.get(_key("x")) is None
        assert store.meta(_key("x")) is None
        assert not store.contains(_key("x"))
        assert store.size() == 0
        assert not store.root.exists()

    def test_clear_leaves_arrays_in_hand_valid(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.put(_key("x"), {"a": np.arange(1000)})
        held = store.get(_key("x"))["a"]
        store.clear()
        assert store.size() == 0
        assert held.sum() == 499_500
        assert store.get(_key("x")) is None

    def test_keys_cannot_leave_the_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="use content_key"):
            Store(tmp_path).get("../../secret")

    def test_objects_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError, match="array 'a' has dtype object"):
            Store(tmp_path).put(_key("x"), {"a": np.array([None])})

    def test_the_limit_must_be_positive(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="max_bytes is 0"):
            Store(tmp_path, 0)


class TestDamage:
    @settings(max_examples=60, deadline=None)
    @given(where=st.floats(0, 1, exclude_max=True), cut=st.booleans())
    def test_any_changed_byte_and_any_truncation_is_seen(
        self, where: float, cut: bool, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        root = tmp_path_factory.mktemp("store")
        Store(root).put(_key("x"), {"a": np.arange(50), "b": np.ones((3, 3), np.float16)}, {"m": 1})
        path = _file(Store(root), _key("x"))
        raw = bytearray(path.read_bytes())
        index = int(where * len(raw))
        if cut:
            del raw[index:]
        else:
            raw[index] ^= 0x10
        path.write_bytes(raw)
        store = Store(root)
        assert store.get(_key("x")) is None
        assert not path.exists()
        store.put(_key("x"), {"a": np.arange(2)})
        np.testing.assert_array_equal(store.get(_key("x"))["a"], [0, 1])

    def test_truncation_is_seen_after_first_use_too(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.put(_key("x"), {"a": np.arange(5000)})
        assert store.get(_key("x")) is not None
        path = _file(store, _key("x"))
        path.write_bytes(path.read_bytes()[:-1])
        assert not store.contains(_key("x"))
        assert store.get(_key("x")) is None

    def test_put_replaces_a_damaged_entry(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.put(_key("x"), {"a": np.arange(50)})
        path = _file(store, _key("x"))
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
        store.put(_key("x"), {"a": np.arange(50)})
        np.testing.assert_array_equal(store.get(_key("x"))["a"], np.arange(50))


class TestBound:
    def test_entries_used_longest_ago_go_first(self, tmp_path: Path) -> None:
        store = Store(tmp_path, max_bytes=10_000)
        array = np.zeros(2500, np.uint8)
        for age, name in enumerate("abc"):
            store.put(_key(name), {"x": array})
            stamp = time.time() - 100 + age
            os.utime(_file(store, _key(name)), (stamp, stamp))
        store.get(_key("a"))
        store.put(_key("d"), {"x": array})
        kept = {name for name in "abcd" if store.contains(_key(name))}
        assert kept == {"a", "c", "d"}
        assert store.size() <= 10_000

    @settings(max_examples=25, deadline=None)
    @given(sizes=st.lists(st.integers(0, 20_000), max_size=12))
    def test_never_above_the_limit(self, sizes: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
        store = Store(tmp_path_factory.mktemp("store"), max_bytes=25_000)
        for index, size in enumerate(sizes):
            store.put(_key(str(index)), {"x": np.zeros(size, np.uint8)})
            assert store.size() <= 25_000
            assert store.contains(_key(str(index)))

    def test_larger_than_the_store(self, tmp_path: Path) -> None:
        store = Store(tmp_path, max_bytes=10_000)
        store.put(_key("a"), {"x": np.zeros(10)})
        with pytest.raises(StorageError, match="the limit is 10000 bytes"):
            store.put(_key("b"), {"x": np.zeros(10_000)})
        assert store.contains(_key("a"))

    def test_leftovers_of_killed_processes_are_removed(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.put(_key("a"), {"x": np.zeros(10)})
        folder = _file(store, _key("a")).parent
        for name, age in (("old", 7200), ("new", 0)):
            leftover = folder / f".{name}.tmp"
            leftover.write_bytes(b"half")
            os.utime(leftover, (time.time() - age, time.time() - age))
        store.size()
        assert sorted(p.name for p in folder.glob(".*")) == [".new.tmp"]


class TestTrouble:
    def test_disk_full_changes_nothing(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.put(_key("a"), {"x": np.arange(10)})
        with small_files_only(), pytest.raises(StorageError, match="free some space"):
            store.put(_key("b"), {"x": np.zeros(100_000)})
        assert store.get(_key("b")) is None
        np.testing.assert_array_equal(store.get(_key("a"))["x"], np.arange(10))
        assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 1

    def test_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        store = Store(tmp_path / "file")
        with pytest.raises(StorageError, match=r"cannot make the cache folder .*NAPARI_LD_CACHE"):
            store.put(_key("a"), {"x": np.zeros(3)})
        assert store.get(_key("a")) is None

    def test_environment_variable(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("NAPARI_LD_CACHE", str(tmp_path / "here"))
        assert default_root() == Store().root == tmp_path / "here"
        monkeypatch.delenv("NAPARI_LD_CACHE")
        assert "napari-ld" in default_root().parts


_WORKER = """
import sys
import numpy as np
from napari_ld.storage import Store, content_key
store = Store(sys.argv[1], max_bytes=60_000)
rng = np.random.default_rng(int(sys.argv[2]))
found = 0
for _ in range(400):
    value = int(rng.integers(8))
    key = content_key("value", str(value))
    entry = store.get(key)
    if entry is None:
        store.put(key, {"x": np.full(5000, value, np.int16)})
    else:
        found += 1
        assert (entry["x"] == value).all()
print(found)
"""


def test_two_processes_share_a_store(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", _WORKER, str(tmp_path), str(seed)], stdout=subprocess.PIPE, text=True)
        for seed in (1, 2)
    ]
    for worker in workers:
        output, _ = worker.communicate(timeout=120)
        assert worker.returncode == 0
        assert int(output) > 0
    assert all(path.suffix == ".arrays" for path in tmp_path.rglob("*") if path.is_file())
