"use strict";
// Everything here is comfort: each step works without it, by links and forms.
(() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  document.documentElement.classList.add("js");

  // Doors: evidence opens beside the claim; closing returns to it.
  let opener = null;
  const door = () => one("#door");
  function openDoor(key) {
    const entry = document.getElementById(key);
    if (!entry || !door()) return false;
    const copy = entry.cloneNode(true);
    all("[id]", copy).concat(copy).forEach((node) => node.removeAttribute("id"));
    all(".back", copy).forEach((node) => node.remove());
    one("#door-body").replaceChildren(...copy.childNodes);
    if (!door().open) door().showModal();
    return true;
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#e-"]');
    if (link && !event.ctrlKey && !event.metaKey && !link.closest(".ev")) {
      if (!link.closest("#door")) opener = link;
      if (openDoor(link.getAttribute("href").slice(1))) event.preventDefault();
      return;
    }
    const inside = event.target.closest("[data-go]");
    if (inside) { event.preventDefault(); go(inside.dataset.go); return; }
    if (event.target.closest("[data-print]")) window.print();
    if (event.target === door()) door().close();
  });
  function restoreOnClose() {
    if (door()) door().addEventListener("close", () => { if (opener) opener.focus(); });
  }
  // Without the popover the list of evidence has to be open where a link leads into it.
  function showTarget() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    const folded = target && target.closest("details");
    if (folded && !folded.open) { folded.open = true; target.scrollIntoView(); }
  }

  // Keys: 1-5, D, W, R, O; they can be turned off.
  const KEYS = "posologist-keys";
  const stored = () => { try { return localStorage.getItem(KEYS); } catch { return null; } };
  let keysOn = stored() !== "off";
  function go(id) {
    const place = document.getElementById(id);
    if (!place) return;
    const folded = place.closest("details") || one("details", place);
    if (folded) folded.open = true;
    place.scrollIntoView({ block: "start" });
    const first = id === "dose" && one('input[name="dose"]:checked', place);
    const goal = id === "override" ? one(".reasons button") : first || one("h2", place) || place;
    goal.focus({ preventScroll: id !== "override" });
  }
  const PLACES = { d: "dose", w: "why", r: "ruled-out", o: "override" };
  document.addEventListener("keydown", (event) => {
    if (!keysOn || event.ctrlKey || event.metaKey || event.altKey || (door() && door().open)) return;
    if (event.target.matches("input:not([type=radio]), select, textarea")) return;
    const key = event.key.toLowerCase();
    const plan = /^[1-5]$/.test(key) && one(`[data-key="${key}"]`);
    if (plan) { event.preventDefault(); plan.focus(); plan.click(); }
    else if (PLACES[key] && document.getElementById(PLACES[key])) { event.preventDefault(); go(PLACES[key]); }
  });
  function keysButton() {
    const button = one("#keys");
    if (!button) return;
    const show = () => { button.textContent = keysOn ? "Keys on" : "Keys off"; button.setAttribute("aria-pressed", String(keysOn)); };
    button.hidden = false;
    show();
    button.addEventListener("click", () => {
      keysOn = !keysOn;
      try { localStorage.setItem(KEYS, keysOn ? "on" : "off"); } catch { /* private window: until reload */ }
      show();
    });
  }

  // Long work says what is being done.
  document.addEventListener("submit", (event) => {
    const text = event.target.dataset.busy;
    if (!text) return;
    one("#busy-text").textContent = text;
    one("#busy").hidden = false;
  });
  window.addEventListener("pageshow", () => { if (one("#busy")) one("#busy").hidden = true; });

  // What fails is said: a refused request shows its own page, a server out of reach leaves all as it was.
  document.addEventListener("htmx:responseError", (event) => location.assign(event.detail.pathInfo.finalRequestPath));
  document.addEventListener("htmx:sendError", () => {
    one("#busy-text").textContent = "The server cannot be reached. Nothing was checked or held; the page is as it was.";
    one("#busy").hidden = false;
  });

  // The curve: the same numbers as the drawing, with a reading at the pointer.
  let drawn = [];
  function draw(root = document) {
    drawn = drawn.filter(({ plot, figure }) => figure.isConnected || (plot.destroy(), false));
    if (typeof uPlot === "undefined") return;
    all("figure.plot[data-curve]:not([data-done])", root).forEach((figure) => {
      figure.dataset.done = "";
      const box = one(".canvas", figure), data = JSON.parse(figure.dataset.curve);
      const make = () => new uPlot(options(figure, data, box.clientWidth), columns(data), box);
      figure.classList.add("live");
      drawn.push({ figure, data, box, plot: make(), make });
    });
  }
  const columns = (d) => [d.x, d.low || d.y, d.high || d.y, d.other || d.y.map(() => null), d.y];
  function options(figure, data, width) {
    const ink = token("--muted"), line = token("--accent"), grid = token("--line"), unit = figure.dataset.unit;
    const read = one(".reading", figure), show = (value) => Number(value.toPrecision(3));
    const tell = (u) => {
      const at = u.cursor.idx;
      const band = data.low && at != null ? ` (${show(data.low[at])} to ${show(data.high[at])})` : "";
      const plan = data.other && at != null ? `; plan ${show(data.other[at])}` : "";
      read.textContent = at == null ? "Point at the curve to read it" : `${data.x[at]} h: ${show(data.y[at])}${band} ${unit}${plan}`;
    };
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "11px Inter" };
    return {
      width, height: 168, padding: [8, 10, 0, 0],
      scales: { x: { time: false }, y: { range: (u, low, high) => [0, Math.max(high, (data.aim && data.aim[1]) || 0) * 1.05] } },
      legend: { show: false }, cursor: { y: false, points: { size: 7 } },
      axes: [{ ...axis, size: 24, incrs: [6, 12, 24, 48, 96, 168] }, { ...axis, size: 44 }],
      bands: [{ series: [2, 1], fill: token("--band") }],
      series: [
        {},
        { stroke: token("--band"), width: 0, points: { show: false } },
        { stroke: token("--band"), width: 0, points: { show: false } },
        { stroke: ink, width: 1.5, dash: [5, 4], points: { show: false }, show: Boolean(data.other) },
        { stroke: line, width: 2, points: { show: false } },
      ],
      hooks: { drawClear: [(u) => aim(u, data.aim)], setCursor: [tell], ready: [tell] },
    };
  }
  function aim(u, band) {
    if (!band) return;
    const top = u.valToPos(band[1] ?? u.scales.y.max, "y", true), low = u.valToPos(band[0] ?? 0, "y", true);
    u.ctx.fillStyle = token("--aim");
    u.ctx.fillRect(u.bbox.left, top, u.bbox.width, low - top);
  }
  function redraw() {
    drawn.forEach((item) => { item.plot.destroy(); item.plot = item.make(); });
  }
  window.addEventListener("resize", () => drawn.forEach(({ plot, box }) => plot.setSize({ width: box.clientWidth, height: 168 })));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  // Numbers that changed are marked until they have been seen.
  let before = new Map();
  const values = () => new Map(all("[data-v]").map((node) => [node.dataset.v, node.textContent]));
  document.addEventListener("htmx:beforeSwap", () => { before = values(); });
  document.addEventListener("htmx:afterSettle", () => {
    all("[data-v]").forEach((node) => {
      const old = before.get(node.dataset.v);
      if (old === undefined || old === node.textContent) return;
      node.classList.add("changed");
      document.addEventListener("pointermove", () => setTimeout(() => node.classList.remove("changed"), 1500), { once: true });
    });
    all("[data-print]").forEach((node) => { node.hidden = false; });
    draw();
  });

  restoreOnClose();
  keysButton();
  all("[data-print]").forEach((node) => { node.hidden = false; });
  draw();
  showTarget();
  window.addEventListener("hashchange", showTarget);
})();
