for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach(each => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down === 1 ? "ascending" : "descending");
      const key = row => row.cells[column].dataset.order ?? row.cells[column].textContent.trim();
      const number = text => text === "" || isNaN(text) ? null : Number(text);
      const order = (a, b) => {
        const [x, y] = [number(key(a)), number(key(b))];
        if (x !== null && y !== null) return down * (x - y);
        if (x === null && y === null) return down * key(a).localeCompare(key(b));
        return x === null ? 1 : -1;
      };
      body.append(...[...body.rows].sort(order));
    });
  });
}
