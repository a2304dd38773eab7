"""Why a file holds no weights, in words: it carries code, is cut short, or is something else altogether."""

from __future__ import annotations

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
    """Name the first function or class in a pickle that no tensor needs; it is read, not run."""
    if not pickled.startswith(b"\x80"):  # protocol 2 and later
        return None
    texts: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(pickled):
            if code.name in _TEXTS:
                texts.append(str(argument))
            if code.name == "GLOBAL":
                module, name = str(argument).split(" ", 1)
            elif code.name == "STACK_GLOBAL" and len(texts) >= 2:
                module, name = texts[-2:]
            else:
                continue
            if module.split(".")[0] not in _HARMLESS:
                return f"{module}.{name}"
    except (ValueError, IndexError, UnicodeDecodeError):  # cut short, or noise
        pass
    return None
