"""Objects whose keys are no paths, such as "day//clip.mp4" or "a/../clip.mp4", read by requests of our own.

file = OddObject("bucket/day//clip.mp4", endpoint=None, region="eu-west-1")
file.size(), file.read_at(1000, 0)

A key is any text. pyarrow takes it for a path: it refuses parts that are empty, and its client resolves "." and "..".
Signed as Amazon's Signature Version 4 says, with the keys of the environment or of AWS_PROFILE's file.
"""

from __future__ import annotations

import configparser
import hashlib
import hmac
import http.client
import os
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

_EMPTY = hashlib.sha256(b"").hexdigest()
_SILENT_S = 20.0


def is_odd(path: str) -> bool:
    """Tell whether bucket/key has a part that pyarrow does not take as it is."""
    return any(part in ("", ".", "..") for part in path.partition("/")[2].split("/")) and "/" in path


class OddObject:
    """Reads as pyarrow's files do, and fails in their words; FileNotFoundError when there is no such object."""

    def __init__(self, path: str, *, endpoint: str | None, region: str):
        self.path, self._region = path, region
        self._url = urlsplit(endpoint or f"https://s3.{region}.amazonaws.com")
        self._headers = self._request("HEAD", {})[0]

    def size(self) -> int:
        return int(self._headers["Content-Length"])

    def metadata(self) -> dict[str, bytes]:
        """Note what tells this object from another one in its place; the time as pyarrow writes it."""
        written = parsedate_to_datetime(self._headers["Last-Modified"]).astimezone(timezone.utc)
        return {"ETag": self._headers["ETag"].encode(), "Last-Modified": f"{written:%Y-%m-%dT%H:%M:%SZ}".encode()}

    def read_at(self, count: int, at: int) -> bytes:
        return self._request("GET", {"Range": f"bytes={at}-{at + count - 1}"})[1]

    def _request(self, verb: str, headers: dict[str, str]) -> tuple[http.client.HTTPMessage, bytes]:
        name = quote(f"/{self.path}", safe="/~")
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.netloc, timeout=_SILENT_S)
        try:
            connection.request(verb, name, headers=headers | self._signature(verb, name))
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise OSError(f"AWS Error NETWORK_CONNECTION during {verb} operation: {error}") from error
        finally:
            connection.close()
        if answer.status == 404:
            raise FileNotFoundError(self.path)
        if answer.status not in (200, 206):
            what = "ACCESS_DENIED" if answer.status in (401, 403) else f"status {answer.status}"
            raise OSError(f"AWS Error {what} during {verb} operation: {answer.reason}")
        return answer.headers, data

    def _signature(self, verb: str, name: str) -> dict[str, str]:
        """Make the headers that say who asks, and prove it."""
        access, secret, token = _credentials()
        if not access:
            raise OSError("AWS Error ACCESS_DENIED during signing operation: a key that is no path needs access keys")
        now = datetime.now(timezone.utc)
        headers = {"host": self._url.netloc, "x-amz-content-sha256": _EMPTY, "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}"}
        headers |= {"x-amz-security-token": token} if token else {}
        signed = ";".join(sorted(headers))
        lines = [verb, name, "", *(f"{key}:{headers[key]}" for key in sorted(headers)), "", signed, _EMPTY]
        scope = f"{now:%Y%m%d}/{self._region}/s3/aws4_request"
        request = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        key = f"AWS4{secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, request])
        proof = hmac.digest(key, text.encode(), "sha256").hex()
        told = f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={signed}, Signature={proof}"
        return {key: value for key, value in headers.items() if key != "host"} | {"Authorization": told}


def _credentials() -> tuple[str, str, str]:
    """Find the access key, its secret, and the token of a session or ""."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    access, secret, token = (os.environ.get(name, "") for name in names)
    if access and secret:
        return access, secret, token
    file = configparser.ConfigParser()
    place = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials"
    file.read(place)
    profile = os.environ.get("AWS_PROFILE", "default")
    keys = file[profile] if file.has_section(profile) else {}
    access, secret, token = (keys.get(name.lower(), "") for name in names)
    return access, secret, token
