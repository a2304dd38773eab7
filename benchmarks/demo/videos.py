"""Make the demo's videos: seeded originals with sound, edited copies of them, and the truth about who copies whom.

python -m ndvr.benchmarks.demo.videos FOLDER
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from ndvr.benchmarks.demo._scenes import SCENES, film
from ndvr.benchmarks.demo._sounds import SOUNDS, soundtrack
from ndvr.benchmarks.demo.edits import EDITS, SOURCES_NEEDED, Relation
from ndvr.operators.media.clip import read_clip
from ndvr.operators.media.encode import write_video
from ndvr.operators.storage.store import write_text

COLUMNS = (
    "query_id", "video_id", "relation", "edit", "q_start", "q_end", "v_start", "v_end", "speed", "visual", "audio",
    "origin", "notes",
)  # fmt: skip
Progress = Callable[[int, int, str], None]  # done, total, path of the file just made

# Lists of coprime lengths, so that neighbours differ in several ways.
_SIZES = ((384, 216), (320, 180), (320, 240), (426, 240), (216, 384), (320, 180), (352, 198))
_RATES = (25, 30, 25, Fraction(30000, 1001), 25, 24, 12, 25)
# Fewer kinds than originals: some videos look alike and are no copies of each other, as in a real collection.
_KINDS = tuple(SCENES)[:13]
_PRESET = "superfast"  # still with B-frames and CABAC, as files in the wild; a third faster than veryfast
_VERSION = 1  # raise it when the same seed makes other videos


@dataclass(frozen=True)
class Original:
    """One original still to be made; `index` and the seed decide everything in it."""

    index: int
    kind: str
    sound: str
    duration_s: float
    fps: Fraction
    size: tuple[int, int]

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.index:02d}"

    @property
    def video_id(self) -> str:
        return f"originals/{self.name}.mp4"


@dataclass(frozen=True)
class Copy:
    """One edited copy still to be made; its first source gives it its name."""

    index: int
    edit: str
    sources: tuple[Original, ...]

    @property
    def video_id(self) -> str:
        return f"copies/{self.sources[0].name}__{self.edit}.mp4"


def make_videos(
    folder: str | Path,
    *,
    seed: int = 0,
    originals: int = 20,
    copies: int | None = None,
    duration_s: tuple[float, float] = (6.0, 9.0),
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write originals/NAME.mp4, copies/NAME__EDIT.mp4 and truth.csv under `folder`; return the path of truth.csv.

    copies      None: each of the 21 edits three times for 20 originals, in proportion for others
    duration_s  the shortest and longest original; a copy made of several is longer
    workers     threads, None: one for each core, at most 8 (a copy holds up to 0.5 GB while it is made); threads
                will do, as encoders and OpenCV let go of the interpreter, and need no import guard in the caller's
                script. The decoded pictures do not depend on their number.

    Truth ids are paths relative to `folder`. What was finished with the same settings is left as it is; a folder
    with a demo of other settings is refused.
    """
    if originals < 4:
        raise ValueError(f"originals={originals}: at least 4 are needed, as one edit joins four of them")
    folder = Path(folder)
    wanted = round(originals * 3 * len(EDITS) / 20) if copies is None else copies
    settings = {"version": _VERSION, "seed": seed, "originals": originals, "copies": wanted, "duration_s": duration_s}
    truth = folder / "truth.csv"
    if _prepared(folder, settings) and truth.exists():
        return truth
    films = _plan_originals(seed, originals, duration_s)
    edits = _plan_copies(seed, films, wanted)
    rows: dict[int, list[dict]] = {}
    total, done = len(films) + len(edits), 0
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        stages: list[list[tuple[Original | Copy, Callable[[], list[dict]]]]] = [
            [(film, partial(_make_original, folder, film, seed)) for film in films],
            [(edit, partial(_make_copy, folder, edit, seed)) for edit in edits],
        ]
        for jobs in stages:
            running = {pool.submit(make): job for job, make in jobs}
            for future in as_completed(running):
                job, done = running[future], done + 1
                rows[job.index if isinstance(job, Copy) else -1] = future.result()
                if progress:
                    progress(done, total, job.video_id)
    _write_truth(truth, [row for index in range(len(edits)) for row in rows[index]])
    return truth


