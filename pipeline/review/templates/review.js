// The review page: list, pair, decisions, keys. All text that comes from outside is set as text.
import { Pair, Player } from "./player.js";
import { Timeline, clock } from "./timeline.js";

const ROW = 62; // pixels, as review.css says
const PAGE = 50;
const $ = (selector) => document.querySelector(selector);
const token = $('meta[name="token"]').content;
const list = $("#list");
const stage = $(".stage");

async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error || answer.statusText);
  return value;
}

function send(path, body = {}) {
  const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
  return ask(path, { method: "POST", keepalive: true, headers, body: JSON.stringify({ who: $("#who").value, ...body }) });
}

function element(name, { text, ...attributes } = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  made.append(...inside);
  return made;
}

// One after the other: who types fast decides about the pair that was chosen, not about the one still on the screen.
let last = Promise.resolve();
let waiting = 0;

function inTurn(act) {
  waiting += 1;
  last = last
    .then(act)
    .catch((error) => tell(error.message, true))
    .finally(() => (waiting -= 1));
  return last;
}

// Who closes the page while decisions are on their way is asked; one that was sent arrives all the same.
addEventListener("beforeunload", (event) => waiting && event.preventDefault());

function tell(text, bad = false) {
  $("#told").textContent = text;
  $("#told").classList.toggle("bad", bad);
}

// --- The list: pages of rows, of which only those in sight are made

const rows = { pages: new Map(), total: 0, at: -1, query: "", asked: 0 };

function query() {
  const wanted = { text: $("#text").value, kind: $("#kind").value, state: $("#state").value, order: $("#order").value };
  return new URLSearchParams(wanted).toString();
}

async function page(number) {
  if (!rows.pages.has(number)) {
    const asked = rows.query;
    const wanted = ask(`/matches?${asked}&offset=${number * PAGE}&limit=${PAGE}`).then((found) => {
      if (asked === rows.query) rows.total = found.total;
      return found.matches;
    });
    rows.pages.set(number, wanted);
    wanted.catch(() => rows.pages.delete(number));
  }
  return rows.pages.get(number);
}

async function rowAt(place) {
  return (await page(Math.floor(place / PAGE)))[place % PAGE];
}

async function reload(select = 0) {
  rows.query = query();
  rows.pages.clear();
  const asked = ++rows.asked;
  await page(0);
  if (asked !== rows.asked) return;
  list.querySelector(".space").style.height = `${rows.total * ROW}px`;
  drawCount();
  const empty = rows.total === 0;
  $(".empty").hidden = !empty;
  const asksForAll = !$("#text").value && !$("#kind").value && $("#state").value === "all";
  $(".empty").textContent = asksForAll
    ? "No pairs yet: search for a video, or start `ndvr review LIBRARY MATCHES` with what a search or a dedupe wrote."
    : "No pair fits what you ask for: another text, kind or state may show some.";
  $(".shown").hidden = empty;
  if (empty) list.querySelectorAll(".row").forEach((row) => row.remove());
  else await go(Math.min(select, rows.total - 1));
  await drawRows();
}

function drawCount() {
  $("#count").textContent = `${rows.total.toLocaleString("en")} ${rows.total === 1 ? "pair" : "pairs"}`;
}

async function drawRows() {
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
  const last = Math.min(rows.total, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 4);
  const asked = rows.query;
  const pages = [];
  for (let number = Math.floor(first / PAGE); number * PAGE < last; number++) pages.push(page(number));
  await Promise.all(pages);
  const made = [];
  for (let place = first; place < last; place++) {
    const row = await rowAt(place);
    if (row) made.push(drawRow(row, place));
  }
  if (asked !== rows.query) return;
  list.querySelectorAll(".row").forEach((row) => row.remove());
  list.append(...made);
}

function drawRow(row, place) {
  const mark = row.verdict === "same" ? "same" : row.verdict === "different" ? "no match" : row.keep ? "keep" : "";
  const sure = row.sure ? `, ${row.sure}` : "";
  const made = element(
    "div",
    { class: "row", role: "option", "aria-selected": place === rows.at, id: `row-${place}` },
    element("span", { class: "id", text: row.a_id, title: row.a_id }),
    element("span", { class: "id", text: row.b_id, title: row.b_id }),
    element("span", { class: "what", text: `${row.words}${row.score ? `, ${row.score.toFixed(2)}` : ""}${sure}` }),
    element("span", { class: `mark ${row.verdict || ""}`, text: mark }),
  );
  made.style.top = `${place * ROW}px`;
  made.addEventListener("click", () => inTurn(() => go(place)));
  return made;
}

let scrolling = 0;
list.addEventListener("scroll", () => {
  cancelAnimationFrame(scrolling);
  scrolling = requestAnimationFrame(drawRows);
});

