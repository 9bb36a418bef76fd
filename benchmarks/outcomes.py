"""Errors of one method with one template: the encoder, its untrained twin, and the baselines with their cache."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.baselines import BASELINES
from benchmarks.data import EvaluationSet, load_set, load_settings
from benchmarks.folds import load_folds
from napari_ld.embedding.source import FeatureSource
from napari_ld.localization import LocateParams, Template, locate
from napari_ld.model.checkpoint import LoadedModel, ModelHeader, load_model
from napari_ld.model.encoder import build_encoder
from napari_ld.model.zoo import resolve
from napari_ld.storage import Store, atomic_write, content_key, default_root

BASELINE_CACHE = Path(__file__).with_name("results") / "baselines.json"
_STORE_BYTES = 12 * 2**30
_SOURCES = ("localization", "embedding", "model", "similarity.py")  # code that decides what an encoder's errors are

Errors = dict[str, npt.NDArray[np.float64]]  # image name -> (landmarks,) errors in the unit of the set


@dataclass(frozen=True)
class Outcome:
    """Errors of one method with one template.

    Attributes
    ----------
    errors : dict of str to (landmarks,) array
        By image; a landmark that was called absent counts as half the longest side.
    missing : int
        Number of landmarks that were called absent.
    coarse : dict of str to (landmarks,) array
        The same before refinement; empty for methods without.
    """

    method: str
    set_name: str
    template: str
    errors: Errors
    missing: int = 0
    coarse: Errors = dataclasses.field(default_factory=dict)


def evaluate(
    encoder: str | Path | LoadedModel,
    data: EvaluationSet | str,
    template: str | Sequence[str],
    params: LocateParams | None = None,
    *,
    names: Sequence[str] | None = None,
    refine: bool = True,
    store: Store | None = None,
    device: str = "auto",
    method: str = "encoder",
) -> Outcome:
    """Locate all landmarks of a set from one template image, exactly as a user's click would.

    Parameters
    ----------
    encoder : str, Path or LoadedModel
        Bundled name, file or loaded model.
    data : EvaluationSet or str
        A set, or its name in ``landmarks.toml``.
    template : str or sequence of str
        File name of the template, or of several that are used together; they are not evaluated themselves.
    params : LocateParams, optional
        The default is the product's.
    names : sequence of str, optional
        Images to evaluate; all by default.
    store : Store, optional
        Keeps the embeddings from one call to the next; by default a folder of the benchmarks in the user's cache.
    """
    model = encoder if isinstance(encoder, LoadedModel) else load_model(resolve(encoder))
    data = load_set(data, load_settings()) if isinstance(data, str) else data
    source = FeatureSource(data.images, model, device=device, store=benchmark_store() if store is None else store)
    templates = [template] if isinstance(template, str) else list(template)
    clicks = [
        Template(landmark, source, at, (float(row), float(column)))
        for at in map(data.names.index, templates)
        for landmark, (row, column) in zip(data.landmarks, data.truth[at], strict=True)
    ]
    wanted = evaluated_names(data, template, names)
    planes = [data.names.index(name) for name in wanted]
    shape = (len(data.names), len(data.landmarks), 2)
    found = {"coarse": np.full(shape, np.nan), "fine": np.full(shape, np.nan)}
    for match in locate(source, clicks, params=params, planes=planes, refine=refine):
        if match.position is not None:
            found[match.stage][match.plane, data.landmarks.index(match.landmark)] = match.position
    final = found["fine" if refine else "coarse"]
    errors = {stage: {data.names[i]: data.errors(i, at_[i]) for i in planes} for stage, at_ in found.items()}
    missing = int(np.isnan(final[planes, :, 0]).sum())
    return Outcome(
        method, data.name, " + ".join(templates), errors["fine" if refine else "coarse"], missing, errors["coarse"]
    )


def evaluate_out_of_fold(
    encoders: Mapping[str, str | Path | LoadedModel],
    data: EvaluationSet,
    template: str | Sequence[str],
    params: LocateParams | None = None,
    *,
    names: Sequence[str] | None = None,
    **options: Any,
) -> Outcome:
    """Evaluate each fold with the encoder that never saw its images, and pool.

    The stack of a fold holds its images and the templates, so that what a search learns from the stack it learns
    from images that the encoder never saw either.

    Parameters
    ----------
    encoders : dict
        ``"a"`` and ``"b"``: the encoder trained *without* that fold.
    """
    folds = load_folds()[data.folder]
    parts = []
    for fold, encoder in encoders.items():
        chosen = [name for name in evaluated_names(data, template, names) if name in folds[fold]]
        stack = data.only({*chosen, *([template] if isinstance(template, str) else template)})
        parts.append(evaluate(encoder, stack, template, params, names=chosen, **options))
    errors = {name: value for part in parts for name, value in part.errors.items()}
    coarse = {name: value for part in parts for name, value in part.coarse.items()}
    return Outcome("out of fold", data.name, parts[0].template, errors, sum(part.missing for part in parts), coarse)


def evaluate_baseline(
    method: str,
    data: EvaluationSet,
    template: str,
    settings: Mapping[str, Any],
    *,
    names: Sequence[str] | None = None,
    cache: Path | None = BASELINE_CACHE,
) -> Outcome:
    """Errors of a baseline, taken from the cache where the same settings have met the same image before."""
    options = settings["baselines"][method]
    at = data.names.index(template)
    truth = data.truth.round(3)
    key = content_key(method, json.dumps([options, data.unit, data.landmarks]), template, truth[at])[:16]
    known: dict[str, list[float]] = read_cache(cache).get(key, {}).get("errors", {})
    wanted = evaluated_names(data, template, names)
    todo = [data.names.index(name) for name in wanted if name not in known]
    found = BASELINES[method]([data.images[i] for i in todo], data.images[at], data.truth[at], options)
    for i, positions in zip(todo, found, strict=True):
        known[data.names[i]] = data.errors(i, positions).round(3).tolist()
    if todo and cache is not None:
        entry = {"set": data.name, "method": method, "template": template, "errors": known}
        write_cache(cache, read_cache(cache) | {key: entry})
    return Outcome(method, data.name, template, {name: np.array(known[name]) for name in wanted})


def evaluate_untrained(
    like: LoadedModel,
    seed: int,
    data: EvaluationSet,
    template: str,
    params: LocateParams | None,
    *,
    names: Sequence[str] | None = None,
    store: Store | None = None,
    **options: Any,
) -> Outcome:
    """Errors of an encoder of the same architecture and preprocessing with random weights, through the same code."""
    store = benchmark_store() if store is None else store
    wanted = evaluated_names(data, template, names)
    header = ModelHeader("encoder", "untrained", like.header.config, like.header.normalization)
    question = json.dumps([str(header.config), str(header.normalization), seed, data.name, template, str(params)])
    key = content_key("untrained", question, json.dumps([wanted, str(options)]), code_fingerprint())
    known = store.get(key)
    if known is None:
        encoder = build_encoder(header.config, seed=seed).eval()
        model = LoadedModel(encoder, header, content_key("untrained", question), Path("untrained"))
        outcome = evaluate(model, data, template, params, names=wanted, store=store, method="untrained", **options)
        errors = np.array([outcome.errors[name] for name in wanted])
        store.put(key, {"errors": errors, "missing": np.array([outcome.missing])})
        return outcome
    values = np.array(known["errors"])
    return Outcome("untrained", data.name, template, dict(zip(wanted, values, strict=True)), int(known["missing"][0]))


def evaluated_names(data: EvaluationSet, template: str | Sequence[str], names: Sequence[str] | None) -> list[str]:
    """Names that are evaluated: those asked for, never the templates themselves."""
    templates = {template} if isinstance(template, str) else set(template)
    chosen = data.names if names is None else [name for name in data.names if name in set(names)]
    return [name for name in chosen if name not in templates]


def evenly(names: Sequence[str], limit: int | None) -> list[str]:
    """At most ``limit`` names, evenly spread."""
    if limit is None or limit >= len(names):
        return list(names)
    return [names[i] for i in np.linspace(0, len(names) - 1, limit).round().astype(int)]


def benchmark_store() -> Store:
    """Return the store that keeps embeddings between runs, apart from the one of the panel."""
    return Store(default_root() / "benchmarks", max_bytes=_STORE_BYTES)


def code_fingerprint() -> str:
    """Hash of the sources that turn pixels and a click into a position."""
    package = Path(__file__).resolve().parent.parent / "napari_ld"
    files = [file for part in _SOURCES for file in sorted((package / part).rglob("*.py")) or [package / part]]
    return content_key(*[file.read_bytes() for file in files])


def read_cache(path: Path | None) -> dict[str, Any]:
    """Read the cached errors of baselines; empty when there are none."""
    if path is None or not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def write_cache(path: Path, content: Mapping[str, Any]) -> None:
    """Write the cached errors of baselines, one entry a line."""
    lines = [f"{json.dumps(key)}: {json.dumps(entry, separators=(',', ':'))}" for key, entry in content.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "w") as stream:
        stream.write("{\n" + ",\n".join(lines) + "\n}\n")
