// Tell the query under the pointer and its AP in each run. The numbers are those of _charts.py: the plot's left edge and
// width in a picture that is 940 wide.
const CHART = { width: 940, left: 34, plot: 896 };
const runs = JSON.parse(document.querySelector("#runs").textContent);

for (const card of document.querySelectorAll(".wide")) {
  const data = JSON.parse(card.querySelector("script").textContent);
  const picture = card.querySelector("svg");
  const pointed = card.querySelector(".pointed");

  picture.onpointermove = (event) => {
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * CHART.width;
    const place = Math.floor(((x - CHART.left) / CHART.plot) * data.queries.length);
    const query = Math.min(data.queries.length - 1, Math.max(0, place));
    const values = data.ap.map((ap, run) => {
      const name = runs.length > 1 ? runs[run] : "AP";
      return `${name} ${ap[query] === null ? "none" : ap[query].toFixed(4)}`;
    });
    pointed.textContent = `${data.queries[query]}:  ${values.join("   ")}`;
  };
}
