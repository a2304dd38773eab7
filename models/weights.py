"""Weight files: find them, fetch them, check them, read them without running anything they contain."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import pickle
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import torch

from ndvr.models._torchscript import ArchiveError, is_torchscript, read_tensors
from ndvr.models._unreadable import why_unreadable
from ndvr.models.card import File

State = dict[str, torch.Tensor]

TRAINED = "weights.pth"  # in a folder of `ndvr train`
_CHUNK_BYTES = 1 << 20
_STALL_TIMEOUT_S = 30  # without a byte; a slow server is fine, a dead one is not


class WeightsError(ValueError):
    """A weight file is absent, damaged, or of something else. The message says what to do."""


class Absent(WeightsError):
    """Nothing of one part of a method is at hand: neither in the weights given nor in files beside them."""


def cache_folder(cache: str | Path | None = None) -> Path:
    """Say where weight files are kept: `cache`, else $XDG_CACHE_HOME/ndvr, else ~/.cache/ndvr."""
    if cache:
        return Path(cache).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ndvr"


def fetch(file: File, *, cache: str | Path | None = None, download: bool = True, trust_http: bool = False) -> Path:
    """Return the path of a published file, downloaded from its url or a mirror unless the cache has it.

    The checksum is tested wherever the file comes from; a file appears under its name only when it is whole. Of one
    without a checksum, that of the first use is kept beside it, and tested from then on.
    Without `download`, Absent is raised for a file that the cache does not have.

    trust_http  also fetch a file without a checksum by plain http, where anybody on the way may put in another
    """
    path = cache_folder(cache) / file.name
    if path.exists():
        if not _matches(digest := _sha256(path), file.sha256):
            raise WeightsError(
                f"{path} is not {file.name}: its sha256 is {digest}, expected {file.sha256}; "
                f"delete it to have it fetched again from {file.url}"
            )
        _remember(path, digest, file.sha256)
        return path
    if not download:
        raise Absent(
            f"{file.name} is needed; fetch it from {file.url} and put it at {path}, or name a file of your own"
        )
    failures = []
    for url in (file.url, *file.mirrors):
        try:
            if url.startswith("http://") and file.sha256 is None and not trust_http:
                url = _by_https(url)
            _remember(path, _download(url, path, file.sha256), file.sha256)
            return path
        except (URLError, OSError, WeightsError) as error:
            failures.append(f"{url} ({getattr(error, 'reason', None) or error})")
    raise WeightsError(
        f"cannot get {file.name} from {' or '.join(failures)}; fetch it yourself "
        f"({f'sha256 {file.sha256}' if file.sha256 else 'its authors give no checksum'}) and put it at {path}"
    )


def _by_https(url: str) -> str:
    """Address the same file on the same server, which then has to prove who it is. WeightsError when it cannot."""
    url = "https" + url.removeprefix("http")
    try:
        urlopen(Request(url, method="HEAD", headers={"User-Agent": "ndvr"}), timeout=_STALL_TIMEOUT_S).close()
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsError(
            "refused: it has no checksum, and anybody on the way can change what comes by http; "
            f"the server does not serve it by https: {reason}"
        ) from None
    return url


def _remember(path: Path, digest: str, sha256: str | None) -> None:
    """Keep the checksum of a file of which none, or only its first digits, is known; WeightsError if it was another."""
    if sha256 is not None and len(sha256) == 64:
        return
    kept = path.with_name(f"{path.name}.sha256")
    try:
        first = kept.read_text(encoding="ascii").split()[0]
    except (FileNotFoundError, IndexError):
        # A cache that may only be read is somebody's who looks after it.
        with contextlib.suppress(OSError):
            kept.write_text(f"{digest}  {path.name}\n", encoding="ascii")
        return
    if first != digest:
        raise WeightsError(
            f"{path} has changed since it was first used: its sha256 was {first}, now it is {digest}; "
            f"if you replaced it yourself, delete {kept}"
        )


def _download(url: str, path: Path, sha256: str | None) -> str:
    """Download a file and put it in its place; returns its sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".part", dir=path.parent)
    try:
        digest, n_bytes = hashlib.sha256(), 0
        request = Request(url, headers={"User-Agent": "ndvr"})
        with os.fdopen(handle, "wb") as target, urlopen(request, timeout=_STALL_TIMEOUT_S) as source:
            while block := source.read(_CHUNK_BYTES):
                if n_bytes == 0 and block.lstrip().startswith(b"<"):  # a sign-in page, a folder of Google Drive
                    raise WeightsError("it answers with a web page, not with the file")
                target.write(block)
                digest.update(block)
                n_bytes += len(block)
            promised = source.headers.get("Content-Length")
            target.flush()
            os.fsync(target.fileno())
        if promised is not None and n_bytes != int(promised):
            raise WeightsError(f"the transfer ended after {n_bytes} of {promised} bytes")
        if not _matches(digest.hexdigest(), sha256):
            raise WeightsError(f"it has sha256 {digest.hexdigest()}, expected {sha256}")
        os.chmod(name, 0o644)  # mkstemp makes it private; a cache may be shared
        os.replace(name, path)
        return digest.hexdigest()
    finally:
        Path(name).unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as source:
        while block := source.read(_CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _matches(digest: str, expected: str | None) -> bool:
    # torch hub puts the first eight digits into file names, often all that is known: a prefix will do.
    return expected is None or digest.startswith(expected.lower())


# What a torch file can raise whose bytes were changed or made up: its pickle is a program, if one that calls little.
_BROKEN = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError),
    *(LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, MemoryError),
)
UNREADABLE = (*_BROKEN, OSError, SyntaxError, TokenError)  # and what NumPy raises of its files