// --- The pair that is shown

const acts = {
  onchoose: (number) => {
    pair.choose(number);
    redraw();
  },
  onseek: (side, at) => (side === "a" ? pair.seek(at) : pair.seekOther(at)),
};
const timelines = { picture: new Timeline($(".timeline.picture"), acts), sound: new Timeline($(".timeline.sound"), acts) };
const [a, b] = [".player.a", ".player.b"].map((name) => new Player($(name)));
const pair = new Pair(a, b, (a_s, b_s) => {
  for (const timeline of Object.values(timelines)) timeline.move(a_s, b_s);
  $(".times").textContent = `${clock(a_s)} and ${clock(b_s)}`;
});
pair.ended = () => ($("#play").textContent = "Play");
for (const player of [a, b]) player.video.addEventListener("durationchange", redraw);
let shown = null;

function redraw() {
  if (!shown) return;
  const numbered = pair.segments.map((each, number) => ({ ...each, number }));
  const heard = numbered.filter((each) => each.sound);
  timelines.picture.draw(numbered.filter((each) => !each.sound), a.duration, b.duration, pair.chosen);
  timelines.sound.draw(heard, a.duration, b.duration, pair.chosen);
  $(".heard").hidden = !heard.length;
  $(".timeline.picture").toggleAttribute("hidden", heard.length > 0 && heard.length === numbered.length);
}

const ofSound = (segments) => segments.map((each) => ({ ...each, sound: true }));

async function go(place) {
  if (place < 0 || place >= rows.total) return;
  rows.at = place;
  const top = place * ROW;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  const row = await rowAt(place);
  await Promise.all([drawRows(), show(row.match)]);
  pause().then(() => rows.at === place && ahead(place + 1));
}

const pause = () => new Promise((done) => setTimeout(done, 200)); // who goes through many pairs looks at none

/** Let the server read what the next pair is, so that it stands there at once. */
async function ahead(place) {
  if (place >= rows.total) return;
  await rowAt(place).then((row) => row && ask(`/matches/${row.match}`)).catch(() => {});
}

async function show(number) {
  $(".shown").classList.add("waiting");
  const details = await ask(`/matches/${number}`).finally(() => $(".shown").classList.remove("waiting"));
  if (shown?.match === number) {
    // decided about: who watches it goes on watching
    Object.assign(shown, details);
    drawKind();
    drawVerdict();
    return;
  }
  shown = details;
  drawKind();
  $(".a-id").textContent = details.a.video_id;
  $(".b-id").textContent = details.b.video_id;
  drawVerdict();
  const covers = details.a_covered === null ? "" : `; covers ${Math.round(100 * details.a_covered)}% of the first, ${Math.round(100 * details.b_covered)}% of the second`;
  $(".facts").textContent = `score ${details.score ? details.score.toFixed(3) : "not known"}${details.sure ? `, ${details.sure}` : ""}${covers}`;
  $(".where").replaceChildren(...details.where.map((text) => element("li", { text })));
  $(".windows").open = false;
  flip(/mirrored/.test(details.placement));
  stage.dataset.match = number;
  pair.load(details, [...(details.segments ?? []), ...ofSound(details.sound?.segments ?? [])]);
  $("#play").textContent = "Play";
  redraw();
  look(details);
}

/** Find out what is not known of a pair yet, its segments and its sound, which takes a moment; nobody waits for it. */
async function look(details) {
  await pause();
  if (details.segments === null && shown === details) {
    const found = await ask(`/matches/${details.match}/evidence`).catch(() => null);
    if (found && shown === details) pair.add(found.segments);
  }
  if (details.sound === null && shown === details) {
    const heard = await ask(`/matches/${details.match}/sound`).catch(() => null);
    if (!heard || shown !== details) return;
    details.sound = heard;
    drawKind();
    $(".where").append(...heard.where.map((text) => element("li", { text })));
    pair.add(ofSound(heard.segments));
  }
  if (shown === details) redraw();
}

function drawKind() {
  $(".kind").textContent = [shown.words, shown.sound?.picture_and_sound].filter(Boolean).join("; ");
}

function drawVerdict() {
  const words = { same: "same", different: "not a match" }[shown.verdict] || "";
  const kept = shown.keep ? `keep the ${shown.keep === "a" ? "first" : "second"}` : "";
  $(".verdict").textContent = [words, kept].filter(Boolean).join(", ") || "not decided";
  $(".verdict").className = `tag verdict ${shown.verdict || ""}`;
  $(".said").replaceChildren(...shown.said.map((text) => element("li", { text })));
}

function flip(on) {
  $(".player.b").classList.toggle("flipped", on);
  $("#flip").setAttribute("aria-pressed", on);
}

