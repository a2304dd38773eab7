"""The review server: a page with two players, and the same for programs; Starlette on this machine's loopback.

    app = make_app(state, token="...", hosts={"localhost"})
    serve(state, host="127.0.0.1", port=8400, say=print)

Videos are addressed by the number of their pair, so that no path and no id ever stands in an address. The API is
described in templates/openapi.json, which /docs shows.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import ndvr
from ndvr.operators.errors import DecodeError
from ndvr.operators.index.kinds import KINDS
from ndvr.pipeline.review.guard import Guard, own_hosts
from ndvr.pipeline.review.keep import DEFAULT, check_rules
from ndvr.pipeline.review.media import BLOCK_BYTES, Files, NotServed, byte_range, media_type
from ndvr.pipeline.review.page import TEMPLATES, render
from ndvr.pipeline.review.pairs import Video
from ndvr.pipeline.review.state import State, Wanted, sound_json

MOST_UPLOAD_BYTES = 8 << 30
_MOST_JSON_BYTES = 1 << 20
_HEIGHTS = (36, 1080)  # of pictures
_TYPES = {".css": "text/css", ".js": "text/javascript"}
_SAID: dict[str, type] = {"match": int, "swap": bool} | dict.fromkeys(("a", "b", "verdict", "note", "who"), str)
_FILES = ("style.css", "review.css", "review.js", "player.js", "timeline.js")


def make_app(state: State, *, token: str, hosts: Collection[str]) -> Guard:
    """Make the server's ASGI app, behind its guard."""

    @asynccontextmanager
    async def living(_: Starlette) -> AsyncIterator[None]:
        yield
        state.close()

    server = _Server(state, token)
    routes = [
        Route("/", server.page),
        *(Route(f"/{name}", _file(name)) for name in _FILES),
        Route("/favicon.ico", _nothing),
        Route("/docs", server.docs),
        Route("/openapi.json", _openapi),
        Route("/matches", server.matches),
        Route("/matches/{number:int}", server.match),
        Route("/matches/{number:int}/evidence", server.evidence),
        Route("/matches/{number:int}/sound", server.sound),
        Route("/matches/{number:int}/map.png", server.map),
        Route("/matches/{number:int}/{side}/video", server.video),
        Route("/matches/{number:int}/{side}/picture", server.picture),
        Route("/groups", server.groups),
        Route("/decisions", server.decisions, methods=["GET"]),
        Route("/decisions", server.decide, methods=["POST"]),
        Route("/decisions/undo", server.undo, methods=["POST"]),
        Route("/search", server.search, methods=["POST"]),
    ]
    handlers: Any = {HTTPException: _failed, ValueError: _refused, NotServed: _missing, DecodeError: _refused}
    return Guard(Starlette(routes=routes, lifespan=living, exception_handlers=handlers), token=token, hosts=hosts)


