"""What a search says: an Answer per query, with its matches and their segments, as text, JSON and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pyarrow as pa

from ndvr.operators.index.kinds import COVERED, WORDS, Kind, Stretch
from ndvr.operators.metrics.segments import length_s, shared_s, union

Status = Literal["searched", "unsure", "partial", "failed"]

MATCHES = pa.schema(
    [
        ("query_id", pa.string()),
        ("rank", pa.int32()),  # from 1
        ("video_id", pa.string()),
        ("kind", pa.string()),  # identical, copy, part, contains, shared, common, setting, unsure, decided
        ("score", pa.float32()),  # of the method, the same as `ndvr similarity` gives
        ("false_per_million", pa.float64()),  # unrelated pairs of a million that score as much; null: not known
        ("query_covered", pa.float32()),  # share of the query that the segments cover
        ("video_covered", pa.float32()),
        ("placement", pa.string()),  # mirrored, in the upper right quarter ...; "" as it is
    ]
)
SEGMENTS = pa.schema(
    [
        ("query_id", pa.string()),
        ("video_id", pa.string()),
        ("q_start_s", pa.float64()),
        ("q_end_s", pa.float64()),
        ("v_start_s", pa.float64()),
        ("v_end_s", pa.float64()),
        ("speed", pa.float32()),  # seconds of the video per second of the query
        ("reversed", pa.bool_()),
        ("agreement", pa.float32()),  # of windows, mean, in [0, 1]
    ]
)
LEFT_OUT = pa.schema([*MATCHES, ("segments", pa.list_(pa.struct(list(SEGMENTS)[2:])))])
QUERIES = pa.schema(
    [
        ("query_id", pa.string()),
        ("uri", pa.string()),
        # searched; unsure: nothing to tell by (too short, dark, silent); partial: features of the library that may
        # matter are lost, or a part of the index could not be searched; failed: see message
        ("status", pa.string()),
        ("message", pa.string()),
        ("matches", pa.int32()),
        ("duration_s", pa.float64()),
        ("bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("videos", pa.int32()),  # that were searched
        ("seconds", pa.float64()),  # it took, without decoding
        ("sha256", pa.string()),  # of the file; "" or null: not known
        ("rejected", pa.int32()),  # matches that are left out, as people judged them to be none
    ]
)


def status_of_both(picture: Status, sound: Status) -> Status:
    """Tell the status of one search by both:
    failed where both did, partial where one did, unsure where neither can tell.
    """
    said = {picture, sound}
    if said & {"failed", "partial"}:
        return "failed" if said == {"failed"} else "partial"
    return "searched" if "searched" in said else "unsure"


@dataclass(frozen=True, kw_only=True)
class Match:
    """A video of the library that has something to do with the query."""

    video_id: str
    kind: Kind
    score: float
    false_per_million: float | None
    query_covered: float
    video_covered: float
    placement: str
    segments: list[Stretch]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self, number: int) -> str:
        """Write two lines or more: what it is, and where."""
        return f"  {number}. {self.video_id}: " + "\n     ".join(self.lines())

    def lines(self) -> list[str]:
        """Say what it is, where, and how much of both that covers."""
        sure = "" if self.false_per_million is None else f", {rate_text(self.false_per_million)} false per million"
        lines = [f"{WORDS[self.kind]}, score {self.score:.2f}{sure}"]
        lines += [where_text(stretch, self.placement) for stretch in self.segments[:6]]
        if len(self.segments) > 6:
            lines.append(f"and {len(self.segments) - 6} more segments")
        if self.segments and self.kind not in ("identical", "copy"):
            lines.append(f"covers {self.query_covered:.0%} of the query, {self.video_covered:.0%} of the video")
        return lines


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is known of one query."""

    query_id: str
    uri: str
    status: Status
    message: str = ""
    matches: list[Match] = field(default_factory=list)
    duration_s: float | None = None
    bytes: int | None = None
    mtime_ns: int | None = None
    videos: int = 0
    seconds: float = 0.0
    sha256: str | None = None
    rejected: int | None = 0  # matches that are left out, as people judged them to be none
    left_out: list[Match] = field(default_factory=list)  # these, where they are known

    def to_json(self) -> dict[str, Any]:
        """Return the answer as JSON, with matches and segments."""
        return asdict(self)

    def text(self) -> str:
        """Write a line, and some per match."""
        if self.status == "failed":
            return f"{self.query_id}: could not be searched for: {self.message}"
        if not self.matches:
            if self.status in ("unsure", "partial"):
                return f"{self.query_id}: cannot judge: {self.message}"
            return f"{self.query_id}: not seen, among {self.videos:,} videos{self._left_out()}"
        note = f" ({self.message})" if self.message else ""
        count = "1 match" if len(self.matches) == 1 else f"{len(self.matches):,} matches"
        lines = [f"{self.query_id}: {count} among {self.videos:,} videos{note}{self._left_out()}"]
        return "\n".join(lines + [match.text(number) for number, match in enumerate(self.matches, 1)])

    def _left_out(self) -> str:
        return f" ({self.rejected:,} left out, judged not a match)" if self.rejected else ""

    def query_row(self) -> dict[str, Any]:
        row = {name: getattr(self, name) for name in QUERIES.names if name != "matches"}
        return row | {"matches": len(self.matches)}

    def match_rows(self) -> list[dict[str, Any]]:
        return [{k: row[k] for k in MATCHES.names} for row in self._rows(self.matches)]

    def left_out_rows(self) -> list[dict[str, Any]]:
        return self._rows(self.left_out)

    def _rows(self, matches: Sequence[Match]) -> list[dict[str, Any]]:
        known = {"query_id": self.query_id}
        return [known | {"rank": rank} | match.to_json() for rank, match in enumerate(matches, 1)]

    def segment_rows(self) -> list[dict[str, Any]]:
        return [
            {"query_id": self.query_id, "video_id": match.video_id} | asdict(stretch)
            for match in self.matches
            for stretch in match.segments
        ]


