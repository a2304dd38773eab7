"""The sound of one file as log-mel windows: frame by frame in, windows out, never the whole file in memory.

sound = Sound(Mel())
for frame in container.decode(best_sound(container)):
    sound.push(frame)
for start_s, windows in sound.finish():
    ...
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.stream import Disposition

from ndvr.models.card import Mel
from ndvr.operators.errors import DecodeError

BATCH_SAMPLES = 1 << 17  # analysed together: 3 s
SPOOL_BYTES = 32 << 20  # spectrogram held in memory, 12 minutes; more goes to a temporary file, 170 MB an hour
BLOCK_BYTES = 8 << 20  # windows handed on together

# In steps of 16 bit. A coder's dither is no sound: brought up to full scale it would look alike in every silent file.
SILENT_PEAK = 3


def best_sound(container: av.container.InputContainer) -> av.AudioStream | None:
    """Find the stream that the ffmpeg command takes: of those marked as default, the first with the most channels.

    None without sound. DecodeError where there is sound but nothing to decode it with.
    """
    streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if container.streams.audio and not streams:
        raise DecodeError("unsupported", "no decoder for this audio codec")
    return max(
        streams,
        key=lambda stream: (bool(stream.disposition & Disposition.default), stream.codec_context.layout.nb_channels),
        default=None,
    )


def window_count(view: Mel, n_rows: int) -> int:
    """Count the windows of a spectrogram of `n_rows` rows; 0 of none, else at least 2 (where every one is kept)."""
    if n_rows == 0:
        return 0
    padded = n_rows + view.block - n_rows % view.block
    if view.block % view.step:
        padded += view.step - padded % view.step
    count = (padded - view.rows) // view.step + 1
    return count if view.tail == "keep" else min(count, -(-n_rows // view.step))


class Sound:
    """One file's sound: push every decoded frame, then take the windows.

    Gaps between frames are closed, as by the ffmpeg command.
    """

    def __init__(self, view: Mel):
        from ndvr.models.layers.mel import MelPower, decibels  # torch, which picture methods can do without

        self.view = view
        self._power, self._decibels = MelPower(view), decibels
        self._spool = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 (rows; gone with this object)
        self._resampler: tuple[tuple, av.AudioResampler] | None = None
        self._batch: list[np.ndarray] = []
        self._n_batch = 0
        self._sum, self._low, self._high = 0, 0, 0
        self._n_rows = 0
        self.start_s: float | None = None  # of the first sample, in the file's time
        self.samples = 0  # so far, mono, at the view's rate
        self.silent = False  # after `finish`: there is nothing to hear

    def push(self, frame: av.AudioFrame, origin_s: Fraction | None = None) -> None:
        """Take the next frame; format, rate and layout may differ from the one before.

        origin_s  the time of the file's start on the clock of the frames, to tell how much later the sound starts;
                  None starts it with the file.
        """
        if self.start_s is None:
            self.start_s = 0.0
            if origin_s is not None and frame.pts is not None and frame.time_base is not None:
                self.start_s = max(0.0, float(frame.pts * frame.time_base - origin_s))
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or self._resampler[0] != kind:
            self._flush()
            self._resampler = kind, av.AudioResampler(format="s16", layout="mono", rate=self.view.rate_hz)
        self._take(self._resampler[1].resample(frame))
        if self._n_batch >= BATCH_SAMPLES:
            self._analyse()

    def finish(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield blocks of (start_s (n,) float64, windows (n, rows, bands) float32), in order; none without samples."""
        self._flush()
        self._analyse()
        self._store(self._power.finish())
        mean = self._sum / max(1, self.samples)
        peak = max(self._high - mean, mean - self._low) if self.samples else 0.0
        self.silent = peak <= SILENT_PEAK
        return self._windows(mean, peak)

    def _flush(self) -> None:
        if self._resampler is not None:
            self._take(self._resampler[1].resample(None))
            self._resampler = None

    def _take(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            samples = np.frombuffer(memoryview(frame.planes[0]), np.int16, frame.samples)
            self._batch.append(samples)
            self._n_batch += len(samples)

    def _analyse(self) -> None:
        if not self._n_batch:
            return
        samples = np.concatenate(self._batch)
        self._batch, self._n_batch = [], 0
        if self.samples == 0:
            self._low, self._high = int(samples[0]), int(samples[0])
        self._low, self._high = min(self._low, int(samples.min())), max(self._high, int(samples.max()))
        self._sum += int(samples.sum(dtype=np.int64))
        self.samples += len(samples)
        self._store(self._power.push(samples))

    def _store(self, rows: np.ndarray) -> None:
        self._spool.write(np.ascontiguousarray(rows).tobytes())
        self._n_rows += len(rows)

    def _blocks(self, n_rows: int, *, mean: float, peak: float) -> Iterator[np.ndarray]:
        """Read the mel power of the whole file, `n_rows` rows at a time."""
        width = self.view.bands + 2
        self._spool.seek(0)
        while data := self._spool.read(n_rows * width * 4):
            rows = np.frombuffer(data, np.float32).reshape(-1, width)
            yield self._power.settle(rows, mean=mean, peak=peak)

    def _windows(self, mean: float, peak: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        view = self.view
        count = window_count(view, self._n_rows)
        per_block = max(1, BLOCK_BYTES // (4 * view.rows * view.bands)) * view.step
        loudest = max((float(power.max()) for power in self._blocks(per_block, mean=mean, peak=peak)), default=0.0)
        waiting, number = np.zeros((0, view.bands), np.float32), 0  # rows from the start of window `number` on

        def ready(rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            nonlocal waiting, number
            waiting = np.concatenate([waiting, rows])
            n = min(count - number, (len(waiting) - view.rows) // view.step + 1)
            if n > 0:
                spread = np.lib.stride_tricks.sliding_window_view(waiting, view.rows, axis=0)  # (.., bands, rows)
                windows = np.ascontiguousarray(spread[: n * view.step : view.step].swapaxes(1, 2))
                start_s = (self.start_s or 0.0) + (number + np.arange(n)) * view.step * view.hop / view.rate_hz
                waiting, number = waiting[n * view.step :], number + n
                yield start_s, windows

        for power in self._blocks(per_block, mean=mean, peak=peak):
            yield from ready(self._decibels(power, loudest=loudest))
        # The authors fill up with zeros, which in decibels is loud, not silent.
        n_zeros = max(0, (count - 1) * view.step + view.rows - self._n_rows)
        yield from ready(np.zeros((n_zeros, view.bands), np.float32))
        self._spool.close()
