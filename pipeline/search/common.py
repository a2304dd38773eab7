"""Common material of a library, learned from its index: `ndvr common LIBRARY`.

result = common("library")
for each in result.materials: print(each.videos, each.seconds, each.examples[0].video_id)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ndvr.operators.index.common import Material, Shown
from ndvr.operators.index.common import common as learn
from ndvr.operators.library.feature_reader import FeatureReader
from ndvr.pipeline.search.answers import clock
from ndvr.pipeline.search.library_index import LibraryIndex, open_index
from ndvr.pipeline.search.matcher import LEAST_VIDEOS

_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Example:
    """One video that shows the material, in [start_s, end_s)."""

    video_id: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class CommonMaterial:
    """One piece of common material."""

    videos: int
    seconds: float  # in the first of the examples
    examples: list[Example]

    def text(self, number: int) -> str:
        """Write one line."""
        shown = ", ".join(f"{e.video_id} {clock(e.start_s)}-{clock(e.end_s)}" for e in self.examples[:3])
        more = f" and {self.videos - 3:,} more" if self.videos > 3 else ""
        return f"  {number}. {self.videos:,} videos, {self.seconds:.1f} s: {shown}{more}"


@dataclass(frozen=True, kw_only=True)
class Common:
    """What `common` learned."""

    library: str
    index: str
    videos: int  # of the index
    least_videos: int
    found: int  # pieces of material; those beyond `top` are left out of `materials`
    materials: list[CommonMaterial]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """Write a line, and one per piece of material."""
        if not self.found:
            return f"nothing that {self.least_videos:,} of {self.videos:,} videos show without being copies"
        pieces = "1 piece" if self.found == 1 else f"{self.found:,} pieces"
        lines = [f"{pieces} of common material in {self.videos:,} videos, each shown by {self.least_videos:,} or more"]
        lines += [material.text(number) for number, material in enumerate(self.materials, 1)]
        if rest := self.found - len(self.materials):
            lines.append(f"  and {rest:,} more")
        return "\n".join(lines)


def common(library: str | Path, *, least_videos: int = LEAST_VIDEOS, top: int = 20, **settings: Any) -> Common:
    """List the pictures that `least_videos` of a library show, though they are not copies of each other.

    Settings as of `open_index`. FileNotFoundError when the library has no index.
    """
    index = open_index(library, **settings)
    if not index.files.exists:
        raise FileNotFoundError(f"{library} has no index; `ndvr index {library}` makes it")
    if index.model.compact:
        raise ValueError(f"{index.setting.method} keeps one vector a video: of what videos share it knows nothing")
    found = learn(index.segments, least_videos=least_videos)
    return Common(
        library=str(index.library),
        index=str(index.files.store),
        videos=index.n_videos,
        least_videos=least_videos,
        found=len(found),
        materials=[_told(index, material) for material in found[:top]],
    )


def _told(index: LibraryIndex, material: Material) -> CommonMaterial:
    """Tell material with ids and seconds; examples whose video left the library are left out."""
    ids = {_id(index, shown): shown for shown in material.shown}
    videos = index.lookup(list(ids)[: 2 * _EXAMPLES])
    read, examples = FeatureReader(index.library.store), []
    for video_id in [each for each in ids if each in videos][:_EXAMPLES]:
        start_s, _ = read.timed(videos[video_id].pieces)
        shown, hop = ids[video_id], start_s[1] - start_s[0] if len(start_s) > 1 else 0.5
        end_s = start_s[shown.end] if shown.end < len(start_s) else start_s[-1] + hop
        examples.append(Example(video_id=video_id, start_s=float(start_s[shown.first]), end_s=float(end_s)))
    seconds = examples[0].end_s - examples[0].start_s if examples else 0.0
    return CommonMaterial(videos=len(material), seconds=round(seconds, 3), examples=examples)


def _id(index: LibraryIndex, shown: Shown) -> str:
    return index.segments[shown.segment].videos[shown.row].video_id
