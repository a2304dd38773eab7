"""The two faces of a method: `Method` is what its author writes, `Model` is what everybody else uses."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ndvr.models.card import Card, View

Options = dict[str, Any]
Signature = Any  # what a method compares: most often a tensor, or whatever it has made ready for comparing


class Method(ABC):
    """One published way to compare videos; tensors in, tensors out, on the device of the network.

    Letters: N windows in a batch, T windows in a video, V videos.
    """

    def __init__(self, card: Card):
        self.card = card

    def view(self, options: Options) -> View:
        """The view under these options; override when an option changes it."""
        return self.card.view

    @abstractmethod
    def build(self, weights: Any, options: Options, *, parts: Sequence[str]) -> torch.nn.Module:
        """The network with its weights. `parts` holds "embed", "similarity" or both: build no more than asked.

        `weights` is what `ndvr.models.load` was given: None (the published default), a published name, a path,
        "random" / "random:SEED", or a mapping of official state_dict keys to arrays.
        """

    @abstractmethod
    def embed(self, network: torch.nn.Module, windows: torch.Tensor) -> torch.Tensor:
        """Features of windows, (N, *window_shape) uint8 -> (N, *feature_shape); row i depends on window i only."""

    def signature(self, network: torch.nn.Module, features: torch.Tensor) -> Signature:
        """What is compared: (T, *feature_shape) as stored, T >= 1. Default: the features."""
        return features

    def digest(self, network: torch.nn.Module, part: str) -> str:
        """What identifies the weights behind `part`, "embed" or "similarity".

        Of a `ModuleDict` with one network per part, that part alone counts; override for any other division.
        """
        if isinstance(network, torch.nn.ModuleDict) and part in network:
            network = network[part]
        digest = hashlib.sha256()
        for key, value in sorted(network.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy() if value.ndim else b"")
        return digest.hexdigest()

    @abstractmethod
    def similarities(self, network: torch.nn.Module, query: Signature, targets: list[Signature]) -> torch.Tensor:
        """Scores of one query signature against V target signatures of any lengths -> (V,) float."""

    def matrix(self, network: torch.nn.Module, query: Signature, target: Signature) -> torch.Tensor:
        """Window-to-window similarities (Tq, Tt) of two signatures, for pictures."""
        raise NotImplementedError("this method has no window-to-window similarity")


class Model:
    """A method with its weights, on numpy arrays; the one place that knows device and inference mode."""

    def __init__(
        self,
        name: str,
        method: Method,
        network: torch.nn.Module,
        *,
        options: Options,
        device: str,
        weights: str,
    ):
        self.name, self.method, self.card, self.options = name, method, method.card, options
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.weights = weights  # how the weights were named: "s2vs_dns", a path, "random:0", "none needed"

    @property
    def trained(self) -> bool:
        """False when the weights are seeded noise: such numbers must never be shown as the method's."""
        return not self.weights.startswith("random")

    @property
    def view(self) -> View:
        return self.method.view(self.options)

    def digest(self, part: str) -> str:
        """Identifies the weights behind `part`, "embed" or "similarity": equal digests, equal numbers."""
        return self.method.digest(self.network, part)

    @torch.inference_mode()
    def embed(self, windows: np.ndarray) -> np.ndarray:
        """Features as stored: (N, *window_shape) uint8 -> (N, *feature_shape) feature_dtype. N = 0 is fine."""
        expected = self.view.window_shape
        if windows.shape[1:] != expected:
            raise ValueError(f"{self.name} expects windows of shape {expected}, got {windows.shape[1:]}")
        dtype = np.dtype(self.card.feature_dtype)
        if len(windows) == 0:
            return np.zeros((0, *self.card.feature_shape), dtype)
        features = self.method.embed(self.network, torch.as_tensor(windows, device=self.device)).cpu().numpy()
        if dtype.kind == "f" and not np.isfinite(features).all():
            raise ValueError(f"{self.name} produced features that are not finite; are the weights damaged?")
        return features.astype(dtype, copy=False)

    @torch.inference_mode()
    def signature(self, features: np.ndarray) -> Signature:
        """The signature of one video's features (T, *feature_shape), kept on the device."""
        if features.shape[1:] != self.card.feature_shape:
            raise ValueError(
                f"{self.name} expects features of shape (T, {', '.join(map(str, self.card.feature_shape))}), "
                f"got {features.shape}"
            )
        if len(features) == 0:
            raise ValueError("a video without windows has no signature")
        tensor = torch.as_tensor(np.array(features), device=self.device)
        return self.method.signature(self.network, tensor.float() if tensor.is_floating_point() else tensor)

    @torch.inference_mode()
    def similarities(self, query: Signature, targets: Sequence[Signature]) -> np.ndarray:
        """Scores of one query signature against many targets, (V,) float32, higher is more alike.

        Equal to one-by-one to 1e-5 whatever the lengths of the targets. Never NaN.
        """
        if not targets:
            return np.zeros(0, np.float32)
        scores = self.method.similarities(self.network, query, list(targets)).float().cpu().numpy()
        if not np.isfinite(scores).all():
            raise ValueError(f"{self.name} gave a score that is not finite")
        return scores

    def similarity(self, query: Signature, target: Signature) -> float:
        """The score of one pair of signatures."""
        return float(self.similarities(query, [target])[0])

    @torch.inference_mode()
    def matrix(self, query: Signature, target: Signature) -> np.ndarray:
        """Window-to-window similarities (Tq, Tt) float32, for a heat map."""
        return self.method.matrix(self.network, query, target).float().cpu().numpy()

    def __repr__(self) -> str:
        return f"Model({self.name}, weights={self.weights}, features={self.card.feature_shape}, {self.device})"
