// The time lines of both videos with the segments between them: the first above, the second below, each as wide as the page.

const NS = "http://www.w3.org/2000/svg";
const [TOP, BOTTOM, THICK, WIDE] = [2, 68, 14, 1000];

function add(svg, name, attributes, title) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (title) element.appendChild(document.createElementNS(NS, "title")).textContent = title;
  return svg.appendChild(element);
}

export function clock(seconds) {
  const tenths = Math.max(0, Math.round(seconds * 10));
  const minutes = Math.floor(tenths / 600);
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  const short = `${String(minutes % 60).padStart(2, "0")}:${rest}`;
  return minutes >= 60 ? `${Math.floor(minutes / 60)}:${short}` : short;
}

export class Timeline {
  constructor(svg, { onchoose, onseek }) {
    Object.assign(this, { svg, onchoose, onseek });
  }

  /** Draw segments; each has a number, by which it is chosen. */
  draw(segments, a_s, b_s, chosen) {
    this.a_s = Math.max(a_s || 0, ...segments.map((each) => each.q_end_s), 0.1);
    this.b_s = Math.max(b_s || 0, ...segments.map((each) => each.v_end_s), 0.1);
    this.svg.replaceChildren();
    for (const [y, side] of [[TOP, "a"], [BOTTOM, "b"]]) {
      const track = add(this.svg, "rect", { class: "track", x: 0, y, width: WIDE, height: THICK, rx: 3 });
      track.addEventListener("click", (event) => {
        const box = this.svg.getBoundingClientRect();
        const share = (event.clientX - box.left) / box.width;
        this.onseek(side, share * (side === "a" ? this.a_s : this.b_s));
      });
    }
    for (const each of segments) this.#part(each, each.number === chosen);
    this.heads = [TOP, BOTTOM].map((y) => add(this.svg, "line", { class: "head", y1: y - 2, y2: y + THICK + 2, x1: 0, x2: 0 }));
  }

  #part(each, chosen) {
    const above = [each.q_start_s, each.q_end_s].map((at) => (WIDE * at) / this.a_s);
    const below = [each.v_start_s, each.v_end_s].map((at) => (WIDE * at) / this.b_s);
    if (each.reversed) below.reverse();
    const points = [[above[0], TOP], [above[1], TOP], [above[1], TOP + THICK], [below[1], BOTTOM],
      [below[1], BOTTOM + THICK], [below[0], BOTTOM + THICK], [below[0], BOTTOM], [above[0], TOP + THICK]];
    const title = `${clock(each.q_start_s)}-${clock(each.q_end_s)} at ${clock(each.v_start_s)}-${clock(each.v_end_s)}`;
    const attributes = {
      class: chosen ? "part chosen" : "part",
      points: points.map((point) => point.map((value) => value.toFixed(1)).join(",")).join(" "),
      tabindex: 0,
      role: "button",
      "aria-label": title,
    };
    const part = add(this.svg, "polygon", attributes, title);
    part.addEventListener("click", () => this.onchoose(each.number));
    part.addEventListener("keydown", (event) => event.key === "Enter" && this.onchoose(each.number));
  }

  move(a_s, b_s) {
    if (!this.heads) return;
    [[this.heads[0], a_s / this.a_s], [this.heads[1], b_s / this.b_s]].forEach(([head, share]) => {
      const x = (WIDE * Math.min(1, Math.max(0, share))).toFixed(1);
      head.setAttribute("x1", x);
      head.setAttribute("x2", x);
    });
  }
}
