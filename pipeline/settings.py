"""What one method is run with, and the configuration that is recorded beside the features it makes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ndvr import models
from ndvr.models.card import Card, View
from ndvr.operators.library.config import Config

if TYPE_CHECKING:
    from ndvr.models.method import Model, Part

# Raise when the same settings give other features than before: a change of frame picking, resizing, rounding.
FEATURES_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A method, its weights and its options, chosen by the user."""

    method: str
    weights: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def card(self) -> Card:
        return models.card(self.method)

    @property
    def view(self) -> View:
        """What the method is shown under these options."""
        return models.get(self.method).view(self.options)

    def load(self, device: str, *parts: Part) -> Model:
        """Load the model, with what `parts` ("embed", "similarity") need."""
        return models.load(self.method, self.weights, device, parts=parts, **self.options)

    def config(
        self,
        *,
        weights: str,
        weights_digest: str,
        decoder: str,
        trained: bool,
        features_version: int = FEATURES_VERSION,
    ) -> Config:
        """Describe features that are made with these options."""
        return Config(
            method=self.method,
            weights=weights,
            weights_digest=weights_digest,
            options={key: self.options[key] for key, option in self.card.options.items() if option.part == "embed"},
            view={"kind": type(self.view).__name__, **json.loads(json.dumps(asdict(self.view)))},
            feature_shape=models.get(self.method).feature_shape(self.options),
            feature_dtype=self.card.feature_dtype,
            decoder=decoder,
            features_version=features_version,
            trained=trained,
            windows_per_s=self.view.windows_per_s,
        )


def choose(
    methods: tuple[str, ...], weights: dict[str, str] | None = None, options: dict[str, Any] | None = None
) -> dict[str, Setting]:
    """Choose settings by method. An option goes to every chosen method that has it, and must fit at least one."""
    if not methods:
        raise ValueError(f"no method given; choose one of {', '.join(models.names())}")
    weights, options = weights or {}, options or {}
    cards = {method: models.card(method) for method in methods}
    if stray := set(weights) - set(cards):
        raise ValueError(
            f"weights given for {', '.join(sorted(stray))}, which is not among --method {', '.join(cards)}"
        )
    for key in options:
        if not any(key in card.options for card in cards.values()):
            known = sorted({name for card in cards.values() for name in card.options})
            raise ValueError(f"unknown option {key!r} of {', '.join(cards)}; known: {', '.join(known) or 'none'}")
    return {
        method: Setting(
            method=method,
            weights=weights.get(method),
            options=card.resolve({key: value for key, value in options.items() if key in card.options}),
        )
        for method, card in cards.items()
    }


def choose_one(method: str, weights: str | None = None, options: dict[str, Any] | None = None) -> Setting:
    """Choose the setting of a single method."""
    return choose((method,), {method: weights} if weights else None, options)[method]


def config_of(model: Model, decoder: str) -> Config:
    """Describe the features that `model` makes of what `decoder` reads."""
    setting = Setting(method=model.name, options=model.options)
    return setting.config(
        weights=model.weights, weights_digest=model.digest("embed"), decoder=decoder, trained=model.trained
    )
