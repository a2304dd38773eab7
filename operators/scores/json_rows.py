"""Walk over {query: {video: score}} one query at a time: FIVR-200K's result file is 803 MB, 2.8 GiB once loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_GAP = re.compile(r"[\s,]*")
_COLON = re.compile(r"\s*:\s*")


def read_json_rows(path: Path, *, block: int = 1 << 22) -> Iterator[tuple[str, dict[str, float]]]:
    """(query, {video: score}) in the order of the file; ValueError names what is wrong and for which query.

    block  characters to read at a time; more are read while one query does not fit.
    """
    decoder = json.JSONDecoder(object_pairs_hook=lambda items: _unique(path, items))
    with path.open(encoding="utf-8") as file:
        text = file.read(block).lstrip()
        if text[:1] != "{":
            raise ValueError(f"{path} is not a JSON object {{query: {{video: score}}}}")
        at, ended = 1, False
        while text[(at := _end(_GAP, text, at)) : at + 1] != "}":
            try:
                query, key_end = decoder.raw_decode(text, at)
                row, at = decoder.raw_decode(text, _end(_COLON, text, key_end))
            except json.JSONDecodeError as error:  # cut by the block, or broken
                if ended:
                    raise ValueError(f"{path} is not a whole JSON file: {error}") from None
                new = file.read(max(block, len(text) - at))
                text, at, ended = text[at:] + new, 0, not new
                continue
            if not isinstance(row, dict):
                raise ValueError(f"{path}: {query!r} is followed by no object of {{video: score}}")
            yield query, row


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _unique(path: Path, items: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(items)
    if len(row) != len(items):  # json.loads would silently keep the last one
        names = sorted(name for name, _ in items)
        twice = next(a for a, b in zip(names, names[1:]) if a == b)
        raise ValueError(f"{path} names the video {twice!r} twice for one query: keep one score a pair")
    return row