function mode(name) {
  stage.className = `stage ${name}`;
  $("#mode").value = name;
}

async function playOrPause() {
  if (pair.playing) pair.pause();
  else {
    const part = pair.segments[pair.chosen];
    if (part && a.time >= part.q_end_s - 0.05) pair.seek(part.q_start_s);
    await pair.play();
  }
  $("#play").textContent = pair.playing ? "Pause" : "Play";
}

function speed(step) {
  const choices = $("#speed");
  choices.selectedIndex = Math.min(choices.length - 1, Math.max(0, choices.selectedIndex + step));
  pair.setSpeed(+choices.value);
}

/** Let one of the two be heard, or none. */
function sound(step) {
  const choices = $("#sound");
  choices.selectedIndex = (choices.selectedIndex + step) % choices.length;
  a.video.muted = choices.value !== "a";
  b.video.muted = choices.value !== "b";
}

$(".windows").addEventListener("toggle", async () => {
  if (!$(".windows").open) return;
  const number = stage.dataset.match;
  const [image, lines, problem] = [".windows img", ".windows svg", ".windows .problem"].map($);
  problem.textContent = "";
  try {
    const found = await ask(`/matches/${number}/evidence`);
    image.src = `/matches/${number}/map.png`;
    lines.replaceChildren(
      ...found.lines.map(([x1, y1, x2, y2]) => {
        const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
        for (const [key, value] of Object.entries({ x1, y1, x2, y2 })) line.setAttribute(key, value);
        return line;
      }),
    );
    await image.decode().catch(() => {});
    lines.style.height = `${image.clientHeight}px`;
  } catch (error) {
    problem.textContent = error.message;
  }
});

// --- Decisions

async function decide(body, advance) {
  if (!shown) return;
  const place = rows.at;
  try {
    const done = await send("/decisions", { match: shown.match, note: $("#note").value, ...body });
    $("#note").value = "";
    const [{ a_id, b_id, verdict }] = done.decided;
    const words = { same: `${a_id} and ${b_id}: same`, different: `${a_id} and ${b_id}: not a match`, keep: `${a_id} is kept` }[verdict];
    const against = done.contradictions.join(" ");
    tell(against ? `Contradiction: ${against}` : words, Boolean(against));
    await refresh(advance ? place + 1 : place, place);
  } catch (error) {
    tell(error.message, true);
  }
}

/** Read the rows again. Where decided pairs leave the list, the next one has moved up to the same place. */
async function refresh(place, decided) {
  const filtered = $("#state").value !== "all";
  rows.pages.clear();
  await page(Math.floor(Math.max(0, place) / PAGE));
  list.querySelector(".space").style.height = `${rows.total * ROW}px`;
  drawCount();
  if (rows.total === 0) return reload();
  await go(Math.min(filtered ? decided : place, rows.total - 1));
}

async function undo() {
  try {
    const done = await send("/decisions/undo");
    tell(`Taken back: ${done.decided[0].a_id} and ${done.decided[0].b_id}`);
    await refresh(rows.at, rows.at);
  } catch (error) {
    tell(error.message, true);
  }
}

const ACTIONS = {
  play: playOrPause,
  back: () => pair.seek(a.time - 1),
  on: () => pair.seek(a.time + 1),
  flip: () => flip(!$(".player.b").classList.contains("flipped")),
  same: () => inTurn(() => decide({ verdict: "same" }, true)),
  different: () => inTurn(() => decide({ verdict: "different" }, true)),
  "keep-a": () => inTurn(() => decide({ verdict: "keep" }, false)),
  "keep-b": () => inTurn(() => decide({ verdict: "keep", swap: true }, false)),
  undo: () => inTurn(undo),
  previous: () => inTurn(() => go(rows.at - 1)),
  next: () => inTurn(() => go(rows.at + 1)),
};
for (const [id, action] of Object.entries(ACTIONS)) $(`#${id}`).addEventListener("click", action);
$("#mode").addEventListener("change", (event) => mode(event.target.value));
$("#speed").addEventListener("change", () => speed(0));
$("#sound").addEventListener("change", () => sound(0));

const MODES = ["side", "over", "difference"];
const KEYS = {
  j: ACTIONS.next, k: ACTIONS.previous, s: ACTIONS.same, d: ACTIONS.different, 1: ACTIONS["keep-a"], 2: ACTIONS["keep-b"], u: ACTIONS.undo,
  " ": playOrPause, f: ACTIONS.flip, "[": () => speed(-1), "]": () => speed(1),
  v: () => sound(1),
  m: () => mode(MODES[(MODES.indexOf($("#mode").value) + 1) % MODES.length]),
  ArrowLeft: (event) => pair.seek(a.time - (event.shiftKey ? 0.1 : 1)),
  ArrowRight: (event) => pair.seek(a.time + (event.shiftKey ? 0.1 : 1)),
  "/": () => $("#text").focus(),
};
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  if (event.key === "Escape" && typing) document.activeElement.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || $('.work[data-view="pairs"]').hidden) return;
  if (event.key === " " && document.activeElement.tagName === "BUTTON") document.activeElement.blur();
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action(event);
});

