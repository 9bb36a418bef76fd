"""The pre-training benchmark: probes on features with known worth, equal budgets, slices that resume."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks import pretraining
from benchmarks.pretraining import VARIANTS, differences, main, measures, table
from benchmarks.probes import Features, cluster_iou, mean_and_range, probe_dice
from napari_ld.model.encoder import CONFIGURATIONS, build_encoder
from src_train.methods import build_method, parts_of


def _planes(informative: bool, count: int = 4) -> list[Features]:
    """Planes with one square in a random place, features that show it or not."""
    generator = torch.Generator().manual_seed(0)
    planes = []
    for _ in range(count):
        mask = np.zeros((64, 64), np.int32)
        top, left = torch.randint(0, 8, (2,), generator=generator).tolist()
        mask[4 * top : 4 * top + 24, 4 * left : 4 * left + 24] = 3
        vectors = torch.randn(8, 16, 16, generator=generator)
        if informative:
            vectors[0] += 8 * F.avg_pool2d(torch.from_numpy(mask == 3)[None].float(), 4)[0]
        planes.append(Features(F.normalize(vectors, dim=0), None, mask))
    return planes


def test_the_probe_reads_what_features_show_and_nothing_else() -> None:
    shown, noise = _planes(True), _planes(False)
    assert probe_dice(shown[:2], shown[2:], 3, seed=0) > 0.85
    assert probe_dice(noise[:2], noise[2:], 3, seed=0) < 0.5
    assert probe_dice(shown[:2], shown[2:], 3, seed=0) == probe_dice(shown[:2], shown[2:], 3, seed=0)
    assert np.isnan(probe_dice(shown[:2], shown[2:], 1, seed=0))  # no test plane shows that label


def test_clusters_are_matched_whatever_their_numbers() -> None:
    mask = np.repeat(np.repeat(np.array([[0, 1], [2, 2]], np.int32), 8, 0), 8, 1)
    small = torch.from_numpy(mask[::2, ::2]).long()
    order = torch.tensor([4, 0, 2])
    clusters = F.one_hot(order[small], 5).permute(2, 0, 1).float()
    vectors = F.one_hot(small, 4).permute(2, 0, 1).float()
    head = [Features(vectors, clusters, mask)]
    assert cluster_iou(head, (1, 2), seed=0) == pytest.approx(1)
    # Without a head, k-means on the features: their three values are found.
    assert cluster_iou([Features(vectors, None, mask)], (1, 2), seed=0) == pytest.approx(1)
    merged = F.one_hot(torch.zeros_like(small), 5).permute(2, 0, 1).float()
    assert cluster_iou([Features(vectors, merged, mask)], (1, 2), seed=0) == pytest.approx(0.5 / 3)


def test_variants_are_methods_with_the_same_number_of_forwards(tmp_path: Path) -> None:
    options = ["--work", str(tmp_path), "--output", str(tmp_path / "r.json"), "--steps", "100"]
    benchmark = pretraining.Benchmark(pretraining.parser().parse_args(options))
    for variant in VARIANTS.values():
        if variant.method is None:
            continue
        config = benchmark.config(variant, 1)
        forwards = 4.0 + (1.0 if config.method.startswith("ld") and config.weights.mixup > 0 else 0.0)
        assert variant.forwards == forwards
        assert config.schedule.steps * forwards == pytest.approx(400)
        tables = {t: getattr(config, t) for part in parts_of(variant.method) for t in part.tables}
        method = build_method(variant.method, build_encoder(CONFIGURATIONS["fast"], 0), config.schedule, tables)
        assert sum(phase.steps for phase in method.phases) == config.schedule.steps


def _results(path: Path, seeds: tuple[str, ...], value: float = 0.5) -> None:
    cells = {seed: dict.fromkeys(measures(), value) for seed in seeds}
    budget = {"steps": 60, "couples": 4, "size": 128, "images": 16}
    path.write_text(json.dumps({"budget": budget, "results": dict.fromkeys(VARIANTS, cells)}))


def test_a_finished_benchmark_only_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _results(tmp_path / "r.json", ("0",))
    options = ["--work", str(tmp_path / "none"), "--output", str(tmp_path / "r.json"), "--seeds", "0"]
    assert main(options) == 0
    printed = capsys.readouterr().out
    assert printed.count("| 0.5 |") >= len(VARIANTS)
    assert "Unfinished" not in printed
    assert not (tmp_path / "none").exists()


def test_nothing_is_begun_when_the_time_is_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--work", str(tmp_path), "--output", str(tmp_path / "r.json"), "--minutes", "0", "--seeds", "0"]
    assert main(options) == 0
    captured = capsys.readouterr()
    assert "the time is up" in captured.err
    assert "Unfinished: random (seed 0); MoCo-v2 (seed 0)" in captured.out
    assert not (tmp_path / "r.json").exists()


def test_results_of_another_budget_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _results(tmp_path / "r.json", ("0",))
    options = ["--work", str(tmp_path), "--output", str(tmp_path / "r.json"), "--steps", "70", "--seeds", "0"]
    assert main(options) == 2
    assert "choose another --output" in capsys.readouterr().err


def test_tables_say_how_many_seeds_and_which_are_missing() -> None:
    first = measures()[0]
    results = {"MoCo-v2": {"0": {first: 2.0}, "1": {first: 4.0}}, "LD": {"0": {first: 1.0}, "1": {first: 2.0}}}
    printed = table(results, [0, 1])
    assert "| 3 (2–4; 2 seeds) |" in printed
    assert "LD (seed 0, 1)" in printed
    assert differences(results, "LD", "MoCo-v2") == f"LD − MoCo-v2, {first}: -1.5 (-2–-1; 2 seeds)"
    assert mean_and_range({}) == "–"
