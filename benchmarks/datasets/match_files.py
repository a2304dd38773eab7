"""Read and write matches as the CSV of the Video Similarity Challenge 2022, predictions and ground truth alike.

Columns, in any order: query_id, ref_id, query_start, query_end, ref_start, ref_end (seconds), and score, which a ground
truth need not have. Query ids start with Q and reference ids with R, as the challenge's do.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from ndvr.operators.metrics.segments import Match, Segment

_IDS = ("query_id", "ref_id")
_TIMES = ("query_start", "query_end", "ref_start", "ref_end")


def read_matches(path: str | Path, *, scored: bool) -> list[Match]:
    """All rows in order. ValueError names the line that is no match. scored=False: a score column is not looked at."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no matches at {path}: give a CSV with the columns {', '.join(_IDS + _TIMES)}")
    needed = _IDS + _TIMES + (("score",) if scored else ())
    # utf-8-sig: editors on Windows put a mark before the first column.
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [name for name in needed if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path} has no column {', '.join(missing)}: matches need {', '.join(needed)}")
        out = []
        for row in reader:
            try:
                out.append(_match(row, scored))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}") from None
    return out


def _match(row: dict[str, str], scored: bool) -> Match:
    for name, letter in zip(_IDS, "QR"):
        if not (row[name] or "").startswith(letter):
            raise ValueError(f"{name} is {row[name]!r}, but ids of this column start with {letter}")
    query_start, query_end, ref_start, ref_end = (float(row[name]) for name in _TIMES)
    return Match(
        query_id=row["query_id"],
        video_id=row["ref_id"],
        query=Segment(start_s=query_start, end_s=query_end),
        video=Segment(start_s=ref_start, end_s=ref_end),
        score=float(row["score"]) if scored else 1.0,
    )


def write_matches(path: str | Path, matches: Iterable[Match]) -> None:
    """What read_matches gives back unchanged, and what the challenge's own script reads."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*_IDS, *_TIMES, "score"])
        for match in matches:
            times = [time for segment in match.axes for time in (segment.start_s, segment.end_s)]
            writer.writerow([*match.pair, *times, match.score])