def serve(state: State, *, token: str, host: str, port: int, say: Callable[[str], None]) -> None:
    """Answer until Ctrl-C; `say` is told the address. ValueError where nothing can listen there."""
    import socket

    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
        listener.listen()  # who connects before the server is up, waits
    except OSError as error:
        raise ValueError(f"cannot listen at {host}:{port}: {error.strerror or error}; --port takes another") from None
    shown = f"[{host}]" if ":" in host else host
    say(f"http://{shown}:{listener.getsockname()[1]}/?token={token}")
    config = uvicorn.Config(make_app(state, token=token, hosts=own_hosts(host)), log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


class _Server:
    def __init__(self, state: State, token: str):
        self.state, self.token = state, token

    async def page(self, _: Request) -> Response:
        state = self.state
        words = {pair.kind: pair.words for pair in state.pairs}
        text = render(
            "review.html",
            title="Review",
            token=self.token,
            library=str(state.library),
            source=state.found.source if state.found else "",
            rejected=state.found.rejected if state.found else 0,
            kinds=[(kind, words[kind]) for kind in (*KINDS, "sound", "alike") if kind in words],
            who=state.who,
            version=ndvr.__version__,
        )
        return HTMLResponse(text)

    async def docs(self, _: Request) -> Response:
        described = _described()
        return HTMLResponse(render("docs.html", title="For programs", api=described, version=ndvr.__version__))

    async def matches(self, request: Request) -> Response:
        given = request.query_params
        known: dict[str, Any] = {name: given[name] for name in ("text", "kind", "state", "order") if name in given}
        wanted = Wanted(**known | _numbers(given, "offset", "limit"))
        total, rows = await run_in_threadpool(self._rows, wanted)
        return JSONResponse({"total": total, "offset": wanted.offset, "matches": rows})

    def _rows(self, wanted: Wanted) -> tuple[int, list[dict[str, Any]]]:
        total, numbers = self.state.listed(wanted)
        return total, [self.state.row(number) for number in numbers]

    async def match(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.state.details, self._number(request)))

    async def evidence(self, request: Request) -> Response:
        number = self._number(request)
        return JSONResponse(await run_in_threadpool(self._evidence, number))

    def _evidence(self, number: int) -> dict[str, Any]:
        looked = self._look(number)
        facts = {"windows": list(looked.matrix.shape), "score": looked.score, "placement": looked.placement}
        return facts | {"segments": [vars(each) for each in looked.segments], "lines": looked.lines()}

    async def sound(self, request: Request) -> Response:
        number = self._number(request)
        try:
            return JSONResponse(sound_json(await run_in_threadpool(self.state.hear, number)))
        except (OSError, ValueError) as error:
            raise HTTPException(404, str(error)) from None

    async def map(self, request: Request) -> Response:
        number = self._number(request)
        return Response(await run_in_threadpool(lambda: self._look(number).picture()), media_type="image/png")

    def _look(self, number: int):
        try:
            return self.state.look(number)
        except (OSError, ValueError) as error:
            raise HTTPException(404, str(error)) from None

    async def video(self, request: Request) -> Response:
        video = self._video(request)
        return await run_in_threadpool(_ranged, self.state.files, video, request.headers.get("range"), request.method)

    async def picture(self, request: Request) -> Response:
        video, given = self._video(request), request.query_params
        try:
            at_s, height = float(given.get("at", 0)), int(given.get("height", 360))
        except ValueError:
            raise HTTPException(400, "at is seconds, height is pixels") from None
        if not 0 <= at_s < 1e6 or not _HEIGHTS[0] <= height <= _HEIGHTS[1]:
            raise HTTPException(400, f"at is from 0, height from {_HEIGHTS[0]} to {_HEIGHTS[1]}")
        jpeg = await run_in_threadpool(self.state.files.picture, video, at_s, height)
        return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    async def groups(self, request: Request) -> Response:
        given = request.query_params
        rules = tuple(given.get("keep", ",".join(DEFAULT)).split(","))
        check_rules(rules)
        page = _numbers(given, "offset", "limit")
        if page.get("offset", 0) < 0 or not 1 <= page.get("limit", 20) <= 100:
            raise HTTPException(400, "offset is 0 or more, limit from 1 to 100")
        return JSONResponse(await run_in_threadpool(lambda: self.state.groups(rules, **page)))

    async def decisions(self, _: Request) -> Response:
        decisions = await run_in_threadpool(lambda: self.state.decisions)
        return JSONResponse(decisions.to_json() | {"rows": [row.to_json() for row in decisions.standing[-500:]]})

    async def decide(self, request: Request) -> Response:
        said = await _json(request, _SAID)
        facts = {name: said[name] for name in ("note", "who") if name in said}
        verdict = said.get("verdict", "")
        if verdict not in ("same", "different", "keep", "note"):
            raise HTTPException(400, "verdict is same, different, keep or note")
        if "match" in said:
            number = self._known(said["match"])
            done = await run_in_threadpool(
                lambda: self.state.decide(number, verdict, swap=said.get("swap", False), **facts)
            )
        else:
            a, b = said.get("a", ""), said.get("b", "")
            done = await run_in_threadpool(lambda: self.state.decide_ids(a, b, verdict, **facts))
        return JSONResponse(done.to_json(), 201)

    async def undo(self, request: Request) -> Response:
        said = await _json(request, {"who": str})
        done = await run_in_threadpool(lambda: self.state.undo(said.get("who", "")))
        return JSONResponse(done.to_json(), 201)

    async def search(self, request: Request) -> Response:
        given = request.query_params
        top = _numbers(given, "top").get("top", 10)
        if not 1 <= top <= 100:
            raise HTTPException(400, "top is from 1 to 100")
        if "id" in given:
            return JSONResponse(await run_in_threadpool(lambda: self.state.search_id(given["id"], top=top)))
        path = self.state.new_file(given.get("name", ""))
        size = 0
        with path.open("wb") as out:
            async for block in request.stream():
                size += len(block)
                if size > MOST_UPLOAD_BYTES:
                    raise HTTPException(413, f"more than {MOST_UPLOAD_BYTES:,} bytes")
                await run_in_threadpool(out.write, block)
        if not size:
            raise HTTPException(400, "send a file as the body, or the id of a video of the library as ?id=")
        return JSONResponse(await run_in_threadpool(lambda: self.state.search(path, top=top)))

    def _number(self, request: Request) -> int:
        return self._known(request.path_params["number"])

    def _known(self, number: int) -> int:
        if not 0 <= number < len(self.state.pairs):
            raise HTTPException(404, f"no match {number}; there are {len(self.state.pairs):,}")
        return number

    def _video(self, request: Request) -> Video:
        pair, side = self.state.pairs[self._number(request)], request.path_params["side"]
        if side not in ("a", "b"):
            raise HTTPException(404, "side is a or b")
        return getattr(pair, side)


