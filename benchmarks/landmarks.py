"""How well one click is propagated: errors of the encoder beside baselines, in millimetres or % of the image.

``python -m benchmarks.landmarks --encoder FILE [--fold-encoders A B]`` prints the tables and writes the JSON.
Sets, templates and settings are those of ``landmarks.toml``, folds those of ``folds.json``.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.baselines import BASELINES
from benchmarks.data import EvaluationSet, load_set, load_settings
from benchmarks.ingredients import ingredient_rows, ingredient_table
from benchmarks.machine import write_results
from benchmarks.outcomes import (
    Outcome,
    evaluate,
    evaluate_baseline,
    evaluate_out_of_fold,
    evaluate_untrained,
    evenly,
)
from benchmarks.report import Row, ratios, rows_of, table
from napari_ld.errors import NapariLDError
from napari_ld.localization import FineStage, LocateParams
from napari_ld.model.checkpoint import LoadedModel, load_model
from napari_ld.model.zoo import resolve

__all__ = ["evaluate", "evaluate_out_of_fold", "main", "parse_params", "run"]

_NESTED = {"fine": FineStage}


def run(
    data: EvaluationSet,
    templates: Sequence[str],
    settings: Mapping[str, Any],
    *,
    encoder: LoadedModel | None = None,
    fold_encoders: Mapping[str, LoadedModel] | None = None,
    params: LocateParams | None = None,
    names: Sequence[str] | None = None,
    baselines: Sequence[str] = tuple(BASELINES),
    untrained: bool = True,
    refine: bool = True,
    device: str = "auto",
) -> Iterator[Outcome]:
    """Evaluate all methods on one set, template by template."""
    options: dict[str, Any] = {"names": names, "refine": refine, "device": device}
    for template in templates:
        if fold_encoders and data.folder:
            yield evaluate_out_of_fold(fold_encoders, data, template, params, **options)
        if encoder is not None:
            yield evaluate(encoder, data, template, params, **options)
        like = encoder or next(iter((fold_encoders or {}).values()), None)
        if untrained and like is not None:
            yield evaluate_untrained(like, settings["seed"], data, template, params, **options)
        for method in baselines:
            yield evaluate_baseline(method, data, template, settings, names=names)


def parse_params(assignments: Sequence[str]) -> LocateParams:
    """Turn ``key=value`` words into search settings.

    Values are Python literals; ``fine`` is a list of dicts, for instance
    ``fine=[{'size': 192, 'zoom': 2}]``; ``1e999`` as zoom means the resolution of the stored image.

    Raises
    ------
    ValueError
        For an unknown key or a value that is no literal.
    """
    known = [field.name for field in dataclasses.fields(LocateParams)]
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, _, text = assignment.partition("=")
        if key not in known:
            raise ValueError(f"--params {assignment}: unknown setting {key!r}; there are {', '.join(known)}")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        if key in _NESTED:
            value = [_NESTED[key](**entry) for entry in value]
        values[key] = tuple(value) if isinstance(value, list) else value
    return LocateParams(**values)


def chosen_templates(data: EvaluationSet, wanted: Sequence[str] | None) -> list[str]:
    """Templates of a set that were asked for by file name or its stem; all of the settings file by default.

    ``first`` stands for the first template of the settings file.

    Raises
    ------
    ValueError
        When the set has no such image.
    """
    if not wanted:
        return list(data.templates)
    stems = {Path(name).stem: name for name in data.names} | {"first": data.templates[0]}
    unknown = [name for name in wanted if name not in data.names and name not in stems]
    if unknown:
        raise ValueError(f"--templates {' '.join(unknown)}: no such image in {data.name}; fixed are {data.templates}")
    return [name if name in data.names else stems[name] for name in wanted]


def parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.landmarks", description=__doc__)
    add = parser.add_argument
    add("--encoder", help="bundled name or file; it may have seen all images, without labels")
    add("--fold-encoders", nargs=2, metavar=("A", "B"), help="files trained without fold a and without fold b")
    add("--sets", nargs="+", help="sets of landmarks.toml; all by default")
    add("--templates", nargs="+", help="file names, stems or first; those of landmarks.toml by default")
    add("--limit", type=int, help="at most so many images a set, evenly spread; for tuning, not for reports")
    add("--params", nargs="+", default=[], metavar="KEY=VALUE", help="override settings of the search")
    add("--baselines", nargs="*", default=list(BASELINES), choices=list(BASELINES), help="none given: no baselines")
    add("--ablation", action="store_true", help="what each ingredient of the search is worth; needs --fold-encoders")
    add("--no-untrained", action="store_true", help="leave the untrained encoder out")
    add("--no-refine", action="store_true", help="coarse positions only")
    add("--per-landmark", action="store_true", help="also print the error of each landmark")
    add("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    add("--output", type=Path, help="JSON file for the results")
    return parser


def _describe(model: LoadedModel | None) -> dict[str, str] | None:
    return None if model is None else {"name": model.header.name, "file": model.path.name, "sha256": model.sha256}


def _load(name: str | None) -> LoadedModel | None:
    return None if name is None else load_model(resolve(name))


def _benchmark(options: argparse.Namespace, settings: Mapping[str, Any]) -> None:
    params = parse_params(options.params)
    encoder = _load(options.encoder)
    folds = {fold: load_model(resolve(path)) for fold, path in zip("ab", options.fold_encoders or (), strict=False)}
    if options.ablation:
        _ablate(options, settings, params, folds)
        return
    rows: list[Row] = []
    started = time.perf_counter()
    sets = [load_set(name, settings) for name in options.sets or settings["sets"]]
    for data, templates in [(data, chosen_templates(data, options.templates)) for data in sets]:
        outcomes = run(
            data,
            templates,
            settings,
            encoder=encoder,
            fold_encoders=folds,
            params=params,
            names=evenly(data.names, options.limit),
            baselines=options.baselines,
            untrained=not options.no_untrained,
            refine=not options.no_refine,
            device=options.device,
        )
        for outcome in outcomes:
            rows += rows_of(outcome, data, settings)
            elapsed = time.perf_counter() - started
            print(f"{elapsed:6.0f} s  {data.name}  {outcome.template}  {outcome.method}", file=sys.stderr, flush=True)
    print(table(rows, per_landmark=options.per_landmark))
    if options.output:
        content = {
            "settings": dict(settings),
            "params": dataclasses.asdict(params),
            "limit": options.limit,
            "encoder": _describe(encoder),
            "fold_encoders": {fold: _describe(model) for fold, model in folds.items()},
            "seconds": round(time.perf_counter() - started),
            "ratios": ratios(rows),
            "results": rows,
        }
        write_results(options.output, content)


def _ablate(
    options: argparse.Namespace, settings: Mapping[str, Any], params: LocateParams, folds: Mapping[str, LoadedModel]
) -> None:
    if not folds:
        raise ValueError("--ablation: give the encoders of the two folds with --fold-encoders")
    sets = [load_set(name, settings) for name in options.sets or settings["sets"]]
    rows = ingredient_rows([data for data in sets if data.folder], folds, settings, options.limit, params)
    print(ingredient_table(rows))
    if options.output:
        encoders = {fold: _describe(model) for fold, model in folds.items()}
        write_results(options.output, {"limit": options.limit, "fold_encoders": encoders, "results": rows})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 2 for options or files that cannot be used."""
    options = parser().parse_args(arguments)
    try:
        _benchmark(options, load_settings())
    except (NapariLDError, ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
