"""The inputs of a comparison: two libraries and a method that fit each other, then the score folder and its grid.

inputs = check_inputs("queries", "database", MethodSpec(method="s2vs"))    # nothing is written
grid = open_grid(inputs, "scores", query_ids=None, workers=Workers())       # nothing is computed
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ndvr.operators.library.config import Config
from ndvr.operators.library.feature_reader import lost_text, named, without_lost
from ndvr.operators.library.library import Entry, Library
from ndvr.operators.scores.files import FORMAT
from ndvr.operators.scores.groups import Group, Side, Video, videos_of
from ndvr.operators.storage.sealed import Damaged
from ndvr.operators.storage.text_files import ids_among, read_id_lines
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.comparison import _grid as grid
from ndvr.pipeline.comparison._score_folder import ScoreFolder
from ndvr.pipeline.settings import Setting, choose_one

if TYPE_CHECKING:
    from ndvr.models.method import Model


T = TypeVar("T")

# Of a worker's memory, what the longest query and the longest video may take together.
_PAIR_SHARE = 0.6


@dataclass(frozen=True, kw_only=True)
class MethodSpec:
    """A method with its settings, as the user names it; `config` is needed when a library holds several."""

    method: str
    weights: str | None = None
    config: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> MethodSpec:
        """Parse METHOD or METHOD:KEY=VALUE,...; keys are options of the method, weights and config."""
        method, _, rest = text.partition(":")
        settings: dict[str, Any] = {}
        for setting in filter(None, rest.split(",")):
            key, equals, value = setting.partition("=")
            if not equals or not key:
                raise ValueError(f"--propose {text!r}: expected METHOD or METHOD:KEY=VALUE,..., found {setting!r}")
            settings[key] = value
        weights, config = settings.pop("weights", None), settings.pop("config", None)
        choose_one(method, weights, settings)  # ValueError now rather than later
        return cls(method=method, options=settings, weights=weights, config=config)

    def __str__(self) -> str:
        settings = {**self.options, "weights": self.weights, "config": self.config}
        text = ",".join(f"{key}={value}" for key, value in settings.items() if value is not None)
        return f"{self.method}:{text}" if text else self.method


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Facts that every kind of comparison reports."""

    method: str
    weights: str
    trained: bool
    videos: int  # of the database, with features
    missing_videos: int  # without features, or too long
    too_long: tuple[str, ...] = ()  # left out, as they do not fit into the memory given; on either side
    lost: tuple[str, ...] = ()  # left out, as their features are gone or damaged; on either side
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Make one flat object for programs."""
        return asdict(self)

    def left_out_text(self) -> str:
        """Say which videos were not compared, being too long or having lost their features; nothing when all were."""
        needs = "too long for this method in the memory given; give more by --memory-gb"
        lines = [f"left out: {named(self.too_long)}: {needs}"] if self.too_long else []
        return "\n".join(filter(None, [*lines, lost_text(self.lost)]))


@dataclass(frozen=True, kw_only=True)
class Scored(Compared):
    """Facts that every comparison of two libraries reports."""

    scores: str  # the folder
    queries: int  # with features
    missing_queries: int  # asked for, without features
    pairs: int  # queries x videos


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Two libraries, the queries' first and the database second, and the method; they may be the same library."""

    libraries: tuple[Library, Library]
    configs: tuple[str, str]
    entries: tuple[dict[str, Entry], dict[str, Entry]]
    setting: Setting
    model: Model  # on this machine's CPU, for its facts; only what compares
    decisive: dict[str, Any]  # what decides the scores of a pair of features, as scores.json records it
    lost: tuple[tuple[str, ...], tuple[str, ...]]  # ids of entries without features, as these are lost

    @property
    def trained(self) -> bool:
        return self.decisive["trained"]

    def hire(self, workers: Workers) -> Workers:
        """Hire the workers that the user wants, where this method's comparison gains from them."""
        return replace(workers, on_cpu=self.setting.card.compares_on_cpu)

    def read_through(self) -> Inputs:
        """Read all features, and leave out the videos whose are damaged."""
        return replace(self, **_with_features(self.libraries, self.entries, strict=False, read=True, lost=self.lost))

    def pick(self, query_ids: Iterable[str] | str | Path | None) -> dict[str, Entry]:
        """Look up the entries of these queries: ids, or a list of them in a file, "-" for standard input; None: all."""
        entries, library = self.entries[0], self.libraries[0]
        if query_ids is None:
            return entries
        if isinstance(query_ids, (str, Path)):
            query_ids = ids_among(read_id_lines(query_ids), entries)
        wanted = sorted(set(query_ids))
        if not wanted:
            raise ValueError("the list of query ids is empty")
        unknown = [video_id for video_id in wanted if video_id not in entries]
        if unknown:
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise ValueError(f"query {unknown[0]!r}{more} is not in {library}; `ndvr show` lists its videos")
        return {video_id: entries[video_id] for video_id in wanted}

    def fitting(self, sides: Sequence[list[Video]], memory_gb: float) -> Fitting:
        """Leave out the longest videos until the two longest can be compared in a worker's memory.

        ValueError when nothing of a side is left.
        """
        from ndvr.operators.scores.signatures import pair_bytes

        needs = pair_bytes(self.model)
        ordered = [sorted(side, key=lambda video: video.windows) for side in sides]  # the longest last

        def needed_gb(longest: Sequence[Video]) -> float:
            return sum(map(needs, longest)) * (2 if len(longest) == 1 else 1) / _PAIR_SHARE / 1e9

        first = [side[-1] for side in ordered if side]
        too_long: set[str] = set()
        while needed_gb([side[-1] for side in ordered if side]) > memory_gb:
            at = max((side for side in ordered if side), key=lambda side: side[-1].windows)
            too_long.add(at.pop().video_id)
            if not at:
                names = " and ".join(f"{video.video_id!r} ({video.windows:,} windows)" for video in first)
                raise ValueError(
                    f"comparing {names} takes {needed_gb(first):.1f} GB a worker, more than memory_gb={memory_gb:g}; "
                    f"give --memory-gb {needed_gb(first) * 1.05:.1f}, and --workers so that all of them fit"
                )
        # A video that stands on both sides is left out of both.
        kept = tuple([video for video in side if video.video_id not in too_long] for side in sides)
        return Fitting(sides=kept, too_long=tuple(sorted(too_long)))


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """The videos of each side that can be compared in the memory given, and the ids of those that cannot."""

    sides: tuple[list[Video], ...]
    too_long: tuple[str, ...]


