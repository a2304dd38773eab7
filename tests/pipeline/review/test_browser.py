"""The pages in a real browser: players that keep together, keys, decisions, hostile ids, long lists, phones, dark."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest
from review_site import HOSTILE, TOKEN, app_of, made_up, running

from ndvr.pipeline.review.found_page import write_found_page
from ndvr.pipeline.search.answers import Answer, Match
from ndvr.pipeline.search.out_folder import OutFolder

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")]

# Where the second player is, beyond where the segment says it should be, both read at one moment.
AHEAD_S = """async () => {
    const [a, b] = document.querySelectorAll("video");
    const number = document.querySelector(".stage").dataset.match;
    const [part] = (await (await fetch(`/matches/${number}`)).json()).segments;
    const wanted = part.v_start_s + (a.currentTime - part.q_start_s) * part.speed;
    return {ahead: b.currentTime - wanted, at: a.currentTime, paused: a.paused || b.paused};
}"""


@pytest.fixture(scope="module")
def address(collection):
    app, state = app_of(collection, made_up(1000, HOSTILE))
    with running(app) as address:
        yield address
    state.close()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # As root chromium has no sandbox of its own; what it opens here is made by these tests.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*arguments, "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address, collection):
    """Open the review as a new visitor; nothing may go wrong in the page, and nothing may be loaded from elsewhere."""
    problems, contexts = [], []

    def visit(path: str = f"/?token={TOKEN}", **known):
        context = browser.new_context(**known)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: dialog.type == "beforeunload" or problems.append("a dialog"))
        page.on("request", lambda request: request.url.startswith(address) or problems.append(request.url))
        page.goto(address + path)
        page.wait_for_selector(".row", state="attached")
        until(page, "document.querySelector('.stage').dataset.match !== undefined")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert problems == []
    shutil.rmtree(collection / "library" / "decisions", ignore_errors=True)


def until(page, true: str, timeout_s: float = 20.0) -> None:
    """Wait until an expression holds; from outside, as the page's policy lets nobody evaluate text in it."""
    over = time.monotonic() + timeout_s
    while not page.evaluate(f"() => Boolean({true})"):
        assert time.monotonic() < over, f"still not so: {true}"
        time.sleep(0.05)


def select(page, a: str, b: str) -> None:
    """Show the pair of two ids."""
    found = page.evaluate("async () => (await (await fetch('/matches?limit=50')).json()).matches")
    row = next(row for row in found if {row["a_id"], row["b_id"]} == {a, b})
    page.locator(f"#row-{row['match']}").click()
    until(page, f"document.querySelector('.stage').dataset.match === '{row['match']}'")


def test_the_players_keep_together_at_their_speeds(visit):
    page = visit()
    select(page, "film", "faster")
    until(page, "[...document.querySelectorAll('video')].every(video => video.readyState >= 3)")
    page.keyboard.press(" ")
    until(page, "document.querySelector('video').currentTime > 5")
    now = page.evaluate(AHEAD_S)
    assert not now["paused"] and now["at"] > 5
    assert abs(now["ahead"]) < 0.05
    page.keyboard.press(" ")
    page.keyboard.press("ArrowLeft")  # and after a jump
    until(page, "[...document.querySelectorAll('video')].every(video => !video.seeking)")
    assert abs(page.evaluate(AHEAD_S)["ahead"]) < 0.05


def test_keys_go_through_pairs_and_decide_and_undo(visit):
    page = visit()
    page.keyboard.press("j")
    page.wait_for_selector('#row-1[aria-selected="true"]')
    page.keyboard.press("k")
    page.wait_for_selector('#row-0[aria-selected="true"]')
    page.keyboard.type("ds")  # at once: each is about the pair that stands there by then
    page.wait_for_selector('#row-2[aria-selected="true"]')
    assert page.locator("#row-0 .mark").inner_text() == "no match"
    assert page.locator("#row-1 .mark").inner_text() == "same"
    other = visit()  # another reviewer sees it
    assert other.locator("#row-0 .mark").inner_text() == "no match"
    other.locator("#state").select_option("different")
    until(other, "document.querySelector('#count').textContent === '1 pair'")
    page.keyboard.press("u")
    until(page, "document.querySelector('#row-1 .mark').textContent === ''")
    page.keyboard.press("u")
    until(page, "document.querySelector('#row-0 .mark').textContent === ''")
    page.keyboard.press("u")
    until(page, "document.querySelector('#told').textContent.includes('no decision by ann stands')")


def test_a_page_that_is_closed_at_once_loses_no_decision(visit):
    page, asked = visit(), []

    def stay(dialog):
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.keyboard.type("dsdsd")
    page.close(run_before_unload=True)
    over = time.monotonic() + 20
    while not page.is_closed() and page.locator("#row-4 .mark").inner_text() == "" and time.monotonic() < over:
        page.wait_for_timeout(50)
    other = visit()
    for place, mark in enumerate(("no match", "same", "no match", "same", "no match")):
        until(other, f"document.querySelector('#row-{place} .mark').textContent === {mark!r}")
    assert set(asked) <= {"beforeunload"}
    for _ in range(5):
        other.keyboard.press("u")
    until(other, "[...document.querySelectorAll('.mark')].every(mark => mark.textContent === '')")


