"""Compare two videos on this machine, without Ray: the score, and a picture of where they agree."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ndvr.operators.features.embed import Embed
from ndvr.operators.index.kinds import WORDS, Kind, Stretch, covered, hop_s, is_setting, kind_of, own_layer, stretches
from ndvr.operators.index.lines import find_lines
from ndvr.operators.storage.object_store import is_remote
from ndvr.operators.storage.store import write_whole
from ndvr.operators.video.decode import Decode, Job
from ndvr.pipeline.notebook import as_html
from ndvr.pipeline.settings import Setting, choose_one

if TYPE_CHECKING:
    from ndvr.models.method import Model

_SAYS: dict[str, str] = {
    "setting": ": both show one background or template, and what moves before it differs; no copy, whatever the score",
    "shared": ": they have a part in common, and neither is mostly in the other",
}


@dataclass(frozen=True, kw_only=True)
class PairResult:
    """The scores of a pair in both directions; equal for a symmetric method."""

    a: str
    b: str
    method: str
    weights: str
    trained: bool
    score: float  # a as query, b as target
    score_reversed: float
    range: tuple[float, float]
    windows: tuple[int, int]
    identical: bool  # the same bytes
    # Of a in b, as `ndvr search` calls it; None below a half of the range, or where nothing tells.
    kind: Kind | None = None
    a_covered: float = 0.0  # share of a that the segments cover
    b_covered: float = 0.0
    segments: tuple[Stretch, ...] = ()
    plot: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Make one flat object for programs."""
        segments = [asdict(stretch) for stretch in self.segments]
        return {**vars(self), "range": list(self.range), "windows": list(self.windows), "segments": segments}

    def _repr_html_(self) -> str:
        return as_html(self.text())

    def text(self) -> str:
        """Write one to seven lines for people."""
        low, high = self.range
        lines = ["identical: the same bytes (SHA-256)"] if self.identical else []
        lines += [] if self.trained else ["WARNING: untrained (random) weights; this score means nothing."]
        lines.append(f"{self.score:.4f}  {self.a} in {self.b}  ({self.method}; {low:g} unrelated .. {high:g} the same)")
        if abs(self.score - self.score_reversed) > 1e-5:
            lines.append(f"{self.score_reversed:.4f}  {self.b} in {self.a}")
        if self.kind:
            lines.append(f"{WORDS[self.kind]}{_SAYS.get(self.kind, '')}")
        if self.segments and self.kind != "setting":
            where = ", ".join(
                f"{s.q_start_s:.1f}-{s.q_end_s:.1f} s of a at {s.v_start_s:.1f}-{s.v_end_s:.1f} s of b"
                for s in self.segments[:3]
            )
            lines.append(f"{where}: {self.a_covered:.0%} of a, {self.b_covered:.0%} of b")
        if self.plot:
            lines.append(f"picture: {self.plot}")
        return "\n".join(lines)


def compare(
    a: str | Path,
    b: str | Path,
    *,
    method: str = "thumbprint",
    weights: str | None = None,
    options: dict[str, Any] | None = None,
    plot: str | Path | None = None,
    decoder: str = "auto",
) -> PairResult:
    """Score two video files in both directions, and draw where they agree when `plot` names a picture.

    ValueError when one cannot be decoded, FileNotFoundError when one does not exist.
    """
    for path in (a, b):
        if not is_remote(path) and not Path(path).exists():
            raise FileNotFoundError(f"no video at {path}")
    setting = choose_one(method, weights, options)
    model = setting.load("cpu", "embed", "similarity")
    times, features, contents = _extract([str(a), str(b)], setting, model, decoder)
    signatures = [model.bounded_signature(array) for array in features]
    score = model.similarity(*signatures)
    result = PairResult(
        a=str(a),
        b=str(b),
        method=method,
        weights=model.weights,
        trained=model.trained,
        score=score,
        score_reversed=model.similarity(*signatures[::-1]),
        range=model.card.range,
        windows=(len(times[0]), len(times[1])),
        identical=contents[0] == contents[1],
        **_named(model, features, signatures, times, score),
        plot=str(plot) if plot else None,
    )
    if plot:
        _plot(Path(plot), model.matrix(*signatures), result, times)
    return result


def _named(
    model: Model, features: list[np.ndarray], signatures: list[Any], times: list[np.ndarray], score: float
) -> dict[str, Any]:
    """Say what the two have to do with each other, and when they show the same,
    where their score is that of a match.
    """
    if model.compact or score < model.card.least_match:
        return {}
    judged = model.judge(*signatures)
    lines = find_lines(judged.matrix)
    if not lines:
        return {}
    segments = stretches(lines, *(starts[:: judged.step] for starts in times))
    lengths = (len(times[0]) * hop_s(times[0]), len(times[1]) * hop_s(times[1]))
    cover = covered(segments, *lengths)
    first, second = (own_layer(model, array, signature) for array, signature in zip(features, signatures))
    kind = kind_of(cover, lengths, setting=is_setting(judged.matrix, lines, (first, second)))
    return {"kind": kind, "a_covered": cover[0], "b_covered": cover[1], "segments": tuple(segments)}


def _extract(
    paths: list[str], setting: Setting, model: Model, decoder: str
) -> tuple[list[np.ndarray], list[np.ndarray], list[str]]:
    """Extract videos one after the other: times (T,), features (T, *feature_shape) and SHA-256 of each."""
    method = setting.method
    decode = Decode(jobs={method: Job(view=setting.view, config="")}, run="", decoder=decoder)
    embed = Embed({method: model})
    times, features, contents = [], [], []
    try:
        for path in paths:
            pieces = _pieces(path, method, decode, embed)
            contents.append(pieces[0]["sha256"])
            times.append(np.concatenate([piece["start_s"] for piece in pieces]))
            data = bytearray(b"".join(piece["data"] for piece in pieces))
            features.append(np.frombuffer(data, model.card.feature_dtype).reshape(len(times[-1]), *model.feature_shape))
    finally:
        decode.close()
    return times, features, contents


def _pieces(path: str, method: str, decode: Decode, embed: Embed) -> list[dict[str, Any]]:
    """Decode and embed one video; only the pieces of the decoder that succeeded count."""
    video = pa.table({"video_id": [path], "uri": [path], "methods": [[method]]})
    rows = [row for table in decode(video) for row in embed(table).to_pylist()]
    end = rows[-1]
    outcome = next((row for row in rows if row["status"] == "failed" and row["attempt"] == end["attempt"]), end)
    if outcome["status"] != "done":
        raise ValueError(f"{path}: {outcome['error_class'] or outcome['status']}: {outcome['message']}")
    return [row for row in rows if row["kind"] == "piece" and row["attempt"] == end["attempt"]]


def _plot(path: Path, matrix: np.ndarray, result: PairResult, times: list[np.ndarray]) -> None:
    """Draw the window-to-window similarities: copies show as bright lines, parallel to the diagonal at equal speed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    ends = [_end(time_s) for time_s in times]
    image = axes.imshow(matrix, origin="lower", aspect="auto", cmap="magma", extent=(0, ends[1], 0, ends[0]))
    axes.set(xlabel=f"{Path(result.b).name}, seconds", ylabel=f"{Path(result.a).name}, seconds")
    untrained = "" if result.trained else "  (untrained weights)"
    axes.set_title(f"{result.method}: {result.score:.3f}{untrained}")
    figure.colorbar(image, label="similarity of windows")
    write_whole(path, lambda name: figure.savefig(name, format=path.suffix.lstrip(".") or "png"))


def _end(time_s: np.ndarray) -> float:
    step_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 1.0
    return float(time_s[-1]) + step_s
