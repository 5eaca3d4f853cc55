"use strict";
const root = document.documentElement;
const store = { // a browser may forbid it
  get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
  set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* then it is not remembered */ } },
};

const theme = document.getElementById("theme");
const night = matchMedia("(prefers-color-scheme: dark)");
const dark = () => (root.dataset.theme ?? (night.matches ? "dark" : "light")) === "dark";
const name = () => { theme.textContent = dark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `${theme.textContent} colours`); };
const chosen = store.get("ccvd-theme");
if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
theme.hidden = false;
theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; store.set("ccvd-theme", root.dataset.theme); name(); });
night.addEventListener("change", name);
name();

const moving = JSON.parse(document.getElementById("moving").textContent);
const pauseAll = document.getElementById("pause");
const players = [...document.querySelectorAll(".clip")].map((box) => {
  const button = document.createElement("button");
  button.type = "button";
  box.append(button);
  const it = { box, wanted: !matchMedia("(prefers-reduced-motion: reduce)").matches, visible: false, shown: null };
  it.update = () => {
    button.textContent = it.wanted ? "❚❚" : "▶";
    button.setAttribute("aria-label", `${it.wanted ? "Pause" : "Play"}: ${box.dataset.name}`);
    const on = it.wanted && it.visible;
    const video = box.dataset.kind === "video";
    if (on && !it.shown) {
      it.shown = document.createElement(box.dataset.kind);
      if (video) Object.assign(it.shown, { muted: true, loop: true, playsInline: true });
      it.shown.setAttribute("aria-hidden", "true"); // the still says what it is
      it.shown.src = moving[box.dataset.clip];
      box.append(it.shown);
    } else if (!on && it.shown && !video) { // an image cannot be held, but taken away
      it.shown.remove();
      it.shown = null;
    }
    if (video && it.shown) { if (on) it.shown.play().catch(() => {}); else it.shown.pause(); }
  };
  button.addEventListener("click", () => { it.wanted = !it.wanted; it.update(); nameAll(); });
  return it;
});
const nameAll = () => { pauseAll.textContent = players.some((it) => it.wanted) ? "Pause all" : "Play all"; };
pauseAll.hidden = !players.length;
pauseAll.addEventListener("click", () => {
  const on = !players.some((it) => it.wanted);
  for (const it of players) { it.wanted = on; it.update(); }
  nameAll();
});
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const it = players.find((player) => player.box === target);
    it.visible = isIntersecting;
    it.update();
  }
});
for (const it of players) { it.update(); seen.observe(it.box); }
nameAll();

for (const table of document.querySelectorAll(".sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, i) => head.firstElementChild.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => row.cells[i].dataset.value ?? row.cells[i].textContent;
    const missing = (row) => row.cells[i].classList.contains("none");
    const rows = [...table.tBodies[0].rows].sort((a, b) =>
      missing(a) - missing(b) || (up ? 1 : -1) * (value(a) - value(b) || value(a).localeCompare(value(b), "en", { numeric: true })));
    table.tBodies[0].append(...rows);
  }));
}
