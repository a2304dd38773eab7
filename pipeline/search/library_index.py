"""A library with its index, opened: what is indexed, with which method, and what the library says of it now."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ndvr.operators.index.segments import IndexFiles, Segment, Snapshot
from ndvr.operators.index.sureness import Sureness
from ndvr.operators.library.config import Config
from ndvr.operators.library.library import Entry, Library
from ndvr.operators.library.receipt_files import LedgerFiles
from ndvr.operators.scores.groups import Video, videos_of
from ndvr.operators.storage.store import Store
from ndvr.pipeline.progress import size_words
from ndvr.pipeline.settings import Setting, choose_one

if TYPE_CHECKING:
    from ndvr.models.method import Model

INDEX = "index"  # folder of a library


@dataclass(frozen=True)
class LibraryIndex:
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

    def now(self) -> LibraryIndex:
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
    def of(cls, index: LibraryIndex) -> Reopen:
        """Describe how to open it again; stores of this machine are named by their whole paths."""
        return cls(
            library=index.library.store.absolute(),
            config=index.config,
            setting=index.setting,
            index=index.files.store.absolute(),
            snapshot=index.snapshot,
        )

    def open(self) -> LibraryIndex:
        """Open it, with a model that compares; see `open_index`."""
        from ndvr.models.method import use_one_thread

        use_one_thread()
        model = self.setting.load("cpu", "similarity")
        files = IndexFiles(self.index)
        return LibraryIndex(Library(self.library), self.config, self.setting, model, files, self.snapshot)


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
) -> LibraryIndex:
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
    return LibraryIndex(opened, name, setting, model, files, files.snapshot() if there else Snapshot())


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


# --- What the indexes of a library hold: `ndvr show LIBRARY --indexes`


@dataclass(frozen=True, kw_only=True)
class IndexView:
    """One index at a glance."""

    index: str
    method: str
    config: str
    snapshot: int  # its number; each change makes the next
    up_to_date: bool  # False: the library has changed since
    videos: int
    without_keys: int  # videos too dark or flat to be looked up
    gone: int  # videos that count no more and whose keys still lie there
    keys: int
    bytes: int
    seconds: float  # of video
    segments: dict[int, int]  # how many were merged how often
    lists: int
    sureness: Sureness | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """Write some lines."""
        a_second = f", {self.bytes / self.seconds:.0f} bytes a second of video" if self.seconds else ""
        state = (
            "up to date" if self.up_to_date else "the library has changed since; `ndvr index` or a search updates it"
        )
        merged = ", ".join(
            f"{n:,} merged {level} times" if level else f"{n:,} new" for level, n in self.segments.items()
        )
        lines = [
            f"{self.index}  {self.method}, snapshot {self.snapshot}, {state}",
            f"  {self.videos:,} videos ({self.without_keys:,} too dark or flat to be looked up, {self.gone:,} gone)",
            f"  {self.keys:,} keys in {self.lists:,} lists, {size_words(self.bytes)}{a_second}",
            f"  segments: {merged or 'none'}; each has lists fitted to it when it was written",
        ]
        return "\n".join([*lines, f"  sureness: {self._sure()}"])

    def _sure(self) -> str:
        sure = self.sureness
        if sure is None:
            return "not measured"
        if not sure.fitted:
            return f"assumed from other videos, as {sure.pairs:,} pairs of {sure.videos:,} videos are too few"
        return (
            f"fitted to {sure.pairs:,} unrelated pairs of {sure.videos:,} videos; of a million such pairs "
            f"{sure.share * 1e6:,.0f} exceed odds of {sure.start:.3f}, scale {sure.scale:.3f}, shape {sure.shape:.2f}"
        )


def show_index(library: str | Path, *, to: str | Path | None = None) -> list[IndexView]:
    """Describe all indexes of a library, by configuration. FileNotFoundError when there is none."""
    opened = Library(library)
    views = []
    for config in opened.configs:
        files = files_of(opened, config, to)
        if files.exists:
            views.append(_view(opened, config, files))
    if not views:
        raise FileNotFoundError(f"{library} has no index; `ndvr index {library}` makes it")
    return views


def _view(library: Library, config: str, files: IndexFiles) -> IndexView:
    snapshot = files.snapshot()
    segments = files.open(snapshot)
    durations = {video_id: entry.end["duration_s"] or 0.0 for video_id, entry in library.entries(config).items()}
    alive = [segment.videos[row] for segment in segments for row in segment.alive]
    with_keys = sum(len(set(segment.where(np.arange(len(segment)))[0].tolist()) - segment.gone) for segment in segments)
    return IndexView(
        index=str(files.store),
        method=files.about()["method"],
        config=config,
        snapshot=snapshot.number,
        up_to_date=snapshot.ledger == ledger_state(library),
        videos=len(alive),
        without_keys=len(alive) - with_keys,
        gone=sum(len(segment.gone) for segment in segments),
        keys=sum(map(len, segments)),
        bytes=files.bytes_of(snapshot),
        seconds=round(sum(durations.get(video.video_id, 0.0) for video in alive), 3),
        segments=dict(sorted(Counter(segment.level for segment in segments).items())),
        lists=sum(len(segment.lists) for segment in segments),
        sureness=Sureness.from_json(snapshot.sureness),
    )
