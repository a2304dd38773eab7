"""The two faces of a method: `Method` is what its author writes, `Model` is what everybody else uses."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch

from ndvr.models.card import Card, View
from ndvr.models.keys import Judged, Keys, Place, cell_step, whole_windows

Options = dict[str, Any]
Part = Literal["embed", "similarity"]
Network = Any  # what the method's own `build` returned
Signature = Any  # what a method compares: most often a tensor, or whatever it has made ready for comparing


class Method(ABC):
    """One published way to compare videos; tensors in, tensors out, on the device of the network.

    It has two networks: `embed` is given the one of part "embed", everything else the one of part "similarity".
    What a method does not override is left to them: the first is called, the second has `signature(features)`,
    `similarities(query, targets)` and `matrix(query, target)`.
    Letters: N windows in a batch, T windows in a video, V videos.
    """

    def __init__(self, card: Card):
        self.card = card

    def view(self, options: Options) -> View:
        """Return the view under these options; override when an option changes it."""
        return self.card.view

    def feature_shape(self, options: Options) -> tuple[int, ...]:
        """Return the shape of one feature under these options; override when an option changes it."""
        return self.card.feature_shape

    def symmetric(self, options: Options) -> bool:
        """Say whether similarity(a, b) == similarity(b, a) under these options: as the card does."""
        return self.card.is_symmetric(options)

    def compact(self, options: Options) -> bool:
        """Say whether a signature is one vector or code whatever the video's length; override `score_matrix` then.

        Many such signatures are kept, stacked, and compared in one product; all have the same shape and type.
        """
        return False

    def windows_at_once(self, options: Options) -> int | None:
        """Return how many windows of a long video a comparison has in memory; None: always all of them.

        Override it together with `long_signature`.
        """
        return None

    def long_signature(self, network: Network, features: torch.Tensor, n_bytes: int) -> Signature:
        """Make a signature that scores as `signature`'s does, and keeps about `n_bytes` beside the features.

        Its attribute `nbytes` says what it takes with them.
        """
        raise NotImplementedError(f"{self.card.title} compares whole videos")

    def published(self, options: Options) -> str:
        """Name the published weights that None stands for; override when an option decides it."""
        return next(iter(self.card.weights))

    @abstractmethod
    def build(self, weights: Any, options: Options, *, part: Part, fetch: bool) -> torch.nn.Module:
        """Build one of the method's two networks with its weights: what makes features, or what compares them.

        `weights` is what `ndvr.models.load` was given: None (the published default), a published name, a path,
        "random" / "random:SEED", or a mapping of official state_dict keys to arrays. `fetch` False: do not download
        what `weights` leaves out. Raises `ndvr.models.weights.Absent` when there is nothing of this part at all, and
        WeightsError when what there is does not fit. A part without weights is a `torch.nn.Identity`.
        An option left at None that the weights decide, such as a width, is filled in.
        """

    def embed(self, network: Network, windows: torch.Tensor) -> torch.Tensor:
        """Make features of windows, (N, *window_shape) -> (N, *feature_shape); row i depends on window i only."""
        return network(windows)

    def signature(self, network: Network, features: torch.Tensor) -> Signature:
        """Make what is compared out of one video's features (T, *feature_shape) as stored, T >= 1."""
        return network.signature(features)

    def similarities(self, network: Network, query: Signature, targets: list[Signature]) -> torch.Tensor:
        """Score one query signature against V target signatures of any lengths -> (V,) float."""
        return network.similarities(query, targets)

    def score_matrix(
        self, network: Network, queries: Sequence[Signature], targets: Sequence[Signature]
    ) -> torch.Tensor:
        """Score every query against every target, (Q, V), as `similarities` does.

        Override it where one product of all is faster.
        """
        return torch.stack([self.similarities(network, query, list(targets)) for query in queries])

    def selector(self) -> Method:
        """Return the selector that the card offers, as a method of its own, which has `signature` and `urgency`."""
        raise ValueError(f"{self.card.title} has no selector")

    def urgency(
        self, network: Network, queries: Sequence[Signature], targets: Sequence[Signature], scores: torch.Tensor
    ) -> torch.Tensor:
        """Rate how much every pair calls for a closer look, (Q, V), where a faster method gave `scores` (Q, V).

        Default: the scores, as what is alike is worth a closer look. A selector overrides it.
        """
        return scores

    def to_proposer_scale(self, scores: torch.Tensor) -> torch.Tensor:
        """Bring scores to the scale of the fast form that the card's selector doubts, to rank both together."""
        return scores

    def matrix(self, network: Network, query: Signature, target: Signature) -> torch.Tensor:
        """Compare every window of one video with every one of another, (Tq, Tt), for pictures."""
        return network.matrix(query, target)

    def keys(self, network: Network, features: torch.Tensor) -> Keys:
        """Make what an index keeps of a video's features (T, *feature_shape).

        Default: a vector a window, the mean over its regions; of codes their bits. Not asked of a compact method,
        of which the index keeps the signature.
        """
        vectors = features.reshape(len(features), -1, features.shape[-1])
        return whole_windows(_unit(vectors if features.dtype == torch.uint8 else vectors.float().mean(1)))

    def probes(self, network: Network, features: torch.Tensor, *, fast: bool = False) -> Keys:
        """Make what a query looks up in an index of `keys`: these, and variants of them.
        `fast`: few of them, in a tenth of the time.
        """
        return self.keys(network, features)

    def spot(
        self, query: torch.Tensor, targets: Sequence[torch.Tensor], places: Sequence[Sequence[Place]]
    ) -> np.ndarray:
        """Say which candidates are worth comparing, (V,) bool, from features and what the index saw of each.

        It must be much cheaper than comparing them, and lose none that would score high. Default: all are.
        """
        return np.ones(len(targets), bool)

    def own_matrix(self, network: Network, signature: Signature) -> torch.Tensor:
        """Compare all windows (T, T) of a video with each other."""
        return self.matrix(network, signature, signature)

    def judge(self, network: Network, query: Signature, target: Signature, least: float = -math.inf) -> Judged:
        """Score a pair as `similarities` does, and tell the matrix and the placement behind it.

        Nobody asks more of a score below `least` than to lie there, so a method may stop as soon as that is sure.
        """
        score, step = float(self.similarities(network, query, [target])[0]), 1
        if isinstance(query, torch.Tensor) and isinstance(target, torch.Tensor):
            step = cell_step(len(query), len(target))
            query, target = query[::step], target[::step]
        matrix = self.matrix(network, query, target).float().cpu().numpy()
        return Judged(score=score, matrix=matrix, step=step)


