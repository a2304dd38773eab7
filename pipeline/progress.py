"""A progress line on stderr for long work."""

from __future__ import annotations

import sys

from tqdm import tqdm


class Progress:
    """`with Progress("extract", 80, "video") as bar: bar.advance()`; counts failures beside the bar."""

    def __init__(self, title: str, total: int, unit: str, *, show: bool = True):
        # Into a file or a CI log a line every ten seconds is enough.
        interval_s = 0.2 if sys.stderr.isatty() else 10.0
        self._bar = tqdm(
            total=total, desc=title, unit=unit, file=sys.stderr, disable=not show, mininterval=interval_s, leave=True
        )
        self._failed = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, count: int = 1, *, failed: bool = False, **numbers: int) -> None:
        """One more; `numbers` are shown behind the bar."""
        self._failed += failed
        shown = {"failed": self._failed, **numbers} if self._failed else numbers
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(count)

    def follow(self, done: int, total: int, name: str) -> None:
        """For work that counts by itself: `done` of `total`, `name` is the latest."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)
