"""Log-mel spectrograms of whole files, made in one pass over their samples: `MelPower`, then `decibels`.

The authors of AuSiL take the mean off and divide by the peak, both of the whole file, before anything else, and cut
off what lies 80 dB below the loudest cell of the whole file after everything else. All three can be made up for at
the end. With X the spectrum of one frame of samples x, m a constant and w the window,

    X_k(x - m) = X_k(x) - m W_k     and for the periodic Hann window of n samples  W_1 = -n/4,  W_k = 0 for k >= 2,

so the mean touches bins 0 and 1 only. No band looks at bin 0; bin 1 is kept as a complex number beside the power that
the other bins give to each band. The peak is a factor, and the floor a maximum.
"""

from __future__ import annotations

import numpy as np
import torch

from ndvr.models.card import Mel

AMIN = 1e-10  # power that counts as none: -100 dB
TOP_DB = 80.0


def filterbank(view: Mel) -> np.ndarray:
    """Make Slaney's scale and norm, (n_fft / 2 + 1, bands) float32: row k is how much of bin k each band takes."""
    try:
        from torchaudio.functional import melscale_fbanks
    except (ImportError, OSError) as error:  # OSError: its library was built for another torch
        raise ImportError(
            f"torchaudio cannot be imported beside torch {torch.__version__} ({error}); "
            "sound needs both from one index: pip install 'torch>=2.11,<2.15' 'torchaudio>=2.11,<2.12'"
        ) from error
    bank = melscale_fbanks(
        view.n_fft // 2 + 1,
        f_min=0.0,
        f_max=view.rate_hz / 2,
        n_mels=view.bands,
        sample_rate=view.rate_hz,
        norm="slaney",
        mel_scale="slaney",
    ).numpy()
    assert not bank[0].any()  # the mean cannot be made up for otherwise
    return bank


class MelPower:
    """Samples of one file in, rows of its spectrogram out: frames of `n_fft` centred on every `hop`-th sample.

    A row is (bands + 2,) float32: what the bins from 2 up give to each band, then bin 1, real and imaginary. The file
    is mirrored at both of its ends, as often as it takes where it is shorter than half a frame. n samples, pushed in
    whatever portions, give 1 + floor(n / hop) rows; none give none.
    """

    def __init__(self, view: Mel):
        self.view = view
        bank = filterbank(view)
        self._upper = torch.from_numpy(bank[2:].copy())
        self._bin_1 = bank[1]
        self._window = torch.hann_window(view.n_fft)
        self._waiting = np.zeros(0, np.int16)  # samples of frames that are not whole yet
        self._started = False
        self._base = 0.0  # taken off every sample, as a large mean would cost digits; `settle` knows

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take (n,) int16 samples; return the rows of the spectrogram that they complete."""
        self._waiting = np.concatenate([self._waiting, samples])
        pad = self.view.n_fft // 2
        if not self._started:
            if len(self._waiting) <= 2 * pad:
                return self._rows(0)
            self._base = float(np.rint(self._waiting.mean()))
            self._waiting = np.concatenate([self._waiting[pad:0:-1], self._waiting])
            self._started = True
        # The last samples stay behind: should they be the file's last, the mirror needs them.
        return self._rows((len(self._waiting) - pad - 1 - self.view.n_fft) // self.view.hop + 1)

    def finish(self) -> np.ndarray:
        """Return the last rows of the spectrogram, when no more samples come."""
        if len(self._waiting) == 0:
            return self._rows(0)
        pad = self.view.n_fft // 2
        self._base = self._base if self._started else float(np.rint(self._waiting.mean()))
        self._waiting = np.pad(self._waiting, (0 if self._started else pad, pad), mode="reflect")
        return self._rows((len(self._waiting) - self.view.n_fft) // self.view.hop + 1)

    def _rows(self, count: int) -> np.ndarray:
        """Make the spectrogram's rows of the first `count` frames of the samples that wait."""
        if count <= 0:
            return np.zeros((0, self.view.bands + 2), np.float32)
        used = (count - 1) * self.view.hop + self.view.n_fft
        samples = torch.from_numpy(self._waiting[:used].astype(np.float32)) - self._base
        self._waiting = self._waiting[count * self.view.hop :]
        spectrum = torch.fft.rfft(samples.unfold(0, self.view.n_fft, self.view.hop) * self._window)  # (t, bins)
        parts = torch.view_as_real(spectrum)
        power = parts.square().sum(-1)[:, 2:] @ self._upper
        return torch.cat([power, parts[:, 1]], dim=1).numpy()

    def settle(self, rows: np.ndarray, *, mean: float, peak: float) -> np.ndarray:
        """Finish mel power (t, bands) float32 of rows, now that mean and peak of the file are known;
        0 of either leaves them as they are.
        """
        bin_1 = rows[:, -2:].astype(np.float64)
        bin_1[:, 0] += (mean - self._base) * self.view.n_fft / 4
        power = rows[:, :-2] + np.square(bin_1).sum(1, keepdims=True) * self._bin_1
        return (power / (peak or 1.0) ** 2).astype(np.float32)


def decibels(power: np.ndarray, *, loudest: float) -> np.ndarray:
    """Convert power to dB, float32, cut off 80 dB below `loudest`, the greatest power in the file."""
    floor = max(AMIN, loudest) * 10 ** (-TOP_DB / 10)
    return (10 * np.log10(np.maximum(np.float32(max(AMIN, floor)), power))).astype(np.float32)
