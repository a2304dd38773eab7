"""The review server as programs and strangers meet it: what it serves, what it refuses, and what it remembers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from urllib.parse import quote

import clip_library as clips
import httpx
import pytest
from click.testing import CliRunner
from review_site import HOSTILE, TOKEN, app_of, made_up, running

from ndvr.operators.library.decisions import Decisions
from ndvr.operators.library.library import Library
from ndvr.operators.storage.object_store import stat_objects
from ndvr.operators.storage.store import Store
from ndvr.operators.storage.video_files import uri_of
from ndvr.pipeline.cli import main
from ndvr.pipeline.review.found import read_found
from ndvr.pipeline.review.guard import COOKIE, HEADERS
from ndvr.pipeline.review.keep import Facts, groups_of, keep_plan
from ndvr.pipeline.review.media import Files, NotServed
from ndvr.pipeline.review.pairs import Video
from ndvr.pipeline.review.server import make_app
from ndvr.pipeline.review.state import State
from ndvr.pipeline.search.verdict import Verdict

pytestmark = pytest.mark.slow

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@contextlib.contextmanager
def visitor(app, **known):
    """Somebody who talks to the server over a real socket."""
    with running(app) as address, httpx.Client(base_url=address, timeout=120, **known) as client:
        yield client


@pytest.fixture(scope="module")
def site(collection):
    app, state = app_of(collection, made_up(40, HOSTILE))
    with visitor(app, headers=BEARER) as client:
        client.state, client.routes = state, app.app.routes
        yield client


@pytest.fixture
def folder(collection):
    """The collection, without decisions when the test is over."""
    yield collection
    shutil.rmtree(collection / "library" / "decisions", ignore_errors=True)


@pytest.fixture(autouse=True)
def _as_of_now(site):
    yield
    site.state._forget()


def number_of(site, a: str, b: str) -> int:
    rows = site.get("/matches", params={"limit": 500}).json()["matches"]
    return next(row["match"] for row in rows if {row["a_id"], row["b_id"]} == {a, b})


# --- Who gets in


def test_only_who_has_the_token_gets_in_and_the_address_becomes_a_strict_cookie(folder):
    app, _ = app_of(folder)
    with visitor(app) as stranger:
        for path in ("/", "/matches", "/style.css", "/openapi.json", "/matches/0/a/video", "/nothing"):
            assert stranger.get(path).status_code == 401
        assert stranger.get("/?token=wrong").status_code == 401
        let_in = stranger.get(f"/?token={TOKEN}")
        assert (let_in.status_code, let_in.headers["location"]) == (303, "/")
        cookie = let_in.headers["set-cookie"].lower()
        assert cookie.startswith(f"{COOKIE}=") and "httponly" in cookie and "samesite=strict" in cookie
        assert TOKEN not in cookie, "a cookie goes to every port of a host"
        assert stranger.get("/").status_code == stranger.get("/matches").status_code == 200


def test_a_page_of_another_site_cannot_decide_or_read(site, folder):
    app, _ = app_of(folder)
    body = {"match": 0, "verdict": "different"}
    with visitor(app) as victim:
        victim.get(f"/?token={TOKEN}")
        assert victim.post("/decisions", json=body).status_code == 401, "a cookie alone"
        assert victim.post(f"/decisions?token={TOKEN}", json=body).status_code == 401
        assert victim.post("/search?id=film").status_code == 401
        assert (
            "access-control-allow-origin" not in victim.options("/decisions", headers={"Origin": "http://evil"}).headers
        )
    rebound = site.get("/matches", headers={"Host": "evil.example:8400"})
    assert rebound.status_code == 421 and "matches" not in rebound.json()
    assert site.get("/matches", headers={"Host": "localhost:8400"}).status_code == 200
    assert site.get("/decisions").json()["decisions"] == 0


def test_every_answer_forbids_what_comes_from_elsewhere(site):
    for path in ("/", "/matches", "/matches/0/a/video", "/docs", "/nothing"):
        answer = site.get(path)
        for name in HEADERS:
            assert name in answer.headers, (path, name)
    policy = site.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy


# --- Which files are served


def test_a_video_is_served_by_ranges(site, collection):
    number = number_of(site, "film", "faster")
    pair = site.state.pairs[number]
    side = "a" if pair.a.video_id == "film" else "b"
    data = (collection / "videos" / "film.mp4").read_bytes()
    path = f"/matches/{number}/{side}/video"
    whole = site.get(path)
    assert (whole.status_code, whole.content, whole.headers["accept-ranges"]) == (200, data, "bytes")
    assert whole.headers["content-type"] == "video/mp4"
    for text, part in {"bytes=0-9": data[:10], "bytes=100-": data[100:], "bytes=-7": data[-7:]}.items():
        answer = site.get(path, headers={"Range": text})
        assert (answer.status_code, answer.content) == (206, part)
        assert answer.headers["content-range"].endswith(f"/{len(data)}")
    for text in (f"bytes={len(data)}-", "bytes=9-3", "bytes=99999999999999-"):
        answer = site.get(path, headers={"Range": text})
        assert (answer.status_code, answer.content, answer.headers["content-range"]) == (
            416,
            b"",
            f"bytes */{len(data)}",
        )
    for text in ("bytes=0-1,5-6", "lines=0-1", "bytes=-", "bytes=a-b"):
        assert site.get(path, headers={"Range": text}).content == data
    assert site.head(path).headers["content-length"] == str(len(data))


@pytest.mark.parametrize(
    "path",
    [
        "/matches/0/../../etc/passwd",
        "/matches/0/..%2f..%2fetc%2fpasswd/video",
        "/matches/%2e%2e/a/video",
        "/matches/-1/a/video",
        "/matches/99999/a/video",
        "/matches/0/c/video",
        "/../pipeline/review/server.py",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/templates/review.html",
        "/style.css/..%2f..%2fserver.py",
        f"/matches/{quote('film', safe='')}/a/video",
    ],
)
def test_no_address_leads_to_another_file(site, path):
    answer = site.get(path)
    assert answer.status_code == 404
    assert b"root:" not in answer.content and b"def " not in answer.content


def test_what_took_a_files_place_is_not_served(tmp_path):
    video_file, secret = tmp_path / "video.mp4", tmp_path / "secret"
    clips.clip(video_file, clips.scene(3, 1))
    stat, data = video_file.stat(), video_file.read_bytes()
    video = Video(
        video_id="v", content="c", uri=str(video_file), bytes=stat.st_size, mtime_ns=stat.st_mtime_ns,
        sha256=hashlib.sha256(data).hexdigest(),
    )  # fmt: skip
    files = Files()
    with files.open(video) as source:
        assert source.read(0, 1 << 20) == data
    os.utime(video_file)  # another time of change, the same bytes
    with files.open(video) as source:
        assert source.size == stat.st_size
    secret.write_bytes(bytes(stat.st_size))  # of the same size
    video_file.unlink()
    for put in (lambda: video_file.symlink_to(secret), lambda: video_file.mkdir(), lambda: os.mkfifo(video_file)):
        put()
        with pytest.raises(NotServed), files.open(video):
            pass
        with pytest.raises(NotServed):
            files.picture(video, 0.0, 72)
        video_file.rmdir() if video_file.is_dir() and not video_file.is_symlink() else video_file.unlink()
    with pytest.raises(NotServed), files.open(video):
        pass
    with pytest.raises(NotServed), files.open(replace(video, uri="/dev/zero", bytes=0)):
        pass
    files.close()


def test_an_object_is_served_by_ranges_too_and_not_when_it_was_changed(s3, tmp_path):
    data = clips.clip(tmp_path / "video.mp4", clips.scene(3, 2)).read_bytes()
    store = Store("s3://bucket/review")
    store.write("video.mp4", data)
    uri = "s3://bucket/review/video.mp4"
    ((size, mtime_ns),) = stat_objects([uri])
    video, files = Video(video_id="v", content="c", uri=uri, bytes=size, mtime_ns=mtime_ns), Files()
    with files.open(video) as source:
        assert source.read(10, 20) == data[10:30] and source.read(size - 3, 99) == data[-3:]
    assert files.picture(video, 1.0, 72).startswith(b"\xff\xd8")
    assert files.header(video).codec == "h264"
    with pytest.raises(NotServed, match="was changed"), files.open(replace(video, bytes=size + 1)):
        pass
    with pytest.raises(NotServed, match="no object"), files.open(replace(video, uri=f"{uri}.gone")):
        pass
    files.close()


def test_a_file_whose_name_is_no_text_is_a_file_of_this_machine(tmp_path):
    made = clips.clip(tmp_path / "video.mp4", clips.scene(3, 1))
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    os.rename(made, path)
    stat = os.stat(path)
    video, files = (
        Video(video_id="v", content="c", uri=uri_of(path), bytes=stat.st_size, mtime_ns=stat.st_mtime_ns),
        Files(),
    )
    with files.open(video) as source:
        assert source.size == stat.st_size and source.read(4, 4) == b"ftyp"
    assert files.picture(video, 0.0, 72).startswith(b"\xff\xd8")
    files.close()


@pytest.mark.parametrize("name", ["pairs.parquet", "searches/segments", "searches/matches"])
def test_pairs_with_a_changed_byte_are_told(collection, tmp_path, name):
    place = shutil.copytree(collection / "pairs", tmp_path / "pairs") / name
    (path,) = [place] if place.is_file() else place.iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="is damaged"):
        read_found(tmp_path / "pairs")


def test_what_browsers_do_not_play_is_told_and_shown_as_pictures(site):
    number = number_of(site, "film", "old")
    details = site.get(f"/matches/{number}").json()
    assert {details[side]["video_id"]: details[side]["plays"] for side in "ab"} == {"film": True, "old": False}
    side = next(side for side in "ab" if details[side]["video_id"] == "old")
    first, later = (site.get(f"/matches/{number}/{side}/picture?at={at}&height=90") for at in (0, 4))
    assert first.content.startswith(b"\xff\xd8") and first.headers["content-type"] == "image/jpeg"
    assert first.content != later.content
    for wrong in ("at=nan", "at=-1", "height=100000", "at=x"):
        assert site.get(f"/matches/{number}/{side}/picture?{wrong}").status_code == 400


# --- Pairs, decisions, searches


def test_a_hundred_thousand_pairs_come_in_pages(folder):
    app, state = app_of(folder, made_up(100_000))
    total = len(state.pairs)
    with visitor(app, headers=BEARER) as client:
        page = client.get("/matches?offset=99990&limit=50").json()
        assert (page["total"], len(page["matches"])) == (total, min(50, total - 99_990))
        doubt = client.get("/matches?order=doubt&limit=2").json()["matches"]
        assert doubt[0]["false_per_million"] > doubt[1]["false_per_million"]
        assert client.get("/matches?text=VIDEO-099999").json()["total"] == 1
        assert client.get("/matches?limit=501").status_code == client.get("/matches?order=x").status_code == 400
        assert client.get("/matches?offset=-1").status_code == client.get("/matches?offset=x").status_code == 400


def test_hostile_ids_come_back_as_they_are_in_json_and_never_in_the_page(site):
    rows = site.get("/matches", params={"limit": 500}).json()["matches"]
    assert set(HOSTILE) <= {row["a_id"] for row in rows}
    for id_ in HOSTILE[:2]:
        assert id_ not in site.get("/").text


def test_two_reviewers_decide_at_once_and_see_each_other(site, folder):
    number = number_of(site, "film", "mirrored")
    first = site.post("/decisions", json={"match": number, "verdict": "same", "who": "ann", "note": "sure"})
    assert first.status_code == 201 and first.json()["contradictions"] == []
    second = site.post("/decisions", json={"a": "film", "b": "mirrored", "verdict": "different", "who": "bob"}).json()
    assert "the word of bob counts" in second["contradictions"][0]
    row = site.get(f"/matches/{number}").json()
    assert row["verdict"] == "different" and len(row["said"]) == 2
    assert site.get("/matches?state=different").json()["total"] == 1
    undone = site.post("/decisions/undo", json={"who": "bob"}).json()["decided"][0]
    assert undone["verdict"] == "undo"
    assert site.get(f"/matches/{number}").json()["verdict"] == "same"
    done = CliRunner().invoke(main, ["decide", str(folder / "library"), "film", "faster", "same", "--who", "eve"])
    assert done.exit_code == 0
    site.state._forget()  # a second goes by
    assert site.get("/decisions").json()["verdicts"]["same"] == 2
    assert read_found(folder / "pairs", folder / "library").rejected == 0


@pytest.mark.parametrize(
    "body",
    [
        {"match": 0, "verdict": "perhaps"},
        {"match": 10**9, "verdict": "same"},
        {"match": True, "verdict": "same"},
        {"match": -1, "verdict": "same"},
        {"a": "film", "b": "../x", "verdict": "same"},
        {"match": 0, "verdict": "same", "path": "/etc"},
        [],
        "same",
    ],
)
def test_decisions_that_do_not_fit_are_refused(site, body):
    assert site.post("/decisions", content=json.dumps(body)).status_code in (400, 404)
    assert site.get("/decisions").json()["decisions"] == 0


def test_groups_say_what_to_keep_and_why_and_people_may_say_otherwise(site, folder):
    group = site.get("/groups").json()["groups"][0]
    actions = {video["video_id"]: video["action"] for video in group["videos"]}
    assert actions.pop(group["keep"]) == "keep" and set(actions.values()) == {"may go"} and len(actions) == 3
    assert group["by_rule"]["longest"] in ("film", "mirrored") and "the longest" in group["reason"]
    oldest = site.get("/groups?keep=oldest").json()["groups"][0]
    assert oldest["keep"] == oldest["by_rule"]["oldest"]
    for other in ("film", "mirrored", "faster"):
        site.post("/decisions", json={"a": "old", "b": other, "verdict": "keep"})
    group = site.get("/groups").json()["groups"][0]
    assert (group["keep"], group["reason"]) == ("old", "people decided to keep it")
    assert site.get("/groups?keep=heaviest").status_code == 400


def test_a_search_answers_as_the_command_does(site, folder, tmp_path):
    new = clips.clip(tmp_path / "new.mp4", clips.EDITS["brighter"](clips.scene(1, 9, size=(160, 90))[:40]))
    answer = site.post("/search?name=../../new.mp4", content=new.read_bytes())
    assert answer.status_code == 200
    found = answer.json()
    done = CliRunner().invoke(main, ["search", str(new), str(folder / "library"), "--json", "--quiet"])
    told = json.loads(done.output.splitlines()[-1])
    keys = ("video_id", "kind", "score", "false_per_million", "segments")
    of = [[{key: match[key] for key in keys} for match in each["answers"][0]["matches"]] for each in (found, told)]
    assert of[0] == of[1] != []
    assert found["answers"][0]["query_id"] == "new.mp4"
    played = site.get(f"/matches/{found['first_match']}/a/video")
    assert played.content == new.read_bytes(), "what was sent can be watched beside its match"
    by_id = site.post("/search?id=faster").json()
    assert "faster" not in {match["video_id"] for match in by_id["answers"][0]["matches"]}
    assert by_id["matches"] >= 1
    assert site.post("/search?id=../film").status_code == site.post("/search").status_code == 400


def test_the_closer_look_gives_segments_and_a_picture(site):
    number = number_of(site, "film", "faster")
    looked = site.get(f"/matches/{number}/evidence").json()
    stored = site.get(f"/matches/{number}").json()["segments"]
    assert looked["segments"] and looked["windows"][0] > 5
    assert looked["segments"][0]["speed"] == pytest.approx(stored[0]["speed"], abs=0.02)
    assert all(0 <= at <= 1 for line in looked["lines"] for at in line)
    assert site.get(f"/matches/{number}/map.png").content.startswith(b"\x89PNG")
    hostile = site.get("/matches/30/evidence")
    assert hostile.status_code == 404 and "error" in hostile.json()


def test_pairs_that_are_left_out_are_shown_when_asked_for_and_back_when_that_is_taken_back(folder):
    arguments = ["decide", str(folder / "library"), "film", "mirrored"]
    assert CliRunner().invoke(main, [*arguments, "different", "--who", "ann"]).exit_code == 0
    app, state = app_of(folder)
    with visitor(app, headers=BEARER) as site:
        total = site.get("/matches").json()["total"]
        (row,) = site.get("/matches?state=different").json()["matches"]
        assert {row["a_id"], row["b_id"]} == {"film", "mirrored"}
        assert "1 left out, judged not a match" in site.get("/").text
        site.post("/decisions/undo", json={"who": "ann"})
        assert site.get("/matches").json()["total"] == total + 1
        assert site.get("/matches?state=different").json()["total"] == 0


@pytest.mark.parametrize(
    ("sound", "a_may_go", "b_may_go"),
    [("same", True, True), ("silent", True, True), ("other", False, False), ("muted", True, False)],
)
def test_what_may_go_does_not_take_another_sound_with_it(folder, sound, a_may_go, b_may_go):
    found = read_found(folder / "pairs", folder / "library")
    pair = next(pair for pair in found.pairs if {pair.a.video_id, pair.b.video_id} == {"film", "mirrored"})
    verdict = Verdict(
        video_id=pair.b.video_id, picture="same", sound=sound, together=0.0, by_picture=None, by_sound=None
    )
    (group,) = groups_of(replace(found, pairs=[replace(pair, verdict=verdict)]))
    for goes, stays, may_go in ((pair.a, pair.b, a_may_go), (pair.b, pair.a, b_may_go)):
        facts = {goes.content: Facts(duration_s=1.0), stays.content: Facts(duration_s=2.0)}
        kept, other = keep_plan(1, group, facts, ("longest",), Decisions())
        assert (kept.video_id, other.video_id) == (stays.video_id, goes.video_id)
        assert other.action == ("may go" if may_go else "look")
        assert may_go or "sound" in other.reason


def test_without_matches_it_shows_what_was_decided_also_of_files(folder, tmp_path):
    new = clips.clip(tmp_path / "new.mp4", clips.scene(8, 4))
    arguments = ["decide", str(folder / "library"), str(new), "film"]
    assert CliRunner().invoke(main, [*arguments, "different"]).exit_code == 0
    state = State(Library(folder / "library"), None, "ann")
    with visitor(make_app(state, token=TOKEN, hosts={"localhost"}), headers=BEARER) as site:
        (row,) = site.get("/matches").json()["matches"]
        assert (row["a_id"], row["b_id"], row["verdict"]) == (str(new), "film", "different")


def test_of_a_pair_of_which_only_a_score_is_known_nothing_is_said_but_what_is_heard(folder):
    app, state = app_of(folder)
    pairs = {(pair.a.video_id, pair.b.video_id): pair for pair in state.pairs}
    ears = state._ears[0]
    for names, said in ((("faster", "film"), None), (("film", "mirrored"), "same sound; the picture cannot be judged")):
        heard = ears.hear(replace(pairs[names], kind="alike", segments=()), ())
        assert (heard and heard.words) == said


def test_a_pair_is_listened_to_where_the_library_has_sound(site):
    heard = site.get(f"/matches/{number_of(site, 'film', 'mirrored')}/sound").json()
    assert heard["picture_and_sound"] == "same picture and same sound"
    (segment,) = heard["segments"]
    assert (segment["q_start_s"], segment["v_start_s"]) == (0.0, 0.0) and segment["q_end_s"] > 8
    muted = site.get(f"/matches/{number_of(site, 'film', 'faster')}/sound").json()
    assert "sound" in muted["picture_and_sound"] and muted["segments"] == []
    assert site.get("/matches/30/sound").status_code == 404  # nobody has its features


def test_the_documentation_has_every_address_and_no_other(site):
    described = site.get("/openapi.json").json()
    paths = {(path, method.upper()) for path, methods in described["paths"].items() for method in methods}
    routes = {
        (route.path.replace(":int", ""), method)
        for route in site.routes
        for method in route.methods - {"HEAD"}
        if not route.path.endswith((".css", ".js", ".ico", "/docs", "openapi.json")) and route.path != "/"
    }
    assert paths == routes
    page = site.get("/docs").text
    assert all(path in page for path, _ in paths)


def test_a_plan_is_a_table_and_deletes_nothing(folder, tmp_path):
    table = tmp_path / "plan.csv"
    arguments = [
        "review",
        str(folder / "library"),
        str(folder / "pairs"),
        "--write-plan",
        str(table),
        "--keep",
        "longest,oldest",
    ]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert "1 groups: 1 videos to keep, 3 that may go" in done.output and "nothing was deleted" in done.output
    lines = table.read_text().splitlines()
    assert lines[0] == "group,video_id,action,kept,reason,uri,bytes" and len(lines) == 5
    assert all((folder / "videos" / name).exists() for name in ("film.mp4", "faster.mp4", "mirrored.mp4", "old.avi"))
    assert "choose among longest" in CliRunner().invoke(main, [*arguments[:-1], "best"]).output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])  # Ctrl-C, and a terminal that is closed
def test_the_command_prints_an_address_that_lets_in_and_ends_by_an_interrupt(folder, number):
    command = [sys.executable, "-m", "ndvr", "review", str(folder / "library"), str(folder / "pairs"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().removeprefix("review: ").strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", address)
            page = httpx.get(address, follow_redirects=True, timeout=60)
            assert page.status_code == 200 and "Review" in page.text
            assert httpx.get(address.partition("?")[0], timeout=60).status_code == 401
            server.send_signal(number)
            assert server.wait(30) == 0
        finally:
            server.kill()
