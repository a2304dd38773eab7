"""The score of two sounds: propose runs at many speeds on patches, follow the best frame by frame, weigh the evidence.

Two unrelated sounds of n independent cells correlate by r with a probability of about exp(-n r^2 / 2); the evidence of
a run is -n / 2 * ln(1 - r^2) nats, less what trying so many placements gives for free. Cells of one sound depend on
each other, and n is the smaller the longer they do in both (Bartlett 1946): the number of cells over the sum, over all
shifts in time and band, of the product of both autocorrelations. A beat that is repeated says little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F

from ndvr.models.methods.soundprint._levels import BANDS, FPS, FRAMES, contrast, effective_count
from ndvr.models.methods.soundprint._patches import LENGTH, centres, patches, played, variants

_ROW = 2  # windows of the query from row to row of a proposal: half a second
_KEPT = 600 * FPS  # frames of a sound of which patches at all speeds are kept
_BLOCK_ROWS = 256  # rows that are searched together
_RUNS = (4, 8, 16, 32, 64, 128, 256)  # rows of a run
_PER_VARIANT = 2
_FOLLOWED = 3  # proposals
_LIVELY = 0.15  # mean square of the contrast of sound that changes
_LAGS, _SHIFTS = 64, 10  # frames and bands over which a sound is taken to depend on itself
_CHANCE = 0.12  # correlation that speaks neither for a run nor against it
_PART = 0.5
_LEAST_S = 1.0  # of a run
_HALF = 15.0  # nats beyond chance that score a half
_FURTHER = 20.0  # nats from which a further run counts


@dataclass(frozen=True)
class Prepared:
    """One sound, ready for comparing."""

    contrast: torch.Tensor = field(repr=False)  # (F, 30)
    patches: torch.Tensor = field(repr=False)  # (T, 99), of windows
    rank: tuple[int, float]
    _rows: dict[tuple[float, float], torch.Tensor] = field(repr=False, default_factory=dict)

    @property
    def nbytes(self) -> int:
        return self.contrast.nbytes + self.patches.nbytes

    def rows(self, variant: tuple[float, float]) -> torch.Tensor:
        """Cut patches (I, 99) twice a second of the sound played at a speed and pitch; kept, except of long sounds."""
        if variant in self._rows:
            return self._rows[variant]
        sound = played(self.contrast, *variant)
        rows = patches(sound, centres(len(sound), FRAMES * _ROW))
        if len(self.contrast) <= _KEPT:
            self._rows[variant] = rows
        return rows


@dataclass(frozen=True)
class Run:
    """Frames [start, stop) of the first sound, played at a speed and pitch, sound like the second one.

    Frame f of the first lies at frame f / speed + offset of the second.
    """

    speed: float
    pitch: float
    offset: float
    start: int
    stop: int
    nats: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """What became of a pair, of which the first is the one of lower rank."""

    score: float
    runs: list[Run]


def prepare(codes: torch.Tensor) -> Prepared:
    """Prepare everything of one sound (T, 120) uint8 that does not depend on the other."""
    cells = contrast(codes)
    return Prepared(
        contrast=cells,
        patches=patches(cells, centres(len(cells))),
        rank=(len(cells), float(cells.double().abs().sum())),
    )


def compare(query: Prepared, target: Prepared) -> Comparison:
    """Score a pair; the same in both directions."""
    first, second = sorted((query, target), key=lambda each: each.rank)
    free = math.log(len(variants()) * (len(first.contrast) + len(second.contrast)))
    runs = [_followed(first, second, proposal) for proposal in _proposals(first, second)]
    kept: list[Run] = []
    for run in sorted(runs, key=lambda run: -run.nats):
        if run.nats > free + (_FURTHER if kept else 0.0) and not any(_overlap(run, other) for other in kept):
            kept.append(run)
    nats = sum(run.nats - free for run in kept)
    return Comparison(nats / (nats + _HALF), kept)


def _overlap(run: Run, other: Run) -> bool:
    return run.start < other.stop and other.start < run.stop


@dataclass(frozen=True)
class _Proposal:
    strength: float
    variant: tuple[float, float]
    offset: int  # frame f of the played first sound lies at frame f + offset of the second
    start: int  # frames of the played one
    stop: int


def _proposals(first: Prepared, second: Prepared) -> list[_Proposal]:
    """Propose the best runs of alike patches, each of another place, speed or pitch; strongest first."""
    diagonals = []
    for variant in variants():
        rows = first.rows(variant)
        for start in range(0, len(rows), _BLOCK_ROWS):
            alike = rows[start : start + _BLOCK_ROWS] @ second.patches.T
            diagonals += _diagonals(alike, start, variant)
    diagonals.sort(key=lambda each: -each.strength)
    kept: list[_Proposal] = []
    for each in diagonals:
        if len(kept) == _FOLLOWED:
            break
        if not any(_same(each, other) for other in kept):
            kept.append(each)
    return kept


def _same(one: _Proposal, other: _Proposal) -> bool:
    """Say whether two proposals lay the same moments over each other."""
    middle = max(one.start * one.variant[0], other.start * other.variant[0])
    stop = min(one.stop * one.variant[0], other.stop * other.variant[0])
    if stop <= middle:
        return False
    at = (middle + stop) / 2
    return abs(at / one.variant[0] + one.offset - at / other.variant[0] - other.offset) < FPS / 2


def _diagonals(alike: torch.Tensor, first_row: int, variant: tuple[float, float]) -> list[_Proposal]:
    """Find the strongest runs along the diagonals of patches by windows, (I, T), of rows two windows apart."""
    count, width = alike.shape
    padded = F.pad(alike, (_ROW * count, _ROW * count))
    # Row i of column c is the patch at window 2 i + c - 2 count.
    along = padded.as_strided((count, width + _ROW * count), (padded.shape[1] + _ROW, 1))
    total = F.pad(along.cumsum(0), (0, 0, 1, 0))
    proposals = []
    for length in [run for run in _RUNS if run < count] + [count]:
        sums, starts = (total[length:] - total[:-length]).max(0)
        best = sums.topk(min(_PER_VARIANT, len(sums)))
        for value, column in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            start = (first_row + int(starts[column])) * _ROW * FRAMES
            offset = (column - _ROW * count - first_row * _ROW) * FRAMES
            strength = value / math.sqrt(length)
            proposals.append(_Proposal(strength, variant, offset, start, start + length * _ROW * FRAMES))
    return proposals


_NOTHING = Run(1.0, 1.0, 0.0, 0, 0)


def _followed(first: Prepared, second: Prepared, proposal: _Proposal) -> Run:
    """Refine the speed and offset of a proposal, and find the run of frames that says most."""
    speed, pitch = proposal.variant
    offset, middle = float(proposal.offset), (proposal.start + proposal.stop) / 2 * speed
    span = (proposal.start * speed, proposal.stop * speed)
    run = _NOTHING
    for reach, bend in ((8, 0.024), (4, 0.006), (3, 0.0015)):
        speed, offset = _straightened(
            first, second, (speed, pitch), offset, middle=middle, span=span, reach=reach, bend=bend
        )
        run = _run(first, second, (speed, pitch), offset)
        if run.stop > run.start:
            span, middle = (run.start, run.stop), (run.start + run.stop) / 2
    frames = torch.arange(run.start, run.stop, dtype=torch.float64)
    one = played(first.contrast, 1.0, pitch)[frames.long()]
    return replace(run, nats=_nats(one, _at(second.contrast, frames / speed + offset)))


def _at(sound: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Contrast (F, 30) at fractional frames (...,); nothing outside."""
    low = frames.floor()
    weight = (frames - low)[..., None].float()
    inside = ((frames >= 0) & (frames <= len(sound) - 1))[..., None]
    low = low.long().clamp(0, max(len(sound) - 2, 0))
    high = (low + 1).clamp(max=len(sound) - 1)
    return torch.lerp(sound[low], sound[high], weight) * inside


