// Tables sort by a click on a head; without this script they stay as they are.
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      const value = row => row.cells[at].dataset.v ?? row.cells[at].textContent;
      const compare = (a, b) => {
        const [x, y] = [Number(value(a)), Number(value(b))];
        return Number.isNaN(x) || Number.isNaN(y) ? value(a).localeCompare(value(b)) : x - y;
      };
      body.append(...[...body.rows].sort((a, b) => down ? compare(b, a) : compare(a, b)));
    });
  });
}