def in_order(matches: Iterable[Match]) -> list[Match]:
    """Sort matches: the same file first, then what was decided, then by score;
    common material, then what may be none, last.
    """
    last = {"identical": 0, "decided": 1, "common": 3, "setting": 4, "unsure": 4}
    return sorted(matches, key=lambda match: (last.get(match.kind, 2), -match.score, match.video_id))


def shows(other: Match, match: Match) -> bool:
    """Say whether nearly all of what the query shares with one video is what it shares with another one, too."""
    mine, its = (union((each.q_start_s, each.q_end_s) for each in of.segments) for of in (match, other))
    return bool(mine) and shared_s(mine, its) >= COVERED * length_s(mine)


def clock(seconds: float) -> str:
    """Write seconds as times: 12.5 -> 00:12.5, 3675 -> 1:01:15.0."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    short = f"{minutes:02d}:{rest / 10:04.1f}"
    return f"{hours}:{short}" if hours else short


def where_text(stretch: Stretch, placement: str = "") -> str:
    """Write where: 00:12.5-00:31.0 at 04:02.0-04:20.5, 1.25x, reversed, mirrored."""
    text = f"{clock(stretch.q_start_s)}-{clock(stretch.q_end_s)} at {clock(stretch.v_start_s)}-{clock(stretch.v_end_s)}"
    if not stretch.speed:
        text += ", held still"
    elif abs(stretch.speed - 1) > 0.02:
        text += f", {stretch.speed:.2f}x"
    text += ", reversed" if stretch.reversed else ""
    return f"{text}, {placement}" if placement else text


def rate_text(value: float) -> str:
    """Write false matches per million comparisons, as far as they can be told."""
    if value <= 0.001:
        return "0.001 or fewer"
    return f"{value:,.3g}" if value < 999.5 else f"{value:,.0f}"


_TURNS = {
    0: "",
    1: "mirrored",
    2: "upside down and mirrored",
    3: "turned by 180 degrees",
    4: "turned left and mirrored",
    5: "turned right by 90 degrees",
    6: "turned left by 90 degrees",
    7: "turned right and mirrored",
}


def placement_words(box: tuple[float, float, float, float] | None, turn: int) -> str:
    """Say how the video's picture lies in the query's, in words; see ndvr.models.keys.Judged."""
    words = [_TURNS[turn & 7]] if turn & 7 else []
    if turn & 8:
        words.append("as a negative")
    if box is not None:
        x, y, width, height = box
        if width < 0.9 and height < 0.9:
            words.append(f"in the {_part(x, y)}, {width:.0%} of the width")
        elif width > 1.15 or height > 1.15:
            share = 1 / (max(width, 1.0) * max(height, 1.0))
            words.append(f"cropped to {share:.0%} of the picture")
        elif width < 0.9 or height < 0.9:
            words.append(f"squeezed or framed to {width:.0%} of the width, {height:.0%} of the height")
    return ", ".join(words)


def _part(x: float, y: float) -> str:
    across = "left" if x < -0.15 else "right" if x > 0.15 else ""
    down = "upper" if y < -0.15 else "lower" if y > 0.15 else ""
    if across and down:
        return f"{down} {across} quarter"
    return {"left": "left half", "right": "right half", "upper": "upper half", "lower": "lower half"}.get(
        across or down, "middle"
    )
