"""From answers to the table: errors, units, caches, folds and options, on a small synthetic set."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn.functional import avg_pool2d

from benchmarks import landmarks, networks, outcomes
from benchmarks.data import EvaluationSet, load_set, load_settings
from benchmarks.landmarks import chosen_templates, evaluate, evaluate_out_of_fold, main, parse_params, run
from benchmarks.machine import write_results
from benchmarks.outcomes import Outcome, evaluate_baseline, evaluate_untrained, evenly
from benchmarks.report import ratios, rows_of, table
from napari_ld._types import Image
from napari_ld.localization import FineStage
from napari_ld.model.checkpoint import LoadedModel
from napari_ld.storage import Store

NAMES = ("a.png", "b.png", "c.png", "d.png")


def small_set(unit: str = "mm") -> EvaluationSet:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(140, 180)), 3)
    scene = np.clip(noise / noise.std() * 40 + 128, 0, 255).astype(np.uint8)
    moved = [scene[k * 8 : k * 8 + 100, k * 8 : k * 8 + 150] for k in range(len(NAMES))]
    first = np.array([[50.0, 60.0], [70.0, 110.0]])
    return EvaluationSet(
        name="small",
        unit=unit,
        names=NAMES,
        images=tuple(Image(pixels, "yx", spacing=(0.5, 0.5)) for pixels in moved),
        landmarks=("one", "two"),
        truth=np.stack([first - 8 * k for k in range(len(NAMES))]),
        templates=("a.png", "b.png"),
        hard=("d.png",),
        folder="small",
    )


@pytest.fixture
def model() -> LoadedModel:
    from benchmarks.subjects import model_of

    return model_of("fast")


def test_the_template_finds_itself_on_a_copy(model: LoadedModel, tmp_path: Path) -> None:
    data = small_set()
    twin = EvaluationSet(**{**_fields(data), "images": (data.images[0],) * 4, "truth": np.stack([data.truth[0]] * 4)})
    _spread_features(model, data.images[0])
    outcome = evaluate(model, twin, "a.png", store=Store(tmp_path))
    assert set(outcome.errors) == {"b.png", "c.png", "d.png"}
    assert np.max(list(outcome.errors.values())) < 1.0
    assert set(outcome.coarse) == set(outcome.errors)


def _spread_features(model: LoadedModel, image: Image) -> None:
    """Fit the batch normalisation to one image: random features as they start out hardly differ from place to place."""
    model.encoder.train()
    for module in model.encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the plain average
    with torch.no_grad():
        x = torch.from_numpy(model.header.normalization.apply(image.plane(0)))
        model.encoder(torch.nn.functional.interpolate(x[None], size=(256, 384), mode="bilinear"))
    model.encoder.eval()


def _fields(data: EvaluationSet) -> dict[str, Any]:
    return {name: getattr(data, name) for name in data.__dataclass_fields__}


@pytest.mark.parametrize(
    ("unit", "error", "missed"), [("mm", 2.5, 37.5), ("% of width", 500 / 150, 50), ("% of height", 5, 75)]
)
def test_errors_are_in_the_unit_of_the_set_and_absence_counts_as_half_the_image(
    unit: str, error: float, missed: float
) -> None:
    data = small_set(unit)
    found = data.truth[1] + [[3, 4], [np.nan, np.nan]]
    np.testing.assert_allclose(data.errors(1, found), [error, missed])


def test_millimetres_need_spacing() -> None:
    data = EvaluationSet(**{**_fields(small_set()), "images": (Image(np.zeros((9, 9)), "yx"),) * 4})
    with pytest.raises(ValueError, match=r"a\.png: errors in mm need the size of a pixel"):
        data.scale(0)


def test_out_of_fold_asks_the_encoder_that_never_saw_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    folds = {"small": {"a": ["a.png", "c.png"], "b": ["b.png", "d.png"]}}
    monkeypatch.setattr(outcomes, "load_folds", lambda: folds)
    asked = {}

    def answer(encoder: str, data: EvaluationSet, template: str, params: object, *, names: list[str]) -> Outcome:
        asked[encoder] = names
        return Outcome("encoder", data.name, template, {name: np.zeros(2) for name in names}, missing=1)

    monkeypatch.setattr(outcomes, "evaluate", answer)
    outcome = evaluate_out_of_fold({"a": "without a", "b": "without b"}, small_set(), "a.png")
    assert asked == {"without a": ["c.png"], "without b": ["b.png", "d.png"]}
    assert sorted(outcome.errors) == ["b.png", "c.png", "d.png"]
    assert outcome.missing == 2


def test_baselines_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, cache = load_settings(), tmp_path / "baselines.json"
    first = evaluate_baseline("sift", small_set(), "a.png", settings, names=NAMES[:3], cache=cache)
    assert sorted(first.errors) == ["b.png", "c.png"]
    calls = []
    real = outcomes.BASELINES["sift"]

    def counting(images: Any, *rest: Any) -> Any:
        calls.append(len(images))
        return real(images, *rest)

    monkeypatch.setitem(outcomes.BASELINES, "sift", counting)
    again = evaluate_baseline("sift", small_set(), "a.png", settings, cache=cache)
    assert calls == [1]
    np.testing.assert_array_equal(again.errors["b.png"], first.errors["b.png"])
    changed = {"baselines": {"sift": {**settings["baselines"]["sift"], "bin": 8}}}
    evaluate_baseline("sift", small_set(), "a.png", changed, cache=cache)
    assert calls == [1, 3]


def test_the_untrained_encoder_is_remembered_and_reproducible(model: LoadedModel, tmp_path: Path) -> None:
    data = small_set()
    first = evaluate_untrained(model, 0, data, "a.png", None, store=Store(tmp_path / "1"))
    known = evaluate_untrained(model, 0, data, "a.png", None, store=Store(tmp_path / "1"))
    fresh = evaluate_untrained(model, 0, data, "a.png", None, store=Store(tmp_path / "2"))
    for name, errors in first.errors.items():
        np.testing.assert_array_equal(known.errors[name], errors)
        np.testing.assert_array_equal(fresh.errors[name], errors)


def test_the_report_separates_hard_images_and_names_the_best_baseline() -> None:
    data, settings = small_set(), load_settings()
    rows = []
    for method, error in (("out of fold", 1.0), ("sift", 4.0), ("same_position", 5.0), ("sift_octaves", 2.0)):
        for template in data.templates:
            errors = {name: np.full(2, error * (10 if name == "d.png" else 1)) for name in NAMES if name != template}
            rows += rows_of(Outcome(method, data.name, template, errors), data, settings)
    main_rows = [row for row in rows if row["images"] == "main"]
    assert {row["n_images"] for row in main_rows} == {2}
    assert main_rows[0]["mean"] == pytest.approx(1.0)
    assert main_rows[0]["sdr"] == {"2": 100, "2.5": 100, "3": 100, "4": 100}
    ratio = ratios(rows)["small"]["out of fold, first template"]
    assert ratio["best usual"] == ["sift", 0.25]
    assert ratio["best"] == ["sift_octaves", 0.5]
    text = table(rows, per_landmark=True)
    assert "small (hard images), error in mm" in text
    assert "0.25 x dense SIFT, 0.50 x dense SIFT, 3 octaves" in text


def test_all_methods_run_on_the_phantom(model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    installed = [method for method in outcomes.BASELINES if method != "flow" or importlib.util.find_spec("cv2")]
    monkeypatch.setattr(landmarks, "evaluate_baseline", _without_cache)
    # The weights of others need not be installed.
    monkeypatch.setattr(networks, "dense_features", lambda network, pixels: avg_pool2d(pixels, networks.STRIDE))
    monkeypatch.setenv("NAPARI_LD_CACHE", str(tmp_path))
    data = load_set("phantom", settings)
    assert not data.headline
    found = list(run(data, ["0"], settings, encoder=model, names=["0", "1", "2"], refine=False, baselines=installed))
    assert [outcome.method for outcome in found] == ["encoder", "untrained", *installed]
    assert all(set(outcome.errors) == {"1", "2"} for outcome in found)


def _without_cache(*arguments: Any, **options: Any) -> Outcome:
    return evaluate_baseline(*arguments, **options, cache=None)


def test_params_are_read_from_words() -> None:
    params = parse_params(["coarse_sigma=12", "combine=max", "fine=[{'size': 96, 'zoom': 2}]", "level_weights=[1, 2]"])
    assert (params.coarse_sigma, params.combine, params.level_weights) == (12, "max", (1, 2))
    assert params.fine == (FineStage(size=96, zoom=2),)


def test_unknown_params_and_templates_and_sets_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown setting 'sigma'; there are coarse_sigma"):
        parse_params(["sigma=3"])
    with pytest.raises(ValueError, match=r"--templates z: no such image in small"):
        chosen_templates(small_set(), ["b", "z"])
    with pytest.raises(ValueError, match=r"unknown set 'knee'; landmarks.toml has ceph"):
        load_set("knee", load_settings())
    assert chosen_templates(small_set(), ["c", "first"]) == ["c.png", "a.png"]


def test_a_missing_encoder_ends_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--encoder", "nowhere.safetensors", "--sets", "phantom"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown encoder 'nowhere.safetensors'")


def test_limits_spread_evenly() -> None:
    assert evenly("abcdefg", 3) == ["a", "d", "g"]
    assert evenly("abc", None) == ["a", "b", "c"]


def test_results_say_where_they_come_from_without_paths(tmp_path: Path) -> None:
    write_results(tmp_path / "new" / "r.json", {"results": [1]})
    text = (tmp_path / "new" / "r.json").read_text()
    content = json.loads(text)
    assert content["machine"]["cores"] >= 1
    assert content["versions"]["numpy"] == np.__version__
    assert str(Path.home()) not in text
    assert str(tmp_path) not in text
