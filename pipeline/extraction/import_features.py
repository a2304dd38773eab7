"""Import: features that others extracted in, a library like those of `ndvr extract` out; one process, streaming.

ndvr import fivr_5k.hdf5 LIBRARY --method s2vs
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from ndvr import models
from ndvr.operators.errors import ERROR_CLASSES, DecodeError
from ndvr.operators.features.feature_files import FeatureFile, FeatureFiles, find_features
from ndvr.operators.features.feature_rows import FeatureRows
from ndvr.operators.library.config import Config
from ndvr.operators.library.lease import Lease
from ndvr.operators.library.library import Entry, Library
from ndvr.operators.library.runs import close_run, new_run, open_run
from ndvr.operators.library.shards import Write
from ndvr.operators.rows import table
from ndvr.pipeline.extraction.plan import count_failures
from ndvr.pipeline.extraction.video_ids import lies_elsewhere
from ndvr.pipeline.progress import Progress, interruptible
from ndvr.pipeline.runs.record import Summary, recover_runs
from ndvr.pipeline.settings import Setting, choose_one

SHARD_BYTES = 64 << 20
LOOKED_AT = 16  # videos, before an import is refused because none has the method's shape


def import_features(
    files: str | Path,
    library: str | Path,
    *,
    method: str,
    options: dict[str, Any] | None = None,
    dtype: Literal["float16", "float32"] | None = None,
    label: str | None = None,
    like: str | Path | None = None,
    config: str | None = None,
    untrained: bool = False,
    prefix: str = "",
    retry: tuple[str, ...] | frozenset[str] = (),
    progress: bool = True,
) -> Summary:
    """Bring the features in FILES (operators/features/feature_files.py) into LIBRARY; return what became of each video.

    dtype    how to keep them; default: as extraction does. float32 keeps the authors' numbers exactly.
    label    features with the same label are comparable; the default stands for "as the authors published them".
    like     a library whose features of this method these are to be compared with: its weights and view are
             recorded for these too, on your word. `config` picks one when it holds several.
    prefix   put before every id: a known id whose features lie elsewhere and are others is a conflict, and stays
    Running again continues; known failures are left unless their class is in `retry`. ValueError or
    FileNotFoundError before any work.
    """
    setting = choose_one(method, None, options)
    if unknown := set(retry) - set(ERROR_CLASSES):
        raise ValueError(f"unknown error class {sorted(unknown)[0]!r}; choose from {', '.join(ERROR_CLASSES)}")
    if like is not None and (options or label or untrained):
        raise ValueError("--like takes options, label and training from that library; leave out the others")
    if config is not None and like is None:
        raise ValueError("--config picks a configuration of --like; name that library too")
    if like is None:
        described = _published(setting, label, untrained=untrained)
    else:
        described = _as_in(Library(like), method, config)
    stored = _stored_as(described, dtype)
    published = find_features(files)
    _refuse_other_method(published, stored)
    opened = Library.create(library)
    with interruptible(), Lease(opened.store, "ndvr import"):
        opened.add_config(stored)
        recover_runs(opened)
        return _import_all(published, opened, stored, prefix=prefix, retry=frozenset(retry), progress=progress)


def _published(setting: Setting, label: str | None, *, untrained: bool) -> Config:
    """Describe features as their authors published them, or as `label` says."""
    return setting.config(
        weights=f"imported: {label}" if label else "imported, as published",
        weights_digest=f"imported:{label or setting.method}{':untrained' if untrained else ''}",
        decoder="imported",
        trained=not untrained,
        features_version=0,  # counts changes of our extraction, which had no part in these
    )


def _as_in(library: Library, method: str, config: str | None) -> Config:
    """Describe features that are like those of a library."""
    other = library.configs[library.config_of(method, config)]
    return other.changed(
        weights=f"{other.weights} (imported, by the user's word)", like=f"{library} ({other.name})", decoder="imported"
    )


def _stored_as(config: Config, dtype: str | None) -> Config:
    if dtype not in (None, "float16", "float32"):
        raise ValueError(f"unknown dtype {dtype!r}; choose float16 or float32")
    if dtype and config.feature_dtype == "uint8":
        raise ValueError(f"features of {config.method} are codes of uint8; leave out --dtype")
    return config.changed(feature_dtype=dtype or config.feature_dtype)


def _refuse_other_method(files: FeatureFiles, config: Config) -> None:
    """Raise where the first videos all have another shape: a wrong --method. One such video is a failure of its own."""
    wanted, misfit = config.feature_shape, None
    for file in islice(files.walk(), LOOKED_AT):
        shape: tuple[int, ...] = ()
        try:
            with file.open() as stored:
                shape = stored.shape
                if stored.windows(wanted):
                    return
        except DecodeError:
            misfit = misfit or (shape and (file, shape))
    if misfit:
        file, shape = misfit
        others = ", ".join(_made_by(shape))
        raise ValueError(
            f"{file.uri} has shape {shape}, features of {config.method} are (T, {', '.join(map(str, wanted))}); "
            + (f"this shape is that of {others}" if others else "no method here has features of this shape")
        )


def _made_by(shape: tuple[int, ...]) -> list[str]:
    """Name the methods whose features have this shape, with the option that it takes."""
    fits = []
    for name in models.names():
        try:
            card, method = models.card(name), models.get(name)
        except ValueError:  # another package's, which does not work: whoever asks for it is told
            continue
        settings = {f"--method {name}": card.resolve({})}
        for key, option in card.options.items():
            for choice in option.choices if option.part == "embed" else ():
                settings[f"--method {name} --option {key}={choice}"] = card.resolve({key: choice})
        fitting = [text for text, options in settings.items() if method.feature_shape(options) in (shape, shape[1:])]
        fits += fitting[:1]
    return fits


def _import_all(
    files: FeatureFiles, library: Library, config: Config, *, prefix: str, retry: frozenset[str], progress: bool
) -> Summary:
    """Import every file that is new, changed or to be tried again, and count what became of each."""
    began = time.monotonic()
    entries = library.entries(config.name)
    lost = library.lost_shards(entries.values())
    known = {entry.end["uri"] for entry in entries.values() if entry.status == "done"}
    read = _reader(config)
    shards = _Shards(Write(library.store, {config.name: config}))
    summary = Summary(
        library=str(library),
        methods=[config.method],
        untrained=[] if config.trained else [config.method],
        videos=0,
        ignored=files.ignored,
    )
    outcomes: Counter[str] = Counter()  # "done", "settled", or the class of a failure
    imported = []
    open_run(library, read.run)
    with Progress("import", files.total, "video", show=progress) as bar:
        for file in (replace(each, video_id=prefix + each.video_id) for each in files.walk(known)):
            bar.follow(summary.videos, files.total, file.video_id)
            summary.videos += 1
            entry = entries.get(file.video_id)
            outcome = "todo" if entry and entry.shards & lost else _state(file, entry, read, retry)
            if outcome in ("todo", "conflict"):
                imported.append(file.video_id)
            if outcome == "todo":
                outcome, windows = _import_one(file, read, shards)
                summary.windows += windows
            elif outcome == "conflict" and entry is not None:
                shards.add(read.conflict(file, entry.end["uri"]))
                summary.conflicts.append(file.video_id)
            outcomes[outcome] += 1
            bar.advance(failed=outcome in ERROR_CLASSES, windows=summary.windows)
        shards.flush()
    close_run(library, read.run, imported)
    summary.done = outcomes["done"]
    summary.skipped = {"already done": outcomes["settled"]} if outcomes["settled"] else {}
    summary.failed, summary.seconds = count_failures(outcomes.elements()), time.monotonic() - began
    return summary


def _reader(config: Config) -> FeatureRows:
    return FeatureRows(
        method=config.method,
        config=config.name,
        shape=config.feature_shape,
        dtype=config.feature_dtype,
        windows_per_s=config.windows_per_s,
        run=new_run(),
    )


def _import_one(file: FeatureFile, read: FeatureRows, shards: _Shards) -> tuple[str, int]:
    """Hand the rows of one video on; return "done" or the class of its failure, and its windows that count."""
    for row in read(file):
        shards.add(row)
    return row.get("error_class") or "done", row["windows_count"] if row["status"] == "done" else 0


def _state(file: FeatureFile, entry: Entry | None, read: FeatureRows, retry: frozenset[str]) -> str:
    """Return "todo", "settled", "conflict" where the id is another file's, or the class of a failure that stands."""
    if entry is None:
        return "todo"
    if entry.status == "done":
        if read.unchanged(file, entry.end):
            return "settled"
        return "conflict" if lies_elsewhere(entry, file.uri) else "todo"
    kind = entry.end["error_class"]
    return "todo" if kind in retry or file.mtime_ns() not in (None, entry.end["mtime_ns"]) else kind


class _Shards:
    """Collect rows and commit them, SHARD_BYTES at a time."""

    def __init__(self, write: Write):
        self._write = write
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._bytes += len(row.get("data", b""))
        if self._bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._write(table(self._rows))
        self._rows, self._bytes = [], 0
