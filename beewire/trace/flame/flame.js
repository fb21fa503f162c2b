(() => {
  "use strict";
  const MARGIN = 10, LETTER = 7.22;
  const svg = document.querySelector("svg.flame");
  const total = Number(svg.dataset.total) || 1;
  const alone = svg === document.documentElement;
  const part = (id) => document.getElementById(id);
  const frames = [...svg.querySelectorAll(".f")].map((g) => ({
    g, rect: g.querySelector("rect"), text: g.querySelector("text"),
    x: Number(g.dataset.x), w: Number(g.dataset.w), d: Number(g.dataset.d),
    about: g.querySelector("title").textContent,
  }));
  for (const f of frames) f.name = f.about.slice(0, f.about.lastIndexOf("\n"));
  for (const f of frames) f.label = f.name.replace(/ \([^()]*\)$/, "");
  let shown = frames[0], pattern = null;
  let width = svg.viewBox.baseVal.width;

  // Where a frame is drawn while `shown` fills the width; null where it is not.
  function place(f) {
    const above = f.d < shown.d && f.x <= shown.x && f.x + f.w >= shown.x + shown.w;
    if (above) return [MARGIN, width - 2 * MARGIN, true];
    if (f.d < shown.d || f.x < shown.x || f.x + f.w > shown.x + shown.w) return null;
    const scale = (width - 2 * MARGIN) / shown.w;
    return [MARGIN + (f.x - shown.x) * scale, f.w * scale, false];
  }

  function draw() {
    for (const f of frames) {
      const at = place(f);
      f.g.toggleAttribute("hidden", at === null || at[1] < 0.1);
      if (at === null) continue;
      const [x, w, above] = at;
      f.rect.setAttribute("x", x.toFixed(2));
      f.rect.setAttribute("width", Math.max(w - 0.5, 0.1).toFixed(2));
      f.text.setAttribute("x", (x + 3).toFixed(2));
      const room = Math.floor((w - 6) / LETTER);
      f.text.textContent = room >= f.label.length ? f.label
        : room < 3 ? "" : f.label.slice(0, room - 1) + "\u2026";
      f.g.classList.toggle("above", above);
    }
    part("reset").toggleAttribute("hidden", shown === frames[0]);
  }

  function zoom(f) {
    shown = f;
    draw();
    mark();
  }

  // Colours what matches, and says how much of what is shown lies in it.
  function mark() {
    const matched = part("matched");
    const hits = [];
    for (const f of frames) {
      const hit = pattern !== null && pattern.test(f.name);
      f.g.classList.toggle("found", hit);
      if (hit && place(f) !== null) hits.push(f);
    }
    if (pattern === null) { matched.textContent = alone ? " " : ""; return; }
    let sum = 0, end = -1;
    // Callers come before what they call: what lies in a hit was counted with it.
    for (const f of hits) {
      const from = Math.max(f.x, shown.x), to = Math.min(f.x + f.w, shown.x + shown.w);
      if (from < end) continue;
      sum += to - from;
      end = to;
    }
    matched.textContent = (100 * sum / shown.w).toFixed(1) + " % matches";
  }

  function search(text) {
    try { pattern = text ? new RegExp(text, "i") : null; }
    catch { pattern = new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i"); }
    mark();
  }

  function fit() {
    const room = alone ? window.innerWidth : svg.parentElement.clientWidth;
    width = Math.max(room, 320);
    const height = svg.viewBox.baseVal.height;
    svg.setAttribute("width", width);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    if (alone) {
      for (const id of ["search", "matched"]) part(id).setAttribute("x", width - MARGIN);
      part("reset").setAttribute("x", width - 70);
    }
    draw();
  }

  const of = (target) => {
    const g = target.closest && target.closest(".f");
    return g ? frames.find((f) => f.g === g) : null;
  };
  svg.addEventListener("click", (event) => { const f = of(event.target); if (f) zoom(f); });
  svg.addEventListener("mouseover", (event) => {
    const f = of(event.target);
    part("details").textContent = f ? f.about.replace("\n", ": ") : alone ? " " : "";
  });
  part("reset").addEventListener("click", () => zoom(frames[0]));
  const field = part("search");
  if (alone) {
    const ask = () => {
      const text = window.prompt("Mark functions whose names match (regular expression):", pattern ? pattern.source : "");
      if (text !== null) search(text);
    };
    field.addEventListener("click", ask);
    document.addEventListener("keydown", (event) => {
      if (event.key === "/") { event.preventDefault(); ask(); }
    });
  } else {
    field.addEventListener("input", () => search(field.value));
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && document.activeElement !== field) { event.preventDefault(); field.focus(); }
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (shown !== frames[0]) { zoom(frames[0]); return; }
    if (!alone) field.value = "";
    search("");
  });
  window.addEventListener("resize", fit);
  // On paper it has the width of the page.
  window.addEventListener("beforeprint", () => { if (!alone) { width = 1040; svg.setAttribute("viewBox", `0 0 1040 ${svg.viewBox.baseVal.height}`); draw(); } });
  window.addEventListener("afterprint", fit);
  fit();
})();