def check_inputs(queries: str | Path, database: str | Path, spec: MethodSpec, *, strict: bool = False) -> Inputs:
    """Open both libraries. ValueError or FileNotFoundError when they do not fit each other or the method.

    Videos whose shards are missing are left out; with `strict` they are Damaged.
    """
    setting = choose_one(spec.method, spec.weights, spec.options)
    libraries = Library(queries), Library(database)
    configs = libraries[0].config_of(spec.method, spec.config), libraries[1].config_of(spec.method, spec.config)
    made_with = libraries[0].configs[configs[0]], libraries[1].configs[configs[1]]
    _check_features(libraries, made_with)
    # What the features were made with holds, whatever this command's defaults are.
    setting = replace(setting, options=setting.options | made_with[0].options)
    model = setting.load("cpu", "similarity")
    _check_model(model, made_with[0], libraries[0])
    query_entries = libraries[0].entries(configs[0])
    same = str(libraries[0]) == str(libraries[1])
    entries = query_entries, query_entries if same else libraries[1].entries(configs[1])
    decisive = {
        "format": FORMAT,
        "method": spec.method,
        "weights": model.weights,
        "features": made_with[0].weights,
        "trained": model.trained and made_with[0].trained,
        "symmetric": model.symmetric,
        "options": setting.options,
        "config": configs[0],
        "similarity_digest": model.digest("similarity"),
        "query_library": str(queries),
        "database_library": str(database),
    }
    return Inputs(
        libraries=libraries,
        configs=configs,
        setting=setting,
        model=model,
        decisive=decisive,
        **_with_features(libraries, entries, strict=strict),
    )


def _with_features(
    libraries: tuple[Library, Library],
    entries: tuple[dict[str, Entry], dict[str, Entry]],
    *,
    strict: bool,
    read: bool = False,
    lost: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
) -> dict[str, Any]:
    """Make `entries` and `lost` of Inputs: videos whose features are lost are failures, besides those that are so."""
    sides = [without_lost(libraries[0], entries[0], strict=strict, read=read)]
    sides.append(
        sides[0] if entries[0] is entries[1] else without_lost(libraries[1], entries[1], strict=strict, read=read)
    )
    known = tuple(tuple(sorted({*before, *now})) for before, (_, now) in zip(lost, sides))
    return {"entries": (sides[0][0], sides[1][0]), "lost": known}


