// Find, filter, sort; j and k go from match to match. Without this script all matches stand there, by query.
const controls = document.querySelector(".controls");
const list = document.querySelector(".list");
const cards = [...list.children];
const [search, kind, order] = controls.children;
const count = controls.querySelector(".count");
controls.style.display = "flex";

const ORDERS = {
  found: (card) => +card.dataset.place,
  rate: (card) => +card.dataset.rate,
  doubt: (card) => -card.dataset.rate,
  score: (card) => -card.dataset.score,
  covered: (card) => -card.dataset.covered,
};

function show() {
  const text = search.value.toLowerCase();
  let shown = 0;
  for (const card of cards) {
    card.hidden = !card.dataset.text.includes(text) || (kind.value && card.dataset.kind !== kind.value);
    shown += !card.hidden;
  }
  count.textContent = `${shown} of ${cards.length}`;
}

search.oninput = kind.onchange = show;
order.onchange = () => {
  const key = ORDERS[order.value];
  cards.sort((a, b) => key(a) - key(b) || a.dataset.place - b.dataset.place);
  list.append(...cards);
};

document.addEventListener("keydown", (event) => {
  const step = { j: 1, k: -1 }[event.key];
  if (!step || /INPUT|SELECT/.test(document.activeElement.tagName)) return;
  const shown = cards.filter((card) => !card.hidden);
  const next = shown[Math.min(shown.length - 1, Math.max(0, shown.indexOf(document.activeElement) + step))];
  if (next) {
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }
});

show();
