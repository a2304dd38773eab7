"""Rows of the ledger for tests that need some: as Write hands them back, every column there."""

from __future__ import annotations

from typing import Any

from ndvr.operators.rows import LEDGER


def piece(video_id: str, **values: Any) -> dict[str, Any]:
    """A piece whose features were committed."""
    return _row(video_id, {"kind": "piece", "piece": 0, "windows_count": 4, "embed_s": 0.1, "write_s": 0.01} | values)


def end(video_id: str, **values: Any) -> dict[str, Any]:
    """The end of a video that is done."""
    facts = {"status": "done", "message": "", "uri": f"{video_id}.mp4", "bytes": 1000, "frames": 50, "decode_s": 0.2}
    return _row(video_id, {"kind": "end", "piece": 1, "windows_count": 4} | facts | values)


def _row(video_id: str, values: dict[str, Any]) -> dict[str, Any]:
    common = {"video_id": video_id, "method": "thumbprint", "config": "thumbprint-1a2b3c4d", "run": "r1", "attempt": 1}
    return dict.fromkeys(LEDGER.names) | common | values