def test_laid_over_each_other_flipped_and_slower(visit):
    page = visit()
    select(page, "film", "mirrored")
    assert page.locator(".player.b.flipped").count() == 1, "the search said mirrored"
    page.keyboard.press("f")
    assert page.locator(".player.b.flipped").count() == 0
    page.keyboard.press("1")  # a decision about it lets it stay as it is watched
    until(page, "document.querySelector('.verdict').textContent === 'keep the first'")
    assert page.locator(".player.b.flipped").count() == 0
    page.keyboard.press("m")
    boxes = [page.locator(f".player.{side} video").bounding_box() for side in "ab"]
    assert boxes[0] == boxes[1]
    page.keyboard.press("m")
    assert page.locator(".player.b").evaluate("box => getComputedStyle(box).mixBlendMode") == "difference"
    page.keyboard.press("[")
    assert page.locator("#speed").input_value() == "0.5"
    page.locator(".timeline.picture .part").first.click()
    until(page, "document.querySelector('.timeline .part.chosen')")


def test_what_the_browser_does_not_play_is_shown_as_pictures(visit):
    page = visit()
    select(page, "film", "old")
    image = page.locator('.player[data-pictures="yes"] img:visible')
    image.wait_for()
    until(page, "[...document.images].some(image => image.naturalWidth > 100)")
    before = image.get_attribute("src")
    page.keyboard.press("ArrowRight")
    until(page, f"document.querySelector('.player[data-pictures] img').getAttribute('src') !== {before!r}")


def test_a_row_of_sound_shows_where_it_is_the_same_and_either_can_be_heard(visit):
    page = visit()
    select(page, "film", "mirrored")
    page.locator(".timeline.sound .part").first.wait_for()
    assert "same picture and same sound" in page.locator(".kind").inner_text()
    assert "sound: 00:00.0-00:0" in page.locator(".where").inner_text()
    page.locator(".timeline.sound .part").first.click()
    assert page.locator(".timeline.sound .part.chosen").count() == 1
    muted = "[...document.querySelectorAll('video')].map(video => video.muted).join()"
    for heard in ("false,true", "true,false", "true,true"):
        page.keyboard.press("v")
        assert page.evaluate(muted) == heard
    select(page, "film", "faster")
    until(page, "/sound added|no sound .muted/.test(document.querySelector('.kind').textContent)")
    assert page.locator(".timeline.sound").is_hidden()


def test_the_windows_are_drawn_with_the_segments_in_them(visit):
    page = visit()
    page.locator(".windows summary").click()
    until(page, "document.querySelector('.windows img').naturalWidth > 5")
    assert page.locator(".windows line").count() >= 1


def test_a_thousand_rows_are_few_elements_and_ids_are_text(visit):
    page = visit()
    total = int(page.locator("#count").inner_text().split()[0].replace(",", ""))
    assert total > 1000
    assert page.locator(".row").count() < 40
    page.locator("#list").evaluate("list => list.scrollTop = list.scrollHeight")
    page.wait_for_selector(f"#row-{total - 1}")
    assert page.locator(".row").count() < 40
    for id_ in HOSTILE:
        page.locator("#text").fill(id_)
        until(page, "document.querySelector('#count').textContent === '1 pair'")
        until(page, f"document.querySelector('.title .a-id').textContent === {json.dumps(id_)}")
        assert page.locator("#row-0 .id").first.text_content() == id_
        assert page.locator("#row-0 .id").first.get_attribute("title") == id_
    page.locator("#text").fill("no id has this")
    until(page, "document.querySelector('#count').textContent === '0 pairs'")
    assert "another text, kind or state" in page.locator(".empty:visible").inner_text()
    assert page.title() == "Review"


def test_groups_keep_by_rule_and_by_word(visit):
    page = visit()
    page.locator('[data-view="groups"].tab').click()
    group = page.locator(".group", has_text="faster").first
    group.wait_for(timeout=20_000)
    assert group.locator("tr.keep").count() == 1
    group.locator("tr", has_text="faster").locator("button").click()
    until(page, "document.body.innerText.includes('people decided to keep it')")
    assert "faster" in page.locator(".group", has_text="people decided").first.locator("h2").inner_text()


def test_a_phone_in_the_dark(visit):
    page = visit(viewport={"width": 360, "height": 740}, color_scheme="dark")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 360
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(red, green, blue) < 60
    boxes = [page.locator(f".player.{side}").bounding_box() for side in "ab"]
    assert boxes[1]["y"] >= boxes[0]["y"] + boxes[0]["height"], "one below the other"
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 360 for box in boxes)


def test_a_report_of_a_thousand_matches_is_searched_and_sorted_at_once(browser, tmp_path):
    answers = [
        Answer(
            query_id=f"query-{number:04d}",
            uri="",
            status="searched",
            duration_s=4.0,
            matches=[
                Match(
                    video_id=HOSTILE[number % len(HOSTILE)],
                    kind="copy" if number % 2 else "part",
                    score=0.5 + number / 2000,
                    false_per_million=1000.0 - number,
                    query_covered=1.0,
                    video_covered=1.0,
                    placement="",
                    segments=[],
                )
            ],
        )
        for number in range(1000)
    ]
    OutFolder(tmp_path / "m", {"library": "gone", "config": "", "weights": ""}).write(answers)
    page = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme="dark")
    page.on("dialog", lambda dialog: pytest.fail("an id was run"))
    page.goto(f"file://{write_found_page(tmp_path / 'm', tmp_path / 'page.html')}")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 360
    page.locator("select").nth(1).select_option("rate")
    until(page, "document.querySelector('article').textContent.includes('query-0999')")
    page.locator("input").fill("query-0500")
    until(page, "document.querySelector('.count').textContent === '1 of 1000'")
    assert page.evaluate("document.title") == "Have we seen these videos?"
    took_ms = page.evaluate("""() => {
        const began = performance.now();
        const box = document.querySelector("input");
        box.value = "";
        box.oninput();
        document.body.offsetHeight;
        return performance.now() - began;
    }""")
    assert took_ms < 1000
    page.close()
