"""What long work says on stderr: a line, in place in a terminal or every fifteen seconds in a log, and a sentence when
it is interrupted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from tqdm import tqdm

from ndvr.operators.errors import RunStopped

TICK_S = 0.5
LOG_S = 15.0


class Line:
    """Show a line, in place or in a log, unless `show` is False: `line.show(lambda width: ...)`.

    The text is asked for only when it is shown, with the columns of the terminal, or None for a log.
    """

    def __init__(self, *, show: bool = True):
        self._stream, self._show = _stderr(), show
        self._in_place = tqdm.status_printer(self._stream) if show and self._stream.isatty() else None
        self._next_s = time.monotonic() + LOG_S

    def show(self, text: Callable[[int | None], str], *, last: bool = False) -> None:
        """Show the text in a terminal at once, in a log when it is time to; the last one stays."""
        if not self._show or not (self._in_place or last or time.monotonic() >= self._next_s):
            return
        self._next_s = time.monotonic() + LOG_S
        # A closed terminal or pipe takes the line with it, not the work.
        with contextlib.suppress(OSError, ValueError):
            if self._in_place:
                self._in_place(text(self._columns()))
                if last:
                    self._stream.write("\n")
            else:
                tqdm.write(text(None), file=self._stream)

    def clear(self) -> None:
        """Take the line out of a terminal."""
        if self._in_place:
            with contextlib.suppress(OSError, ValueError):
                self._in_place("")
                self._stream.write("\r")
                self._stream.flush()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns - 1  # a full line would wrap
        except OSError:
            return 79


def _stderr() -> TextIO:
    """Open standard error by a descriptor of its own: 2 leads nowhere while Ray starts."""
    try:
        descriptor = os.dup(2) if sys.stderr.fileno() == 2 else None
    except (OSError, ValueError):  # no file but something in memory, or closed
        descriptor = None
    if descriptor is None:
        return sys.stderr
    return open(descriptor, "w", encoding=sys.stderr.encoding, errors=sys.stderr.errors, buffering=1)  # noqa: SIM115


@contextlib.contextmanager
def interruptible(then: str = "run the same command again to continue") -> Iterator[None]:
    """Raise RunStopped when the user or a scheduler interrupts the block, wherever it is; `then` says how to go on.

    What is safe is said at once: stopping may take a while, and a scheduler that signals every process ends Ray as
    well, which may then end this one without a word.
    """
    stream, told = _stderr(), threading.Event()

    def tell(*_: object) -> None:
        if not told.is_set():
            told.set()
            with contextlib.suppress(OSError, ValueError):
                stream.write("\nStopping. What was committed is safe.\n")
                stream.flush()
        raise KeyboardInterrupt

    replaced: list[int] = []
    if threading.current_thread() is threading.main_thread():  # others cannot be interrupted
        interrupts = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        replaced = [number for number in interrupts if signal.getsignal(number) is signal.default_int_handler]
    try:
        for number in replaced:
            signal.signal(number, tell)
        yield
    except KeyboardInterrupt:
        raise RunStopped(f"interrupted; {then}") from None
    finally:
        for number in replaced:
            signal.signal(number, signal.default_int_handler)


class Ticker:
    """Call `tick` twice a second between __enter__ and __exit__, from a thread of its own:
    the line moves while nothing comes back.
    """

    def __init__(self, tick: Callable[[], None]):
        self._tick = tick
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Ticker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=10)  # it may be waiting for a terminal or a cluster that is gone

    def _run(self) -> None:
        self._tick()
        while not self._over.wait(TICK_S):
            self._tick()


class Progress:
    """`with Progress("dedupe", 80, "video") as bar: bar.advance()`; counts failures beside the bar."""

    def __init__(self, title: str, total: int, unit: str, *, show: bool = True):
        self.title, self.total, self.unit = title, total, unit
        self.done = self.failed = 0
        self._numbers: dict[str, int] = {}
        self._line = Line(show=show)
        self._ticker = Ticker(lambda: self._line.show(self.text)) if show else None
        self._began = time.monotonic()

    def __enter__(self) -> Progress:
        if self._ticker:
            self._ticker.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._ticker:
            self._ticker.__exit__()
            self._line.show(self.text, last=True)

    def advance(self, count: int = 1, *, failed: bool = False, **numbers: int) -> None:
        """Count `count` more as done; `numbers` are shown behind the bar."""
        self.failed += failed
        self._numbers = numbers
        self.done += count

    def follow(self, done: int, total: int, name: str) -> None:
        """Show work that counts by itself: `done` of `total`, `name` is the latest."""
        self.total, self.done = total, done

    def text(self, width: int | None) -> str:
        """Draw the bar as tqdm draws it; without the bar for a log."""
        shown = {"failed": self.failed, **self._numbers} if self.failed else self._numbers
        return tqdm.format_meter(
            self.done,
            self.total or None,
            time.monotonic() - self._began,
            prefix=self.title,
            unit=self.unit,
            ncols=width,
            bar_format=None if width else "{l_bar}{r_bar}",
            postfix=", ".join(f"{name}={number:,}" for name, number in shown.items()),
        )


def size_words(count: float) -> str:
    """Format a number of bytes."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
