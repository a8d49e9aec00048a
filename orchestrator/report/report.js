"use strict";
(() => {
  const words = document.getElementById("words");
  const shown = document.getElementById("shown");
  const all = [...document.querySelectorAll("[data-words]")];
  const targets = all.filter((each) => "target" in each.dataset);
  const view = document.getElementById("view");
  const again = document.getElementById("again");
  const rows = [...document.querySelectorAll(".grid tbody tr")];

  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const hits = (each) => wanted.every((word) => each.dataset.words.includes(word));
    for (const each of all) {
      // In the grid a cell keeps its place.
      each.classList.toggle(each.closest(".grid") ? "faded" : "out", !hits(each));
    }
    for (const row of rows) {
      row.classList.toggle("out", wanted.length > 0 && !row.querySelector("a:not(.faded)"));
    }
    const left = targets.filter((each) => !each.classList.contains("out"));
    shown.textContent = wanted.length ? `${left.length} of ${targets.length} targets` : "";
    view.hidden = again.parentElement.hidden = !wanted.length || !left.length;
    view.href = `#filter=${encodeURIComponent(words.value)}`;
    again.textContent = command(left.map((each) => each.dataset.target));
  };

  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const command = (ids) => `${again.dataset.command} --select ${quoted(ids.join(" | "))}`;

  const copy = async ({ target: button }) => {
    const code = button.previousElementSibling;
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "copied";
    } catch {
      button.textContent = "selected";  // the browser wants the reader to press the keys
    }
  };

  const open = () => {
    const asked = new URLSearchParams(location.hash.slice(1)).get("filter");
    if (asked !== null) {
      words.value = asked;
      filter();
      return;
    }
    const place = document.getElementById(location.hash.slice(1));
    const details = place && place.closest("details");
    if (details) {
      details.open = true;
      details.classList.remove("out");
      place.focus({ preventScroll: true });
      details.scrollIntoView();
    }
  };

  for (const code of document.querySelectorAll(".command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "copy";
    button.addEventListener("click", copy);
    code.after(button);
  }
  words.addEventListener("input", () => {
    filter();
    history.replaceState(null, "", words.value ? view.href : location.pathname + location.search);
  });
  addEventListener("hashchange", open);
  document.getElementById("filter").hidden = false;
  filter();
  open();
})();
