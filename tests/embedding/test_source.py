"""Features of stacks: geometry, cache, odd pixels, threads, cancelling, memory."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import dask.array
import numpy as np
import pytest
from skimage import data

from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.errors import Cancelled, ConfigError, ImageError, StorageError
from napari_ld.model.checkpoint import LoadedModel
from napari_ld.storage import Store


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    camera = data.camera()[::2, ::2]
    return np.stack([np.roll(camera, 8 * k, 0) for k in range(4)])


def source(images: object, model: LoadedModel, **options: object) -> FeatureSource:
    return FeatureSource(images, model, device="cpu", precision="float32", **options)  # type: ignore[arg-type]


def test_plane_features(stack: np.ndarray, centred_model: LoadedModel) -> None:
    embedding = source(stack, centred_model).plane(1)
    assert embedding.vectors.shape == (128, 32, 32)
    assert embedding.vectors.dtype == np.float16
    assert embedding.clusters is not None
    assert embedding.clusters.shape == (16, 32, 32)
    assert (embedding.origin, embedding.step, embedding.shape) == ((3.5, 3.5), (8.0, 8.0), (256, 256))
    np.testing.assert_allclose(np.linalg.norm(embedding.vectors.astype(float), axis=0), 1, atol=2e-3)
    np.testing.assert_allclose(embedding.clusters.astype(float).sum(0), 1, atol=5e-3)
    assert embedding.notes == ()


def test_images_of_different_sizes_share_the_physical_scale(centred_model: LoadedModel) -> None:
    """The same picture at two sizes gives nearly the same features."""
    camera = data.camera()
    features = source([camera, Image(camera[::4, ::4], "yx"), np.zeros((5, 3))], centred_model)
    assert [features.shape(i) for i in range(3)] == [(512, 512), (128, 128), (5, 3)]
    large, small = features.plane(0), features.plane(1)
    assert large.vectors.shape == small.vectors.shape
    cosine = (large.vectors.astype(float) * small.vectors).sum(0)
    assert np.median(cosine) > 0.8
    assert features.plane(2).vectors.shape == (128, 32, 20)


def test_spacing_makes_pixels_square(centred_model: LoadedModel) -> None:
    image = Image(np.zeros((3, 32, 64)), "zyx", spacing=(5.0, 2.0, 1.0))
    features = source(image, centred_model)
    assert (features.spacing(0), features.plane_spacing()) == ((2.0, 1.0), 5.0)
    assert features.plane(0).vectors.shape == (128, 32, 32)
    assert source(np.zeros((4, 4)), centred_model).plane_spacing() is None


def test_a_crop_sees_the_same_place(stack: np.ndarray, centred_model: LoadedModel) -> None:
    features = source(stack, centred_model)
    whole = features.plane(0)
    crop = features.crop(0, (200.0, 10.0), 100_000, 1.0)
    assert (crop.origin, crop.step) == (whole.origin, whole.step)
    np.testing.assert_allclose(crop.vectors, whole.vectors, atol=2e-3)
    zoomed = features.crop(0, (200.0, 250.0), 64, 2.0)
    assert zoomed.vectors.shape == (128, 16, 16)
    # 64 input pixels at one per stored pixel; the window is shifted to end at the border.
    assert (zoomed.origin, zoomed.step) == ((200 - 32 + 1.5, 256 - 64 + 1.5), (4.0, 4.0))
    several = features.crops(0, [(200.0, 250.0), (64.0, 64.0)], 64, 2.0)
    np.testing.assert_allclose(several[0].vectors, zoomed.vectors, atol=1e-5)


def test_the_mirrored_source_is_that_of_the_mirrored_picture(stack: np.ndarray, centred_model: LoadedModel) -> None:
    features = source(stack, centred_model)
    twin = features.mirrored(1)
    by_hand = source(np.ascontiguousarray(stack[1][:, ::-1]), centred_model)
    assert twin is features.mirrored(1)
    assert twin.n_planes == 1
    np.testing.assert_allclose(twin.plane(0).vectors, by_hand.plane(0).vectors, atol=2e-3)


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((40, 30), 7, np.uint8),
        np.full((40, 30), np.nan),
        np.full((40, 30), np.inf),
        np.zeros((1, 1), np.uint16),
        np.zeros((1, 300)),
        np.where(np.eye(40) > 0, np.inf, np.random.default_rng(0).normal(size=(40, 40))),
        np.random.default_rng(0).normal(size=(9, 9, 4)),
        np.random.default_rng(0).random((50, 50)) > 0.5,
        np.array([[np.iinfo(np.int64).min, np.iinfo(np.int64).max]]),
    ],
)
def test_odd_pixels_give_finite_features(pixels: np.ndarray, centred_model: LoadedModel) -> None:
    features = source(pixels, centred_model)
    embedding = features.plane(0)
    assert np.isfinite(embedding.vectors).all()
    assert np.isfinite(features.crop(0, (0.0, 0.0), 32, 2.0).vectors).all()


def test_lazy_arrays_give_the_same_features(stack: np.ndarray, centred_model: LoadedModel) -> None:
    lazy = source(dask.array.from_array(stack, chunks=(1, 64, 64)), centred_model).plane(2)
    np.testing.assert_array_equal(lazy.vectors, source(stack, centred_model).plane(2).vectors)


def test_shared_limits_keep_slices_comparable(centred_model: LoadedModel) -> None:
    volume = np.stack([np.tile(np.arange(64.0), (64, 1)), np.tile(np.arange(64.0), (64, 1)) * 4])
    apart, shared = source(volume, centred_model), source(volume, centred_model, shared_limits=True)
    np.testing.assert_array_equal(apart.plane(0).vectors, apart.plane(1).vectors)
    assert not np.allclose(shared.plane(0).vectors, shared.plane(1).vectors, atol=0.05)


def test_stored_features_are_used_again(
    stack: np.ndarray, centred_model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = source(stack, centred_model, store=Store(tmp_path)).plane(0)
    again = source(stack, centred_model, store=Store(tmp_path))

    def no_encoding(*_: object) -> None:
        raise AssertionError("encoded although stored")

    monkeypatch.setattr(again, "_encode", no_encoding)
    found = again.plane(0)
    np.testing.assert_array_equal(found.vectors, first.vectors)
    assert isinstance(found.vectors, np.memmap)
    assert again.is_ready(0)
    assert not again.is_ready(1)


def test_stored_features_are_never_stale(stack: np.ndarray, centred_model: LoadedModel) -> None:
    """Other pixels, another model, other parameters: other features."""
    stack = np.stack([stack[0] // 2, stack[0]])
    other_model = LoadedModel(centred_model.encoder, centred_model.header, "1" * 64, centred_model.path)
    variants = [
        source(stack, centred_model),
        source(255 - stack, centred_model),
        source(stack, other_model),
        source(stack, centred_model, working_size=64),
        source(stack, centred_model, shared_limits=True),
        FeatureSource(stack, centred_model, device="cpu", precision="bfloat16"),
    ]
    assert len({variant._key(1) for variant in variants}) == len(variants)


def test_damaged_entry_is_computed_again(stack: np.ndarray, centred_model: LoadedModel, tmp_path: Path) -> None:
    expected = np.array(source(stack, centred_model, store=Store(tmp_path)).plane(0).vectors)
    gc.collect()
    for path in tmp_path.rglob("*.arrays"):
        path.write_bytes(path.read_bytes()[:5000])
    np.testing.assert_array_equal(source(stack, centred_model, store=Store(tmp_path)).plane(0).vectors, expected)


class FullStore(Store):
    """A store on a full disk."""

    def put(self, *_: object, **__: object) -> None:
        raise StorageError("cannot write x: No space left on device; free some space")


def test_a_full_disk_is_said_and_the_work_goes_on(
    stack: np.ndarray, centred_model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_ld.embedding.source._MEMORY_BYTES", 700_000)  # two planes
    features = source(stack, centred_model, store=FullStore(tmp_path))
    embedding = features.plane(0)
    assert "No space left" in embedding.notes[0]
    assert features.notes == embedding.notes
    features.embed_all()
    assert len(features._recent) == 2
    np.testing.assert_array_equal(features.plane(0).vectors, embedding.vectors)
    assert len(features.notes) == 1


def test_embed_all_reports_progress_in_the_order_wished(stack: np.ndarray, centred_model: LoadedModel) -> None:
    features = source(stack, centred_model)
    seen: list[tuple[int, int]] = []
    features.embed_all(order=[2, 0], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    assert [features.is_ready(i) for i in range(4)] == [True, False, True, False]


def test_cancel_keeps_what_is_done(stack: np.ndarray, centred_model: LoadedModel) -> None:
    features = source(stack, centred_model)
    stop = threading.Event()
    with pytest.raises(Cancelled):
        features.embed_all(progress=lambda done, _: stop.set() if done == 2 else None, cancelled=stop.is_set)
    assert [features.is_ready(i) for i in range(4)] == [True, True, False, False]


def test_waiting_for_another_thread_can_be_cancelled(stack: np.ndarray, centred_model: LoadedModel) -> None:
    features = source(stack, centred_model)
    entered, release = threading.Event(), threading.Event()

    def hold() -> None:
        with features._plane_lock:
            entered.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    try:
        with pytest.raises(Cancelled):
            features.plane(0, cancelled=lambda: True)
    finally:
        release.set()
        thread.join()


def test_two_threads_get_the_same_features(stack: np.ndarray, centred_model: LoadedModel) -> None:
    expected = [np.array(source(stack, centred_model).plane(i).vectors) for i in range(4)]
    features = source(stack, centred_model)
    failures: list[int] = []

    def read(order: list[int]) -> None:
        for i in order:
            crop = features.crop(i, (100.0, 100.0), 32, 2.0)
            if not np.array_equal(features.plane(i).vectors, expected[i]) or crop.vectors.shape != (128, 8, 8):
                failures.append(i)

    threads = [threading.Thread(target=read, args=(order,)) for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_the_model_is_not_changed(stack: np.ndarray, centred_model: LoadedModel) -> None:
    before = {name: value.clone() for name, value in centred_model.encoder.state_dict().items()}
    source(stack, centred_model).plane(0)
    assert all((before[name] == value).all() for name, value in centred_model.encoder.state_dict().items())


def test_planes_and_devices_that_do_not_exist(stack: np.ndarray, centred_model: LoadedModel) -> None:
    with pytest.raises(ImageError, match="plane 4 was asked for; there are planes 0 to 3"):
        source(stack, centred_model).plane(4)
    with pytest.raises(ConfigError, match="unknown device"):
        FeatureSource(stack, centred_model, device="abacus")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the private memory of a process from /proc")
def test_memory_does_not_grow_with_the_stack(tmp_path: Path) -> None:
    """Private memory after 8 and after 48 planes, in a process of its own."""
    program = """
        import re, sys
        from pathlib import Path
        import numpy as np
        from napari_ld.embedding import FeatureSource
        from napari_ld.model.checkpoint import LoadedModel, ModelHeader
        from napari_ld.model.encoder import EncoderConfig, build_encoder

        def private():
            return int(re.search(r"Anonymous:\\s+(\\d+)", Path("/proc/self/smaps_rollup").read_text())[1]) / 1024

        config = EncoderConfig(working_size=256)
        model = LoadedModel(build_encoder(config, 0).eval(), ModelHeader("encoder", "r", config), "0" * 64, Path("r"))
        stack = np.memmap(sys.argv[1], np.uint8, "w+", shape=(48, 256, 256))
        stack[:] = np.random.default_rng(0).integers(0, 255, stack.shape, np.uint8)
        source = FeatureSource(stack, model, device="cpu")
        source.embed_all(order=range(8))
        early = private()
        source.embed_all()
        print(private() - early)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "stack.raw")],
        capture_output=True,
        text=True,
        check=True,
    )
    # One plane's features take 1 MB; 40 of them in private memory would show.
    assert float(run.stdout) < 16
