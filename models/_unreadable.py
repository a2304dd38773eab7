"""Why a file holds no weights, in words: it carries code, is cut short, or is something else altogether."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from pathlib import Path

_SCANNED_BYTES = 64 << 20
_HARMLESS = {"torch", "collections", "argparse", "numpy", "_codecs"}  # what weight files name to build tensors
_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}


def why_unreadable(path: Path, error: Exception) -> str:
    """Say in words why a file cannot be read, from its first bytes and torch's complaint. Nothing in it is run."""
    if "Bad CRC" in str(error):
        return "is damaged (its bytes are not those that its checksums say); fetch it again"
    foreign = re.search(r"GLOBAL (\S+)", str(error))
    if code := foreign[1].rstrip(".,") if foreign else _code_in(path):
        return f"wants to run code when loaded ({code}); refused, as weight files hold tensors only"
    with path.open("rb") as source:
        start = source.read(8)
    if not start:
        return "is empty; fetch it again"
    if start.startswith(b"PK"):
        return "is cut short or damaged (its zip directory cannot be read); fetch it again"
    if start.lstrip()[:1] in (b"<", b"{"):
        return "is a web page or text, not a torch file; was the download answered by an error page?"
    return "is cut short or not a torch file; fetch it again"


def _code_in(path: Path) -> str | None:
    """Name what the file would run: a TorchScript program, or a function that its pickle calls."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(re.fullmatch(r"[^/]+/code/.*\.py", name) for name in names):
                return "a TorchScript program"
            pickled = next((name for name in names if name.endswith("data.pkl")), None)
            if pickled is None:
                return None
            with archive.open(pickled) as source:
                data = source.read(_SCANNED_BYTES)
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError):  # also names of files that are no text
        with path.open("rb") as source:
            data = source.read(_SCANNED_BYTES)
    return _function_in(data)


def _function_in(pickled: bytes) -> str | None:
    """Name the first function or class that no tensor needs in pickles one after the other; they are read, not run.

    Text that is no pickle may begin like one of the first protocols: of these only a whole one counts.
    """
    source, texts, named = io.BytesIO(pickled), list[str](), None
    try:
        while source.tell() < len(pickled):
            whole_only = pickled[source.tell()] != 0x80  # protocol 2 and later
            for code, argument, _ in pickletools.genops(source):
                if code.name in _TEXTS:
                    texts.append(str(argument))
                module, name = "torch", ""
                if code.name in ("GLOBAL", "INST"):
                    module, name = str(argument).split(" ", 1)
                elif code.name == "STACK_GLOBAL" and len(texts) >= 2:
                    module, name = texts[-2:]
                if module.split(".")[0] not in _HARMLESS:
                    named = named or f"{module}.{name}"
                    if not whole_only:
                        return named
            if named:
                return named
    except (ValueError, IndexError, UnicodeDecodeError):  # cut short, or noise
        pass
    return None
