"""Configurations of features that no method has made."""

from __future__ import annotations

from typing import Any

from ndvr.operators.library.config import Config


def made_config(**values: Any) -> Config:
    """Four half floats a window, unless `values` say otherwise."""
    facts: dict[str, Any] = {
        "method": "s2vs", "weights": "made up", "weights_digest": "0" * 64, "trained": False, "options": {},
        "view": {"kind": "Frames", "fps": 1}, "feature_shape": (4,), "feature_dtype": "float16", "decoder": "auto",
        "features_version": 1, "windows_per_s": 1.0,
    }  # fmt: skip
    return Config(**facts | values)
