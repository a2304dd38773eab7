"""A library with its index, opened: what is indexed, with which method, and what the library says of it now."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndvr.operators.index.segments import IndexFiles, Segment, Snapshot
from ndvr.operators.index.sureness import Sureness
from ndvr.operators.library.config import Config
from ndvr.operators.library.library import Entry, Library
from ndvr.operators.library.receipt_files import LedgerFiles
from ndvr.operators.scores.groups import Video, videos_of
from ndvr.operators.storage.store import Store
from ndvr.pipeline.settings import Setting, choose_one

if TYPE_CHECKING:
    from ndvr.models.method import Model

INDEX = "index"  # folder of a library


@dataclass(frozen=True)
class Opened:
    """One configuration of a library and the place of its index, which may not exist yet."""

    library: Library
    config: str
    setting: Setting
    model: Model = field(repr=False)
    files: IndexFiles
    snapshot: Snapshot
    keys: bool = True  # False: others hold them; here segments tell of videos only

    @cached_property
    def segments(self) -> list[Segment]:
        return self.files.open(self.snapshot, keys=self.keys)

    @property
    def sureness(self) -> Sureness | None:
        return Sureness.from_json(self.snapshot.sureness)

    @property
    def features(self) -> Config:
        """What the library's features were made with."""
        return self.library.configs[self.config]

    @property
    def n_videos(self) -> int:
        """How many videos count."""
        return sum(len(segment.alive) for segment in self.segments)

    def now(self) -> Opened:
        """Open it again with what the library and its index hold now."""
        return replace(self, library=Library(self.library.store), snapshot=self.files.snapshot())

    def lookup(self, ids: Iterable[str]) -> dict[str, Video]:
        """Look up the videos of these ids that have features now, by id."""
        entries = self.library.lookup([self.config], sorted(set(ids))).entries[self.config]
        return {video.video_id: video for video in videos_of(entries.values(), self.config)}


@dataclass(frozen=True, kw_only=True)
class Reopen:
    """What another process needs to open the same state of an index."""

    library: Store
    config: str
    setting: Setting
    index: Store
    snapshot: Snapshot

    @classmethod
    def of(cls, opened: Opened) -> Reopen:
        """Describe how to open it again; stores of this machine are named by their whole paths."""
        return cls(
            library=opened.library.store.absolute(),
            config=opened.config,
            setting=opened.setting,
            index=opened.files.store.absolute(),
            snapshot=opened.snapshot,
        )

    def opened(self) -> Opened:
        """Open it, with a model that compares; see `open_index`."""
        from ndvr.models.method import use_one_thread

        use_one_thread()
        model = self.setting.load("cpu", "similarity")
        files = IndexFiles(self.index)
        return Opened(Library(self.library), self.config, self.setting, model, files, self.snapshot)


def open_index(
    library: str | Path | Store,
    *,
    method: str = "thumbprint",
    weights: str | None = None,
    options: dict[str, Any] | None = None,
    config: str | None = None,
    to: str | Path | None = None,
    embeds: bool = False,
    again: bool = False,
) -> Opened:
    """Open a library and its index, or the place where it will be: LIBRARY/index, or `to`.

    embeds: the model also makes features of videos. again: whatever is there is going to be made anew.
    FileNotFoundError or ValueError say what does not fit. From then on this thread computes on one core: pictures are
    small, and threads would wait for each other.
    """
    from ndvr.models.method import use_one_thread

    use_one_thread()
    opened = Library(library)
    name = opened.config_of(method, config)
    features = opened.configs[name]
    setting = choose_one(method, weights, options)
    setting = replace(setting, options=setting.options | features.options)
    if weights is None and features.weights.startswith("random"):
        setting = replace(setting, weights=features.weights)
    model = setting.load("cpu", *(("embed", "similarity") if embeds else ("similarity",)))
    if model.feature_shape != features.feature_shape:
        raise ValueError(
            f"features in {opened} have shape {list(features.feature_shape)}, {model.name} under these settings "
            f"compares {list(model.feature_shape)}; choose the --option or --weights that fit them"
        )
    files = files_of(opened, name, to)
    there = files.exists and not again
    if there and (of := files.about()["config"]) != name:
        raise ValueError(f"{files.store} is an index of {of}, not of {name}; name another folder with --to")
    return Opened(opened, name, setting, model, files, files.snapshot() if there else Snapshot())


def files_of(library: Library, config: str, to: str | Path | None) -> IndexFiles:
    """Find the files of an index, or where they will be: LIBRARY/index, or `to`."""
    root = f"{to}/{config}" if to else f"{library.store.root}/{INDEX}/{config}"
    return IndexFiles(Store(root, library.store.access if library.store.remote and not to else None))


def ledger_state(library: Library) -> str:
    """Name what the library's ledger says now; the name may change without a change of what it says."""
    files = LedgerFiles.now(library.store)
    state = [files.snapshot.number, [part["name"] for part in files.snapshot.ledger], files.commits]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]


def without_features(entries: Iterable[Entry]) -> dict[str, int]:
    """Count the videos that have no features, by reason; the most first."""
    reasons: Counter[str] = Counter()
    for entry in entries:
        if not entry.pieces:
            end = entry.end
            reasons["removed" if entry.removed else end["error_class"] or end["message"] or end["status"]] += 1
    return dict(reasons.most_common())