def read(path: str | Path, *, lazily: bool = False, torchscript: bool = False) -> dict[str, Any]:
    """Read the dictionary in a torch file. Only tensors, plain containers and argparse.Namespace are accepted.

    Nothing in the file is run: anything else in it is refused by name. WeightsError also for a byte that has changed.

    lazily       leave the numbers in the file until they are used, which files of torch before 1.6 are too old for
    torchscript  of a TorchScript archive read the tensors, instead of refusing it for its program
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(f"no such file: {path}")
    try:
        if torchscript and is_torchscript(path):
            return read_tensors(path)
    except ArchiveError as error:
        raise WeightsError(f"{path} {error}") from error
    try:
        _check_sums(path, only_text=lazily)
        # The authors' training scripts store their command line beside the weights, as a Namespace.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=lazily or None)
    except WeightsError:
        raise
    except _BROKEN as error:
        raise WeightsError(f"{path} {why_unreadable(path, error)}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors")
    return content


def refuse_bomb(path: str | Path, *, times: int = 20) -> None:
    """Raise WeightsError for a zip archive that unpacks to so many times of what it holds,
    as no file of numbers does.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as file:
        unpacked, packed = sum(each.file_size for each in file.infolist()), Path(path).stat().st_size
    if unpacked > times * packed:
        raise WeightsError(
            f"{path} has {packed:,} bytes and unpacks to {unpacked:,}, as no file of numbers does; refused"
        )


def _check_sums(path: Path, *, only_text: bool) -> None:
    """Compare what is in a torch file with the checksums beside it, which torch itself does not look at.

    only_text  leave out the numbers
    """
    if not zipfile.is_zipfile(path):  # of torch before 1.6, which has none
        return
    refuse_bomb(path, times=1)  # torch does not compress
    with zipfile.ZipFile(path) as file:
        for each in file.infolist():
            if only_text and not each.filename.endswith(".pkl"):
                continue
            with file.open(each) as record:
                while record.read(_CHUNK_BYTES):
                    pass


def in_folder(path: str | Path) -> Path:
    """Return the weights of a folder of `ndvr train`, or the path itself."""
    path = Path(path).expanduser()
    return path / TRAINED if path.is_dir() else path


def trained_on(weights: Any) -> dict[str, Any] | None:
    """Read what `ndvr train` wrote down beside weights: on what, from where, how; None of all others."""
    if not isinstance(weights, (str, Path)) or not in_folder(weights).is_file() or is_torchscript(in_folder(weights)):
        return None
    try:
        written = read(in_folder(weights), lazily=True).get("training")
    except WeightsError:  # of old, or no torch file: the method, whose file it may be, says what is wrong with it
        return None
    if not isinstance(written, str):
        return None
    try:
        training = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{in_folder(weights)} is damaged: what it was trained on is no JSON") from error
    says = isinstance(training, dict) and isinstance(training.get("method"), str)
    if not says or not isinstance(training.get("needs"), dict):
        raise WeightsError(f"{in_folder(weights)} is damaged: it does not say what method it was trained for")
    return training


def check_trained(training: Mapping[str, Any], method: str, options: Mapping[str, Any], *, source: str) -> None:
    """Raise WeightsError when weights of `ndvr train` are another method's,
    or were trained under options that count.
    """
    if training["method"] != method:
        raise WeightsError(f"{source} was trained for {training['method']}, not for {method}")
    for key, value in training["needs"].items():
        if str(options.get(key)) != str(value):
            now = options.get(key)
            raise WeightsError(f"{source} was trained with option {key}={value}, not {now}; give that option")