def _straightened(
    first: Prepared, second: Prepared, variant: tuple[float, float], offset: float, *,
    middle: float, span: tuple[float, float], reach: int, bend: float,
) -> tuple[float, float]:  # fmt: skip
    """Find the speed and offset, near those given, at which frames within `span` of the first sound agree best."""
    speed, pitch = variant
    sound = played(first.contrast, 1.0, pitch)
    begin, end = max(0, int(span[0])), min(len(sound), math.ceil(span[1]))
    step = max(1, (end - begin) // 1024)
    frames = torch.arange(begin, end, step, dtype=torch.float64)
    if len(frames) < 2:
        return speed, offset
    there = frames / speed + offset
    shifts = torch.arange(-2 * reach, 2 * reach + 1, dtype=torch.float64) / 2
    products = (_at(second.contrast, there + shifts[:, None]) * sound[frames.long()]).sum(-1)  # (shifts, frames)
    bends = torch.linspace(-bend, bend, 17, dtype=torch.float64)
    away = bends[:, None] * (frames - middle) / speed  # (17, frames)
    row = ((shifts[:, None, None] + away + reach) * 2).round().long()  # (shifts, 17, frames)
    outside = (row < 0) | (row >= len(shifts))
    picked = products.gather(0, row.clamp(0, len(shifts) - 1).flatten(0, 1)).view(row.shape)
    sums = torch.where(outside, 0.0, picked).sum(-1)
    best = int(sums.argmax())
    shift, bent = float(shifts[best // len(bends)]), float(bends[best % len(bends)])
    # there = frames / speed + offset + shift + bent * (frames - middle) / speed
    return speed / (1 + bent), offset + shift - bent * middle / speed


def _run(first: Prepared, second: Prepared, variant: tuple[float, float], offset: float) -> Run:
    """Find the run along one line that says most."""
    speed, pitch = variant
    sound = played(first.contrast, 1.0, pitch)
    begin = max(0, math.ceil(-offset * speed))
    end = min(len(sound), math.floor((len(second.contrast) - 1 - offset) * speed) + 1)
    if end - begin < _LEAST_S * FPS:
        return _NOTHING
    frames = torch.arange(begin, end, dtype=torch.float64)
    one, other = sound[frames.long()], _at(second.contrast, frames / speed + offset)
    both, power = (one * other).sum(1).double(), torch.stack([one, other]).square().sum(2).double()
    start, stop = _strongest(both, power, _CHANCE)
    if stop - start >= _LEAST_S * FPS:
        # What agrees half as well as the run as a whole is not a part of it.
        r = float(both[start:stop].sum() / power[:, start:stop].sum(1).prod().sqrt().clamp(min=1e-9))
        start, stop = _strongest(both, power, max(_CHANCE, _PART * r))
    if stop - start < _LEAST_S * FPS:
        return _NOTHING
    return Run(speed, pitch, offset, begin + start, begin + stop)


def _strongest(both: torch.Tensor, power: torch.Tensor, chance: float) -> tuple[int, int]:
    """Find the frames [start, stop) with the largest sum of products (F,), less what power (2, F) gives by chance."""
    total = F.pad((both - chance * power.mean(0)).cumsum(0), (1, 0))
    low, lowest = total.cummin(0)
    stop = int((total - low).argmax())
    return int(lowest[stop]), stop


def _nats(one: torch.Tensor, other: torch.Tensor) -> float:
    """Compute the evidence that two sounds (F, 30) agree, frame by frame."""
    energy = torch.stack([one, other]).square().sum(2)  # (2, F)
    total = energy.sum(1).clamp(min=1e-6)
    count = float(effective_count(energy).min())
    if count < _LEAST_S * FPS:  # a click, the kink where a tone begins
        return 0.0
    r = float((one * other).sum() / total.prod().sqrt())
    lively = float((total / (one.numel() * _LIVELY)).clamp(max=1.0).min())
    cells = lively * count * BANDS / max(float((_memory(one) * _memory(other)).sum()), 1.0)
    return -0.5 * cells * math.log1p(-(min(max(r, 0.0), 0.99) ** 2))


def _memory(cells: torch.Tensor) -> torch.Tensor:
    """Compute how much cells (F, 30) correlate with those some frames and bands away:
    (lags, shifts), 1 with themselves.
    """
    size = (1 << (len(cells) + _LAGS).bit_length(), 2 * BANDS)
    own = torch.fft.irfft2(torch.fft.rfft2(cells, s=size).abs().square(), s=size)
    near = torch.roll(own, (_LAGS, _SHIFTS), (0, 1))[: 2 * _LAGS + 1, : 2 * _SHIFTS + 1]
    return near / own[0, 0].clamp(min=1e-6)


def matrix(query: Prepared, target: Prepared, comparison: Comparison) -> torch.Tensor:
    """Compute how windows of both agree at the speed and pitch of the best run: (Tq, Tt) in [0, 1]."""
    first, second = sorted((query, target), key=lambda each: each.rank)
    best = max(comparison.runs, key=lambda run: run.nats, default=_NOTHING)
    sound = played(first.contrast, best.speed, best.pitch)
    rows = patches(sound, (centres(len(first.contrast)) / best.speed).round().long())
    alike = (rows @ second.patches.T).clamp(min=0)
    for run in comparison.runs:
        _end(alike, run)
    return alike if first is query else alike.T


def _end(alike: torch.Tensor, run: Run) -> None:
    """Let the line of a run end where the run does: patches beside its ends still see a second of it."""
    frames = torch.arange(len(alike)) * FRAMES + FRAMES / 2
    line = (frames / run.speed + run.offset) / FRAMES - 0.5
    near = (torch.arange(alike.shape[1]) - line[:, None]).abs() < LENGTH / FRAMES / 2
    alike[near & ((frames < run.start) | (frames >= run.stop))[:, None]] = 0
