"""A configuration: what made the features of one name, as configs/<config>.json says it.

config = Config.from_json(store.read_json("configs/s2vs-1a2b3c4d.json"))
config.name, config.feature_shape, config.window_bytes      # "s2vs-1a2b3c4d", (9, 512), 9216
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from ndvr.operators.storage.shapes import Damaged, shaped

# What tells features of one configuration from those of another. Paths and labels may change without the features
# changing: of the weights the digest counts, of the options their effect on the view, the shape and the digest.
_DECISIVE = (
    "method",
    "weights_digest",
    "view",
    "feature_shape",
    "feature_dtype",
    "decoder",
    "features_version",
)


_DTYPES = ("float16", "float32", "float64", "uint8")  # that features are stored in
_MOST_NUMBERS = 1 << 28  # of one window; more is no feature that somebody computed


@dataclass(frozen=True, kw_only=True)
class Config:
    """What features were made with. `name` is the method and a hash of all that decides the features."""

    method: str
    weights: str  # as the user named them
    weights_digest: str
    options: dict[str, Any]  # those that decide the features
    view: dict[str, Any]  # its kind and settings, as JSON has them
    feature_shape: tuple[int, ...]  # of one window
    feature_dtype: str  # as stored
    decoder: str
    features_version: int  # of ndvr's own extraction
    trained: bool  # False: the weights are noise
    windows_per_s: float | None  # None: the view takes the whole video at once
    like: str | None = None  # the configuration that imported features are to be compared with
    newer: dict[str, Any] = field(default_factory=dict)  # keys that a newer version wrote; kept as they are
    name: str = ""  # made here, unless a file has given it

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", f"{self.method}-{self._digest()[:8]}")

    @property
    def window_bytes(self) -> int:
        """Bytes of one feature in a shard."""
        return math.prod(self.feature_shape) * np.dtype(self.feature_dtype).itemsize

    def changed(self, **values: Any) -> Config:
        """Make the configuration with other values, and with the name that belongs to them."""
        return replace(self, **values, name="")

    def to_json(self) -> dict[str, Any]:
        """Make what the file in configs/ holds."""
        known = {key: value for key, value in asdict(self).items() if key != "newer"}
        if self.like is None:
            del known["like"]
        return self.newer | known | {"feature_shape": list(self.feature_shape)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Config:
        """Read what a file in configs/ holds. ValueError when it does not say enough, or what cannot be."""
        known = {each.name for each in fields(cls)} - {"newer"}
        place = f"the configuration {values.get('name', 'without a name')}"
        if missing := known - {"like"} - set(values):
            raise ValueError(
                f"{place} does not say its {sorted(missing)[0]}; it was not written by ndvr, or is damaged"
            )
        shaped(values, cls, place)
        shape, dtype = values["feature_shape"], values["feature_dtype"]
        if dtype not in _DTYPES or not shape or min(shape) < 1 or math.prod(shape) > _MOST_NUMBERS:
            raise Damaged(place, f"features of shape {shape} and dtype {dtype!r} cannot be")
        newer = {key: value for key, value in values.items() if key not in known}
        given = {key: value for key, value in values.items() if key in known}
        return cls(**given | {"feature_shape": tuple(values["feature_shape"]), "newer": newer})

    def _digest(self) -> str:
        values = self.to_json()
        decisive = {key: values[key] for key in (*_DECISIVE, *self.newer)}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
