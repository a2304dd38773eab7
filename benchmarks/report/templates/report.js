// Find and sort the queries; without this script all of them stand there, hardest first.
const controls = document.querySelector(".controls");
const list = document.querySelector(".queries");
const cards = [...list.children];
const [search, order] = controls.children;
controls.style.display = "flex";

search.oninput = () => {
  const text = search.value.toLowerCase();
  for (const card of cards) card.hidden = !card.dataset.text.includes(text);
};

order.onchange = () => {
  const byAp = (a, b) => a.dataset.ap - b.dataset.ap;
  const byName = (a, b) => (a.dataset.text < b.dataset.text ? -1 : 1);
  cards.sort(order.value === "ap" ? byAp : byName);
  list.append(...cards);
};

// Tell the pair under the pointer: each map brings its ids, and its scores as one byte each, 0 for none.
function placeOf(position, start, size, count) {
  return Math.min(count - 1, Math.max(0, Math.floor(((position - start) / size) * count)));
}

for (const map of document.querySelectorAll(".map")) {
  const data = JSON.parse(map.querySelector("script").textContent);
  const levels = atob(data.values);
  const right = new Set(data.right);
  const figure = map.querySelector("figure");
  const pointed = map.querySelector(".pointed");

  figure.onpointermove = (event) => {
    const box = figure.getBoundingClientRect();
    const row = placeOf(event.clientY, box.top, box.height, data.queries.length);
    const column = placeOf(event.clientX, box.left, box.width, data.videos.length);
    const place = row * data.videos.length + column;
    const level = levels.charCodeAt(place);
    const score = level ? (data.low + ((level - 1) / 254) * (data.high - data.low)).toFixed(3) : "no score";
    const mark = right.has(place) ? "  ✓ right" : "";
    pointed.textContent = `${data.queries[row]}  →  ${data.videos[column]}:  ${score}${mark}`;
  };
}