def leaving_out_lost(work: Callable[..., T], *inputs: Inputs, strict: bool) -> T:
    """Return work(*inputs). Where it meets damaged features all are read, and it starts over without those videos.

    What it has computed by then is kept in its folder. With `strict`, or where no features are damaged, Damaged.
    """
    try:
        return work(*inputs)
    except Damaged:
        sound = [] if strict else [each.read_through() for each in inputs]
        if all(now.lost == before.lost for now, before in zip(sound, inputs)):
            raise
    return work(*sound)


def _check_model(model: Model, made_with: Config, library: Library) -> None:
    if model.feature_shape != made_with.feature_shape:
        raise ValueError(
            f"features in {library} have shape {list(made_with.feature_shape)}, {model.name} under these "
            f"settings compares {list(model.feature_shape)}; choose the --option or --weights that fit them "
            f"(`ndvr methods {model.name}`)"
        )
    if model.training and model.training["features_digest"] != made_with.weights_digest:
        raise ValueError(
            f"{model.weights} was trained on features of {model.training['features']!r}, and knows nothing of those in "
            f"{library}, which {made_with.weights!r} made; train on such, or extract with those"
        )


def _check_features(libraries: tuple[Library, Library], configs: tuple[Config, Config]) -> None:
    values = [config.to_json() for config in configs]
    for key in ("weights_digest", "view", "feature_shape", "features_version"):
        if values[0][key] != values[1][key]:
            first, second = (f"{library} ({config.name})" for library, config in zip(libraries, configs))
            raise ValueError(
                f"the features of {first} and {second} cannot be compared: their {key} differ "
                f"({values[0][key]!r}, {values[1][key]!r}); extract both with the same settings"
            )


# --- The score folder and the groups of its grid; nothing is computed yet --------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ScoreGrid:
    """Inputs in groups, and the folder for their scores; by side: "queries" and "videos"."""

    inputs: Inputs
    entries: Mapping[str, dict[str, Entry]]  # asked for
    videos: Mapping[str, list[Video]]  # those with features, but for what is too long
    too_long: tuple[str, ...]
    folder: ScoreFolder
    sides: Mapping[str, Side]

    @property
    def lost(self) -> tuple[str, ...]:
        """The ids that were asked for and whose features are lost."""
        sides = zip(self.inputs.lost, self.entries.values())
        return tuple(sorted({video_id for lost, side in sides for video_id in lost if video_id in side}))

    @property
    def groups(self) -> list[Group]:
        return [group for side in self.sides.values() for group in side.groups]

    @property
    def shrunk(self) -> dict[str, str]:
        """Names that groups which lost videos had before, by their names now."""
        return {**self.sides["queries"].shrunk, **self.sides["videos"].shrunk}

    def worker(self, memory_gb: float) -> dict[str, Any]:
        """Collect what a worker needs to make a `Scorer`."""
        return {
            "setting": self.inputs.setting,
            "libraries": [library.store for library in self.inputs.libraries],
            "folder": self.folder.signatures,
            "memory_gb": memory_gb,
        }

    def facts(self) -> dict[str, Any]:
        """Fill in the fields of `Scored`, but for the seconds."""
        queries, videos = (len(self.videos[side]) for side in grid.SIDES)
        return {
            "scores": str(self.folder.out),
            "method": self.inputs.model.name,
            "weights": self.inputs.model.weights,
            "trained": self.inputs.trained,
            "queries": queries,
            "videos": videos,
            "pairs": queries * videos,
            "missing_queries": len(self.entries["queries"]) - queries,
            "missing_videos": len(self.entries["videos"]) - videos,
            "too_long": self.too_long,
            "lost": self.lost,
        }


def open_grid(
    inputs: Inputs,
    scores: str | Path,
    *,
    query_ids: Iterable[str] | str | Path | None,
    workers: Workers,
    decisive: Mapping[str, Any] | None = None,
) -> ScoreGrid:
    """Check what else can be wrong, then make or open SCORES.

    decisive  what, beside the inputs, decides whether it holds the same comparison
    """
    entries = {"queries": inputs.pick(query_ids), "videos": inputs.entries[1]}
    videos = {name: videos_of(side.values(), inputs.configs[n]) for n, (name, side) in enumerate(entries.items())}
    fitting = inputs.fitting(list(videos.values()), workers.memory_gb)
    videos = dict(zip(videos, fitting.sides))
    folder = ScoreFolder(scores, inputs.decisive | dict(decisive or {}), lease=workers.lease)
    for name, side in entries.items():
        folder.check_overlap(name, side)
    sides = grid.sides(folder.recorded, videos, grid.group_size(inputs.model))
    return ScoreGrid(
        inputs=inputs, entries=entries, videos=videos, too_long=fitting.too_long, folder=folder, sides=sides
    )
