"use strict";
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const root = document.documentElement;
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
const move = (img, on) => { img.src = on ? img.dataset.moving : img.dataset.still; };
for (const button of document.querySelectorAll(".still")) {
  const img = button.firstElementChild;
  button.addEventListener("click", () => move(img, img.src === img.dataset.still));
}
if (!calm) {
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (target.tagName !== "VIDEO") move(target, isIntersecting);
      else if (isIntersecting) target.play().catch(() => {});
      else target.pause();
    }
  });
  for (const clip of document.querySelectorAll(".clip")) seen.observe(clip);
}
for (const table of document.querySelectorAll(".sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, i) => head.firstElementChild.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => row.cells[i].dataset.value ?? row.cells[i].textContent;
    const missing = (row) => row.cells[i].textContent === "–";
    const rows = [...table.tBodies[0].rows].sort((a, b) =>
      missing(a) - missing(b) || (up ? 1 : -1) * (value(a) - value(b) || value(a).localeCompare(value(b), "en", { numeric: true })));
    table.tBodies[0].append(...rows);
  }));
}