def state_of(content: Mapping[str, Any]) -> State:
    """Take a checkpoint's tensors: those under "model" or "state_dict" where a training script put them, else all."""
    wrapper = next((key for key in ("model", "state_dict") if key in content), None)
    inner = content if wrapper is None else content[wrapper]
    if not isinstance(inner, Mapping):
        raise WeightsError(f'the entry "{wrapper}" is a {type(inner).__name__}, not a dictionary of tensors')
    strange = [key for key, value in inner.items() if not isinstance(value, (torch.Tensor, np.ndarray))]
    if strange or not inner:
        what = f"entries that are not tensors: {_some(strange)}" if strange else "no tensors"
        raise WeightsError(f"not a dictionary of weights: it has {what}")
    return {str(key): torch.as_tensor(value) for key, value in inner.items()}


def divide(
    state: Mapping[str, torch.Tensor], prefixes: Mapping[str, tuple[str, ...]], *, source: str
) -> dict[str, State]:
    """Divide tensors among the parts of a method by how their names begin; WeightsError names what fits none.

    "module.", which data-parallel training puts before every name, is taken off.
    """
    parts: dict[str, State] = {part: {} for part in prefixes}
    strays = []
    for key, value in state.items():
        name = key.removeprefix("module.")
        part = next((part for part, starts in prefixes.items() if name.startswith(starts)), None)
        if part is None:
            strays.append(key)
        else:
            parts[part][name] = value
    if strays:
        raise WeightsError(f"{source} is of another method: it has {_some(sorted(strays))} that do not belong here")
    return parts


def load_into(module: torch.nn.Module, state: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Put `state` into `module`, in float32; every key must be there, wanted, and of the right shape.

    Counters of batch normalisation are optional: files from before torch 0.4.1 have none and inference needs none.
    """
    wanted = module.state_dict()
    counters = {key for key in {*wanted, *state} if key.endswith("num_batches_tracked")}
    problems = []
    if missing := sorted(wanted.keys() - state.keys() - counters):
        problems.append(f"it lacks {_some(missing)}")
    if unexpected := sorted(state.keys() - wanted.keys() - counters):
        problems.append(f"it has {_some(unexpected)} that do not belong here")
    for key in sorted(wanted.keys() & state.keys()):
        if state[key].shape != wanted[key].shape:
            problems.append(f"{key} has shape {tuple(state[key].shape)}, expected {tuple(wanted[key].shape)}")
    if problems:
        raise WeightsError(f"{source} does not fit {type(module).__name__}: {'; '.join(problems[:4])}")
    ready = {key: torch.zeros(wanted[key].shape, dtype=wanted[key].dtype) for key in counters & wanted.keys()}
    for key in wanted.keys() - counters:
        value = state[key].detach().to("cpu", torch.float32, copy=True).contiguous()
        if not _is_finite(value):
            raise WeightsError(f"{source} is damaged: {key} has values that are not finite")
        ready[key] = value
    module.load_state_dict(ready, assign=True)
    module.requires_grad_(False)


def _is_finite(value: torch.Tensor) -> bool:
    """Say whether all numbers are finite, in a tenth of the time of torch.isfinite: NaN is passed on as both ends."""
    return value.numel() == 0 or all(math.isfinite(end) for end in torch.aminmax(value))


def _some(keys: Iterable[str]) -> str:
    keys = list(keys)
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def resolve(
    weights: Any, published: Mapping[str, File], *, cache: str | Path | None = None, torchscript: bool = False
) -> tuple[State, str]:
    """Find the tensors that a published name, a path or a mapping stands for, and a name for error texts.

    None is the first published. `torchscript` as of `read`.
    """
    if isinstance(weights, Mapping):
        return state_of(weights), "the given mapping"
    if weights is None:
        weights = next(iter(published))
    if weights in published:
        path = fetch(published[weights], cache=cache)
    else:
        path = in_folder(weights)
        if not path.exists():
            names = ", ".join([*published, "random", "random:SEED"])
            raise WeightsError(f"weights {str(weights)!r}: neither a file nor one of {names}")
    try:
        return state_of(read(path, torchscript=torchscript)), str(path)
    except WeightsError as error:
        raise error if str(path) in str(error) else WeightsError(f"{path}: {error}") from error
