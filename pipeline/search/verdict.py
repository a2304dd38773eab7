"""What pictures and sound of a pair say together: one verdict out of a match by each.

verdict = verdict_of(by_picture, by_sound, looks=..., hears=...)
verdict.words       # same picture, other sound
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa

from ndvr.operators.index.kinds import Stretch
from ndvr.operators.metrics.segments import length_s, union
from ndvr.pipeline.search.answers import Match

Picture = Literal["same", "setting", "other", "unknown"]
Sound = Literal["same", "partly", "elsewhere", "other", "muted", "added", "silent", "unknown"]
_PICTURE_WORDS: dict[Picture, str] = {"same": "same picture", "setting": "same setting"}
_SOUND_WORDS: dict[Sound, str] = {
    "same": " and same sound",
    "partly": ", in part the same sound",
    "elsewhere": " and same sound, at other times",
    "other": ", other sound",
    "muted": ", no sound (muted)",
    "added": ", sound added (the other has none)",
    "silent": ", no sound in either",
    "unknown": "; the sound cannot be judged",
}
_PARTLY = 0.5  # share of the pictures' time, below which the sound is the same in part
_SLACK_S = 1.5  # between the moments that pictures and sound say are the same

VERDICTS = pa.schema(
    [
        ("query_id", pa.string()),
        ("video_id", pa.string()),
        ("verdict", pa.string()),  # in words
        ("picture", pa.string()),  # same, setting, other, unknown
        ("sound", pa.string()),  # same, partly, elsewhere, other, muted, added, silent, unknown
        ("together", pa.float32()),  # share of the time of the pictures, in the query, that has the same sound
        ("picture_score", pa.float32()),  # null: no match
        ("sound_score", pa.float32()),
        ("left_out", pa.bool_()),  # people had judged the two to be no match
    ]
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What pictures and sound of a pair say together."""

    video_id: str
    picture: Picture
    sound: Sound
    together: float  # share of the time of the pictures, in the query, that has the same sound at the same moments
    by_picture: Match | None
    by_sound: Match | None

    @property
    def words(self) -> str:
        """The verdict, as people read it."""
        return words_of(self.picture, self.sound)

    def to_json(self) -> dict[str, Any]:
        return {"verdict": self.words} | asdict(self)

    def text(self, number: int) -> str:
        """Write a line, and some on pictures and on sound."""
        lines = [f"  {number}. {self.video_id}: {self.words}"]
        for name, match in (("picture", self.by_picture), ("sound", self.by_sound)):
            if match is not None:
                first, *others = match.lines()
                lines += [f"     {name}: {first}", *(f"       {line}" for line in others)]
        return "\n".join(lines)

    def csv_rows(self, known: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Write a row per segment, with the columns of its match; of a match without segments one without times."""
        known |= {"verdict": self.words, "picture": self.picture, "sound": self.sound, "together": self.together}
        for name, match in (("picture", self.by_picture), ("sound", self.by_sound)):
            if match is not None:
                mine = {key: value for key, value in match.to_json().items() if key != "segments"}
                times = [asdict(segment) for segment in match.segments]
                yield from (known | {"by": name} | mine | each for each in times or [{}])

    def row(self, query_id: str, *, left_out: bool) -> dict[str, Any]:
        """Choose one of VERDICTS."""
        scores = {"picture_score": self.by_picture, "sound_score": self.by_sound}
        known = {name: getattr(self, name) for name in ("video_id", "picture", "sound", "together")}
        known |= {"query_id": query_id, "verdict": self.words, "left_out": left_out}
        return known | {name: None if match is None else match.score for name, match in scores.items()}


def words_of(picture: Picture, sound: Sound) -> str:
    """Write the verdict as people read it."""
    if picture in _PICTURE_WORDS:
        return _PICTURE_WORDS[picture] + _SOUND_WORDS[sound]
    if sound in ("same", "partly", "elsewhere"):
        return "same sound, other picture" if picture == "other" else "same sound; the picture cannot be judged"
    return "the same, by decision"


@dataclass(frozen=True, kw_only=True)
class Judgeable:
    """Whether a method can tell anything of a query and of a video; None: there is nothing to see or to hear in it."""

    query: bool | None
    video: bool | None


def verdict_of(by_picture: Match | None, by_sound: Match | None, *, looks: Judgeable, hears: Judgeable) -> Verdict:
    """Put the two matches of one pair together; at least one is there."""
    match = by_picture or by_sound
    assert match is not None, "a pair that neither of the two found"
    seen, heard = (each is not None and each.kind != "decided" for each in (by_picture, by_sound))
    picture: Picture
    if seen:
        picture = "setting" if by_picture and by_picture.kind == "setting" else "same"
    else:
        picture = "other" if looks.query and looks.video else "unknown"
    together = 0.0
    sound: Sound
    if heard and seen and by_picture and by_sound:
        together = _together(by_picture.segments, by_sound.segments)
        identical = "identical" in (by_picture.kind, by_sound.kind)
        untimed = not (by_picture.segments and by_sound.segments)
        sound = "same" if together >= _PARTLY or identical or untimed else "partly" if together else "elsewhere"
    elif heard:
        sound = "same"
    elif hears.query is None or hears.video is None:
        sound = "silent" if hears.query is hears.video else "muted" if hears.query is None else "added"
    else:
        sound = "other" if hears.query and hears.video else "unknown"
    known: dict[str, Any] = {"picture": picture, "sound": sound, "together": round(together, 3)}
    return Verdict(video_id=match.video_id, **known, by_picture=by_picture, by_sound=by_sound)


def _together(pictures: Sequence[Stretch], sounds: Sequence[Stretch]) -> float:
    """Share of the query's time of the pictures in which the sound is that of the same moments of the video."""
    agreed = []
    for seen in pictures:
        for heard in sounds:
            start, end = max(seen.q_start_s, heard.q_start_s), min(seen.q_end_s, heard.q_end_s)
            middle = (start + end) / 2
            if end > start and abs(_moment(seen, middle) - _moment(heard, middle)) <= _SLACK_S:
                agreed.append((start, end))
    whole = length_s(union((each.q_start_s, each.q_end_s) for each in pictures))
    return min(length_s(union(agreed)) / whole, 1.0) if whole else 0.0


def _moment(stretch: Stretch, at_s: float) -> float:
    """Compute the second of the video that a second of the query shows."""
    moved = (at_s - stretch.q_start_s) * stretch.speed
    return stretch.v_end_s - moved if stretch.reversed else stretch.v_start_s + moved
