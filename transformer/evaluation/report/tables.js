"use strict";
// A click on a heading sorts its table by that column, a second click the other way round; what is unknown stays last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const numeric = heading.classList.contains("number");
    const compare = (a, b) =>
      numeric ? Number(a.dataset.value) - Number(b.dataset.value) : a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
    heading.querySelector("button").addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      const known = rows.filter((row) => !numeric || row.cells[column].dataset.value !== undefined);
      const unknown = rows.filter((row) => !known.includes(row));
      known.sort((a, b) => (descending ? -1 : 1) * compare(a.cells[column], b.cells[column]));
      table.tBodies[0].append(...known, ...unknown);
    });
  });
}