def _prepared(folder: Path, settings: dict) -> bool:
    """Say whether this very demo was begun here, and make the folders. ValueError when another one was."""
    settings = json.loads(json.dumps(settings))
    note = folder / "demo.json"
    if note.exists():
        earlier = json.loads(note.read_text())
        if earlier != settings:
            raise ValueError(f"{folder} holds a demo with {earlier}, asked for {settings}; give an empty folder")
        return True
    for part in ("originals", "copies"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        if any((folder / part).iterdir()):
            raise ValueError(f"{folder / part} is not empty and was not made by the demo; give an empty folder")
    note.write_text(json.dumps(settings))
    return False


def _plan_originals(seed: int, count: int, duration_s: tuple[float, float]) -> list[Original]:
    rng = np.random.default_rng([seed, 0])
    lengths = rng.uniform(*duration_s, count)
    return [
        Original(
            index=index,
            kind=_KINDS[index % len(_KINDS)],
            sound=tuple(SOUNDS)[index % len(SOUNDS)],
            duration_s=float(lengths[index]),
            fps=Fraction(_RATES[index % len(_RATES)]),
            size=_SIZES[index % len(_SIZES)],
        )
        for index in range(count)
    ]


def _plan_copies(seed: int, films: list[Original], count: int) -> list[Copy]:
    """Deal the edits round: no original gets one twice before it had all, as far as that goes."""
    rng = np.random.default_rng([seed, 1])
    names, order = list(EDITS), rng.permutation(len(films))
    lap = int(np.lcm(len(names), len(films)))  # after it the same pairs would come again
    if count > len(names) * len(films):
        raise ValueError(f"copies={count}: {len(films)} originals times {len(names)} edits give fewer")
    planned = []
    for index in range(count):
        edit, main = names[index % len(names)], films[order[(index + index // lap) % len(films)]]
        others = [film for film in films if film is not main]
        picked = rng.choice(len(others), SOURCES_NEEDED.get(edit, 1) - 1, replace=False)
        planned.append(Copy(index=index, edit=edit, sources=(main, *(others[pick] for pick in picked))))
    return planned


def _make_original(folder: Path, job: Original, seed: int) -> list:
    # Pictures and sound have their own generators: a change in one leaves the other as it was.
    pictures, sounds = (np.random.default_rng([seed, 2, job.index, part]) for part in (0, 1))
    n_frames = round(job.duration_s * job.fps)
    rate_hz = (44100, 48000)[job.index % 2]
    write_video(
        folder / job.video_id,
        film(pictures, job.kind, n_frames=n_frames, fps=job.fps, size=job.size),
        fps=job.fps,
        audio=soundtrack(sounds, job.sound, duration_s=float(n_frames / job.fps), rate_hz=rate_hz),
        rate_hz=rate_hz,
        crf=21,
        preset=_PRESET,
    )
    return []


def _make_copy(folder: Path, job: Copy, seed: int) -> list[dict]:
    rng = np.random.default_rng([seed, 3, job.index])
    edited = EDITS[job.edit]([read_clip(folder / source.video_id) for source in job.sources], rng)
    clip = edited.clip
    write_video(
        folder / job.video_id,
        clip.frames,
        fps=clip.fps,
        audio=clip.audio,
        rate_hz=clip.rate_hz,
        crf=edited.crf,
        preset=_PRESET,
    )
    return [_row(job, relation) for relation in edited.relations]


def _row(job: Copy, relation: Relation) -> dict:
    facts = asdict(relation)
    q, v, source = facts.pop("q"), facts.pop("v"), facts.pop("source")
    times = zip(("q_start", "q_end", "v_start", "v_end"), (*q, *v))
    ids = {"query_id": job.video_id, "video_id": job.sources[source].video_id}
    return (
        facts | ids | {"edit": job.edit, "origin": "demo"} | {name: round(float(time_s), 2) for name, time_s in times}
    )


def _write_truth(path: Path, rows: Iterable[dict]) -> None:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())


if __name__ == "__main__":
    import sys

    from tqdm import tqdm

    with tqdm(unit="video") as bar:

        def show(done: int, total: int, name: str) -> None:
            bar.total = total
            bar.update(done - bar.n)

        made = make_videos(sys.argv[1], progress=show)
    sys.stdout.write(f"{made}\n")