let typed = 0;
$("#text").addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(() => inTurn(() => reload()), 150);
});
for (const id of ["kind", "state", "order"]) $(`#${id}`).addEventListener("change", () => inTurn(() => reload()));

// --- Groups and searches

let groupsShown = 0;

async function groups(more = false) {
  if (!groupsShown) $("#groups").replaceChildren(element("p", { class: "soft", text: "Reading what the files say ..." }));
  const found = await ask(`/groups?keep=${$("#rule").value}&offset=${more ? groupsShown : 0}&limit=20`);
  const cards = found.groups.map(drawGroup);
  if (more) $("#groups").append(...cards);
  else $("#groups").replaceChildren(...cards);
  groupsShown = (more ? groupsShown : 0) + cards.length;
  $("#more").hidden = groupsShown >= found.total;
  if (!found.total) $("#groups").replaceChildren(element("p", { class: "soft", text: "No groups: videos that are copies or parts of each other make one." }));
}

function drawGroup(group) {
  const head = ["video", "length", "picture", "MB", "Mbit/s", "changed", "what to do", ""];
  const keptFirst = [...group.videos].sort((one, other) => (other.action === "keep") - (one.action === "keep"));
  const lines = keptFirst.map((video) => {
    const keep = element("button", { text: "Keep this one" });
    keep.addEventListener("click", async () => {
      const others = group.videos.filter((each) => each.video_id !== video.video_id);
      for (const other of others) await send("/decisions", { a: video.video_id, b: other.video_id, verdict: "keep" });
      await groups();
    });
    const cells = [
      null,
      video.duration_s ? clock(video.duration_s) : "",
      video.size,
      video.bytes ? (video.bytes / 1e6).toFixed(1) : "",
      video.rate_mbit ? video.rate_mbit.toFixed(2) : "",
      video.mtime_ns ? new Date(video.mtime_ns / 1e6).toISOString().slice(0, 10) : "",
    ].map((text) => (text === null ? element("td", { class: "id", text: video.video_id }) : element("td", { text })));
    const why = element("td", { class: "why", text: `${video.action}: ${video.reason}` });
    return element("tr", { class: video.action === "keep" ? "keep" : "" }, ...cells, why, element("td", {}, keep));
  });
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { text })))), element("tbody", {}, ...lines));
  return element("section", { class: "card group" }, element("h2", { text: `Group ${group.group}: keep ${group.keep}` }), element("div", { class: "scroll" }, table));
}

$("#rule").addEventListener("change", () => groups());
$("#more").addEventListener("click", () => groups(true));

async function search(path, body) {
  $("#searched").textContent = "searching ...";
  try {
    const found = await ask(path, { method: "POST", headers: { Authorization: `Bearer ${token}` }, body });
    if (!found.matches) {
      const [answer] = found.answers;
      $("#searched").textContent = answer.message || `not seen, among ${found.videos.toLocaleString("en")} videos`;
      return;
    }
    $("#searched").textContent = `${found.matches} matches`;
    for (const [id, value] of [["text", ""], ["kind", ""], ["state", "all"], ["order", "found"]]) $(`#${id}`).value = value;
    view("pairs");
    await inTurn(() => reload(found.first_match));
  } catch (error) {
    $("#searched").textContent = error.message;
  }
}

$("#by-id").addEventListener("submit", (event) => {
  event.preventDefault();
  search(`/search?id=${encodeURIComponent($("#search-id").value)}`);
});
$("#by-file").addEventListener("submit", (event) => {
  event.preventDefault();
  const [file] = $("#search-file").files;
  if (file) search(`/search?name=${encodeURIComponent(file.name)}`, file);
});

function view(name) {
  for (const part of document.querySelectorAll(".work")) part.hidden = part.dataset.view !== name;
  for (const tab of document.querySelectorAll(".tab")) tab.setAttribute("aria-pressed", tab.dataset.view === name);
  if (name !== "pairs") pair.pause();
  if (name === "groups") groups();
}
for (const tab of document.querySelectorAll(".tab")) tab.addEventListener("click", () => view(tab.dataset.view));

try {
  $("#who").value = localStorage.getItem("who") || $("#who").value;
  $("#who").addEventListener("change", () => localStorage.setItem("who", $("#who").value));
} catch {
  // a browser that keeps nothing
}
addEventListener("resize", drawRows);
inTurn(() => reload());
