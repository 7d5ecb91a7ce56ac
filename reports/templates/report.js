"use strict";
(() => {
  const table = document.getElementById("table");
  if (!table) return;
  const rows = () => [...table.querySelectorAll("tbody tr[data-panel]")];
  const panels = [...document.querySelectorAll("details.panel")];

  const collator = new Intl.Collator("en", { numeric: true });
  const value = (row, column) => row.cells[column].dataset.v;
  const compare = (column, numeric, sign) => (a, b) => {
    const x = value(a, column), y = value(b, column);
    if (x === "" || y === "") return (x === "") - (y === ""); // what has no value stays last
    const order = numeric ? number(x) - number(y) || 0 : collator.compare(x, y);
    return sign * order;
  };
  const number = (text) => (text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text));

  for (const button of table.querySelectorAll("th button")) {
    button.addEventListener("click", () => {
      const header = button.closest("th");
      const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
      header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const order = compare(header.cellIndex, button.dataset.sort === "number", sign);
      for (const body of table.tBodies) {
        body.append(...[...body.querySelectorAll("tr[data-panel]")].sort(order));
      }
    });
  }

  const filter = document.getElementById("filter");
  const count = document.getElementById("count");
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = new Set();
    for (const row of rows()) {
      const [, site, verdict] = row.cells;
      const text = `${site.textContent} ${verdict.textContent}`.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) kept.add(row.dataset.panel);
    }
    for (const panel of panels) panel.hidden = !kept.has(panel.id);
    for (const cell of document.querySelectorAll(".strip .cell")) cell.hidden = !kept.has(cell.dataset.panel);
    count.textContent = words.length ? `${kept.size} of ${rows().length} sites` : "";
  };
  filter.addEventListener("input", apply);
  filter.closest("p").hidden = false;

  const toggle = document.getElementById("toggle");
  const openAll = (open) => {
    for (const panel of panels) panel.open = open;
    toggle.textContent = open ? "Close all" : "Open all";
  };
  toggle.addEventListener("click", () => openAll(panels.every((panel) => !panel.open)));
  toggle.hidden = false;
  addEventListener("beforeprint", () => openAll(true));

  const reveal = () => {
    const panel = panels.find((one) => `#${one.id}` === location.hash);
    if (!panel) return;
    if (panel.hidden) {
      filter.value = "";
      apply();
    }
    panel.open = true;
    panel.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
