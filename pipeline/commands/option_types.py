"""Types of arguments: what may be given, the nearest right spelling of what may not, and what the shell completes.

Nothing here imports torch, Ray or Arrow before an id is completed: a typo is refused at once. What is refused is a
ValueError, which ndvr.pipeline.cli shows as one sentence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from ndvr import models
from ndvr.operators.errors import ERROR_CLASSES

_MOST_LEDGER_BYTES = 16_000_000  # of a library whose ids are completed: read within some tenths of a second
_MOST_IDS = 200


def unknown(what: str, value: str, known: Collection[str], *, of: str = "") -> str:
    """Say that a value is not known, which are, and which of them is spelled nearly so."""
    near = get_close_matches(value, known, n=1)
    guess = f"; did you mean {near[0]}?" if near else ""
    return f"unknown {what} {value!r}{of}; choose one of {', '.join(known) or 'none'}{guess}"


def _starting(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class OneOf(click.ParamType):
    """One of some names, listed only when they are needed."""

    def __init__(self, what: str, names: Sequence[str] | Callable[[], Sequence[str]]):
        self.name, self._names = what, names

    @property
    def names(self) -> Sequence[str]:
        return self._names() if callable(self._names) else self._names

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that the value is one of the names."""
        self.check(value)
        return value

    def check(self, value: str) -> None:
        """Raise ValueError where it is none of them."""
        if value not in self.names:
            raise ValueError(unknown(self.name, value, self.names))

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str | None:
        """Name the choices, where they are few and fixed."""
        return self.name.upper() if callable(self._names) else f"[{'|'.join(self._names)}]"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return _starting(self.names, incomplete)


class Proposal(click.ParamType):
    """METHOD[:KEY=VALUE,...]; only the method is checked here."""

    name = "METHOD[:KEY=VALUE,...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        METHOD.convert(value.partition(":")[0], param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return METHOD.shell_complete(ctx, param, incomplete)


class KeyValue(click.ParamType):
    """KEY=VALUE, as a pair. What completes are the options of the methods that were chosen before it."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, rest = value.partition("=")
        if not equals or not key:
            raise ValueError(f"expected KEY=VALUE, got {value!r}")
        return key, rest

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        chosen = ctx.params.get("methods") or ctx.params.get("method") or "thumbprint"
        options = {
            f"{key}={choice}": None
            for name in ((chosen,) if isinstance(chosen, str) else chosen)
            for key, option in models.card(name).options.items()
            for choice in option.choices or ("",)
        }
        return _starting(options, incomplete)


class Weights(click.ParamType):
    """[METHOD=]WEIGHTS as a pair; the method is None where none is named."""

    name = "[METHOD=]WEIGHTS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str | None, str]:
        if isinstance(value, tuple):
            return value
        method, equals, weights = value.partition("=")
        if not equals or Path(value).exists():
            return None, value
        if method in models.names():
            return method, weights
        if method.isidentifier():  # a path with "=" in it has slashes or dots before that
            raise ValueError(unknown("method", method, models.names()))
        return None, value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        chosen = ctx.params.get("methods") or ctx.params.get("method") or ()
        published = {
            f"{prefix}{name}": None
            for method in ((chosen,) if isinstance(chosen, str) else chosen)
            for name in models.card(method).weights
            for prefix in ("", f"{method}=")
        }
        return _starting(published, incomplete) or [CompletionItem(incomplete, type="file")]


class RetryClasses(click.ParamType):
    """Classes of failure separated by commas, or all: a tuple of them."""

    name = "CLASS,..."
    _known = (*ERROR_CLASSES, "quarantined")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        if value == "all":
            return ERROR_CLASSES
        classes = tuple(filter(None, value.split(",")))
        for each in classes:
            if each not in self._known:
                raise ValueError(unknown("error class", each, (*self._known, "all")))
        return classes

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        names = self._known if comma else ("all", *self._known)
        return [CompletionItem(before + comma + item.value) for item in _starting(names, last)]


class LibraryPath(click.ParamType):
    """A library, here or in an object store. What completes are libraries, else folders that may lead to one."""

    name = "LIBRARY"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        near = Path(incomplete or ".") if not incomplete or incomplete.endswith("/") else Path(incomplete).parent
        try:
            folders = sorted(folder for folder in near.iterdir() if (folder / "library.json").is_file())
        except OSError:
            folders = []
        prefix = incomplete.rpartition("/")[0] + "/" if "/" in incomplete else ""
        return _starting([prefix + folder.name for folder in folders], incomplete) or [
            CompletionItem(incomplete, type="dir")
        ]


class VideoId(click.ParamType):
    """The id of a video. What completes are ids of LIBRARY, where it is on this machine and not large."""

    name = "ID"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        library = Path(ctx.params.get("library") or "")
        try:
            json.loads((library / "library.json").read_text(encoding="utf-8"))
            ledger = [file for folder in ("commits", "ledger") for file in (library / folder).rglob("*.parquet")]
            if sum(file.stat().st_size for file in ledger) > _MOST_LEDGER_BYTES:
                return []
            from ndvr.operators.library.library import Library

            opened = Library(library)
            ids = {video_id for config in opened.configs for video_id in opened.entries(config)}
        except (OSError, ValueError):  # completion is silent about what is wrong with a library
            return []
        return _starting(sorted(ids), incomplete)[:_MOST_IDS]


METHOD = OneOf("method", models.names)
LIBRARY, VIDEO_ID, PATH = LibraryPath(), VideoId(), click.Path()
ID_LIST = click.Path(allow_dash=True)  # read by ndvr.operators.storage.text_files