def _ranged(files: Files, video: Video, text: str | None, method: str) -> Response:
    """Send a video or a range of it. It is opened again for reading: a browser asks for much that it does not read."""
    with files.open(video) as source:
        size = source.size
    headers = {"accept-ranges": "bytes", "content-type": media_type(video), "cache-control": "private, no-cache"}
    try:
        part = byte_range(text, size)
    except ValueError:
        return Response(status_code=416, headers=headers | {"content-range": f"bytes */{size}"})
    start, end = part or (0, size)
    if part:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    headers["content-length"] = str(end - start)
    status = 206 if part else 200
    if method == "HEAD":
        return Response(status_code=status, headers=headers)
    return StreamingResponse(_blocks(files, video, start, end), status, headers)


def _blocks(files: Files, video: Video, start: int, end: int) -> Iterator[bytes]:
    with files.open(video) as source:
        while start < end:
            block = source.read(start, min(BLOCK_BYTES, end - start))
            if not block:
                raise OSError(f"{video.video_id} ended while it was read")
            start += len(block)
            yield block


def _numbers(given: Any, *names: str) -> dict[str, int]:
    try:
        return {name: int(given[name]) for name in names if name in given}
    except ValueError:
        raise HTTPException(400, f"{', '.join(names)} are whole numbers") from None


async def _json(request: Request, known: dict[str, type]) -> dict[str, Any]:
    """Read the body as an object of known keys, each of its type."""
    data = b""
    async for block in request.stream():
        data += block
        if len(data) > _MOST_JSON_BYTES:
            raise HTTPException(413, "too long")
    try:
        value = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is no JSON") from None
    if not isinstance(value, dict) or any(type(value[name]) is not known.get(name) for name in value):
        raise HTTPException(400, f"the body is an object with {', '.join(known)}")
    return value


def _file(name: str) -> Callable[[Request], Any]:
    kind = _TYPES[name[name.rindex(".") :]]

    async def answer(_: Request) -> Response:
        data = (TEMPLATES / name).read_bytes()
        return Response(data, media_type=kind, headers={"cache-control": "private, no-cache"})

    return answer


def _described() -> dict[str, Any]:
    api = json.loads((TEMPLATES / "openapi.json").read_text(encoding="utf-8"))
    api["info"]["version"] = ndvr.__version__
    return api


async def _nothing(_: Request) -> Response:
    return Response(status_code=204)


async def _openapi(_: Request) -> Response:
    return JSONResponse(_described())


def _failed(_: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code)


def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


def _missing(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 404)