def _unit(vectors: torch.Tensor) -> np.ndarray:
    """Make rows (T, ...) float32 vectors of unit length; bytes become the signs of their bits."""
    flat = vectors.flatten(1).cpu().numpy()
    if flat.dtype == np.uint8:
        flat = np.unpackbits(flat, axis=1).astype(np.float32) * 2 - 1
    flat = flat.astype(np.float32, copy=False)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)


class NotFiniteError(ValueError):
    """A score is NaN or infinite: that of query number `query` with target number `target`."""

    def __init__(self, name: str, query: int, target: int):
        super().__init__(f"{name} gave a score that is not finite, to query number {query} and target number {target}")
        self.query, self.target = query, target


LONG_WINDOWS, LONG_BYTES = 3600, 512 << 20  # of a longer video so many bytes of the signature are kept at a time


class Model:
    """A method with its weights, on numpy arrays; the one place that knows device and inference mode."""

    def __init__(
        self,
        name: str,
        method: Method,
        networks: Mapping[Part, torch.nn.Module | Exception],
        *,
        options: Options,
        device: str,
        weights: str,
        training: Mapping[str, Any] | None = None,
    ):
        self.name, self.method, self.card, self.options = name, method, method.card, options
        self.device = torch.device(device)
        self.weights = weights  # how the weights were named: "s2vs_dns", a path, "random:0", "none needed"
        self.training = training  # of weights of `ndvr train`: on what, from where, how; None of all others
        self._networks = {
            part: network if isinstance(network, Exception) else network.to(self.device).eval()
            for part, network in networks.items()
        }

    def to(self, device: str) -> None:
        """Compute on another device from now on; signatures stay where they were made."""
        self.device = torch.device(device)
        for network in self._networks.values():
            if not isinstance(network, Exception):
                network.to(self.device)

    def network(self, part: Part) -> Network:
        """Return the network behind `part`. Raises what kept it from being loaded, when nothing of it was given."""
        network = self._networks.get(part)
        if network is None:
            raise ValueError(f"{self.name} was loaded without its {part!r} part; ask for it in models.load(parts=...)")
        if isinstance(network, Exception):
            raise network
        return network

    @property
    def trained(self) -> bool:
        """Say whether the weights are real; numbers of seeded noise must never be shown as the method's."""
        return not self.weights.startswith("random")

    @property
    def view(self) -> View:
        return self.method.view(self.options)

    @property
    def feature_shape(self) -> tuple[int, ...]:
        return self.method.feature_shape(self.options)

    @property
    def symmetric(self) -> bool:
        return self.method.symmetric(self.options)

    @property
    def compact(self) -> bool:
        return self.method.compact(self.options)

    def digest(self, part: Part) -> str:
        """Hash the weights behind `part`: equal digests, equal numbers."""
        digest = hashlib.sha256()
        for key, value in sorted(self.network(part).state_dict().items()):
            digest.update(key.encode())
            flat = value.detach().cpu().contiguous().reshape(-1)  # a 1x1 kernel is contiguous with any strides
            digest.update(flat.view(torch.uint8).numpy() if value.ndim else b"")
        return digest.hexdigest()

    @torch.inference_mode()
    def embed(self, windows: np.ndarray) -> np.ndarray:
        """Make features (N, *feature_shape) of windows (N, *window_shape), float32, or uint8 where codes are stored.

        N = 0 is fine. Shards keep them as the card's feature_dtype, which may be narrower.
        """
        expected, kind = self.view.window_shape, np.dtype(self.view.window_dtype)
        if windows.shape[1:] != expected:
            raise ValueError(f"{self.name} expects windows of shape {expected}, got {windows.shape[1:]}")
        if windows.dtype != kind:
            raise TypeError(f"{self.name} expects windows of {kind}, got {windows.dtype}")
        dtype = np.uint8 if self.card.feature_dtype == "uint8" else np.float32
        if len(windows) == 0:
            return np.zeros((0, *self.feature_shape), dtype)
        # A copy: torch wants memory it may write to, and products may depend on where in a cache line it begins.
        copied = torch.tensor(windows, device=self.device)
        if self.device.type != "cpu":
            copied = _filled_up(copied)
        features = self.method.embed(self.network("embed"), copied)[: len(windows)].cpu().numpy()
        if features.dtype.kind == "f" and not np.isfinite(features).all():
            raise ValueError(f"{self.name} produced features that are not finite; are the weights damaged?")
        return features.astype(dtype, copy=False)

    @torch.inference_mode()
    def signature(self, features: np.ndarray) -> Signature:
        """Make the signature of one video out of its features (T, *feature_shape); it stays on the device."""
        return self.method.signature(self.network("similarity"), self._tensor(features))

    @property
    def windows_at_once(self) -> int | None:
        return self.method.windows_at_once(self.options)

    @torch.inference_mode()
    def long_signature(self, features: np.ndarray, n_bytes: int) -> Signature:
        """Make the signature of a long video, in about `n_bytes` beside its features; `windows_at_once` is not None."""
        return self.method.long_signature(self.network("similarity"), self._tensor(features), n_bytes)

    def bounded_signature(
        self, features: np.ndarray, *, windows: int | None = None, n_bytes: int = LONG_BYTES
    ) -> Signature:
        """Make a signature; of a video of more than `windows` (LONG_WINDOWS), compared in parts, in about `n_bytes`."""
        if self.windows_at_once is not None and len(features) > (LONG_WINDOWS if windows is None else windows):
            return self.long_signature(features, n_bytes)
        return self.signature(features)

    def _tensor(self, features: np.ndarray) -> torch.Tensor:
        """Check features (T, *feature_shape) and bring them to the device. ValueError says what is wrong with them."""
        if features.shape[1:] != self.feature_shape:
            wanted = ", ".join(map(str, self.feature_shape))
            raise ValueError(f"{self.name} expects features of shape (T, {wanted}), got {features.shape}")
        if len(features) == 0:
            raise ValueError("a video without windows has no signature")
        if features.dtype.kind == "f" and not np.isfinite(features).all():
            raise ValueError(f"{self.name} was given features that are not finite")
        # Copied and widened in one step: of a long video every copy counts.
        widened = features.astype(np.float32 if features.dtype.kind == "f" else features.dtype)
        return torch.as_tensor(widened, device=self.device)

    @torch.inference_mode()
    def similarities(self, query: Signature, targets: Sequence[Signature]) -> np.ndarray:
        """Score one query signature against many targets, (V,) float32; higher is more alike.

        Equal to one-by-one to 1e-5 whatever the lengths of the targets. Never NaN.
        """
        if not targets:
            return np.zeros(0, np.float32)
        scores = self.method.similarities(self.network("similarity"), query, list(targets))
        return self._finite(scores.float().cpu().numpy()[None])[0]

    @torch.inference_mode()
    def score_matrix(self, queries: Sequence[Signature], targets: Sequence[Signature]) -> np.ndarray:
        """Score every query against every target, (Q, V) float32, as `similarities` does up to 1e-5."""
        if not queries or not targets:
            return np.zeros((len(queries), len(targets)), np.float32)
        scores = self.method.score_matrix(self.network("similarity"), queries, targets)
        return self._finite(scores.float().cpu().numpy())

    @torch.inference_mode()
    def urgency(self, queries: Sequence[Signature], targets: Sequence[Signature], scores: np.ndarray) -> np.ndarray:
        """Rate how much every pair calls for a closer look, (Q, V) float32, where a faster method gave `scores` (Q, V).

        The scores themselves, unless this is a selector (`models.load_selector`).
        """
        given = torch.as_tensor(np.array(scores), device=self.device)
        return self.method.urgency(self.network("similarity"), queries, targets, given).cpu().numpy()

    def to_proposer_scale(self, scores: np.ndarray) -> np.ndarray:
        """Bring scores to the scale of the fast form that the card's selector doubts, to rank both together."""
        return self.method.to_proposer_scale(torch.as_tensor(scores)).numpy()

    def _finite(self, scores: np.ndarray) -> np.ndarray:
        bad = np.argwhere(~np.isfinite(scores))
        if len(bad):
            raise NotFiniteError(self.name, *bad[0].tolist())
        return scores

    def stack(self, signatures: Sequence[Signature]) -> np.ndarray:
        """Join signatures of a compact method into one array (V, ...), to be kept in a file."""
        return np.stack([np.asarray(torch.as_tensor(signature).cpu()) for signature in signatures])

    def unstack(self, array: np.ndarray) -> list[Signature]:
        """Turn an array made by `stack` into signatures again, on the device."""
        nothing = np.zeros((1, *self.feature_shape), np.uint8 if self.card.feature_dtype == "uint8" else np.float32)
        if isinstance(self.signature(nothing), np.ndarray):
            return list(array)
        return list(torch.as_tensor(array, device=self.device))

    def similarity(self, query: Signature, target: Signature) -> float:
        """Score one pair of signatures."""
        return float(self.similarities(query, [target])[0])

    @torch.inference_mode()
    def matrix(self, query: Signature, target: Signature) -> np.ndarray:
        """Compare every window of one video with every one of another, (Tq, Tt) float32, for a heat map."""
        return self.method.matrix(self.network("similarity"), query, target).float().cpu().numpy()

    @torch.inference_mode()
    def keys(self, features: np.ndarray) -> Keys:
        """Make what an index keeps of a video's features (T, *feature_shape), T >= 1."""
        if self.compact:
            return whole_windows(_unit(torch.as_tensor(self.signature(features)).reshape(1, -1)))
        return self.method.keys(self.network("similarity"), self._tensor(features))

    @torch.inference_mode()
    def probes(self, features: np.ndarray, *, fast: bool = False) -> Keys:
        """Make what a query with these features looks up in an index; `fast`: few of them, in a tenth of
        the time.
        """
        if self.compact:
            return self.keys(features)
        return self.method.probes(self.network("similarity"), self._tensor(features), fast=fast)

    @torch.inference_mode()
    def spot(self, query: np.ndarray, targets: Sequence[np.ndarray], places: Sequence[Sequence[Place]]) -> np.ndarray:
        """Say which candidates are worth comparing, (V,) bool: features of all, and what speaks for each candidate."""
        if not targets:
            return np.zeros(0, bool)
        return self.method.spot(self._tensor(query), [self._tensor(target) for target in targets], places)

    @torch.inference_mode()
    def own_matrix(self, signature: Signature) -> np.ndarray:
        """Compare all windows of a video with each other: (T, T) float32."""
        return self.method.own_matrix(self.network("similarity"), signature).float().cpu().numpy()

    @torch.inference_mode()
    def judge(self, query: Signature, target: Signature, least: float = -math.inf) -> Judged:
        """Score a pair as `similarity` does, and tell where in time and in the picture the score comes from.

        Where the score is below `least`, what is given in its place lies there too, and nothing else is right.
        Of a compact method there is no where: its matrix is (0, 0).
        """
        if self.compact:
            return Judged(score=self.similarity(query, target), matrix=np.zeros((0, 0), np.float32))
        return self.method.judge(self.network("similarity"), query, target, least)

    def __repr__(self) -> str:
        return f"Model({self.name}, weights={self.weights}, features={self.feature_shape}, {self.device})"


FILLED_UP_BYTES = 4 << 20  # at least, of windows on a GPU: half of what a decoder hands over at once, so two sizes


def _filled_up(windows: torch.Tensor) -> torch.Tensor:
    """Repeat the last of windows (N, ...) until there are 4 MB of them, and a power of two.

    A GPU takes seconds to get ready for a number of windows that it has not seen (cuDNN plans every convolution
    anew: 2 to 4 s for Lite0), and videos of all lengths come.
    """
    least = -(-FILLED_UP_BYTES // max(1, windows[0].nbytes))
    missing = (1 << (max(len(windows), least) - 1).bit_length()) - len(windows)
    return torch.cat([windows, windows[-1:].expand(missing, *windows.shape[1:])]) if missing else windows


def use_one_thread() -> None:
    """Keep what this thread computes to one core.

    Products that threads share are summed in an order that depends on their number.
    """
    torch.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep what this thread computes inside `with` to one core, for the reason of `use_one_thread`."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
