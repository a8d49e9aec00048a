"use strict";
(() => {
  const words = document.getElementById("words");
  const shown = document.getElementById("shown");
  const all = [...document.querySelectorAll("[data-words]")];
  const targets = all.filter((each) => "target" in each.dataset);
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
    const count = targets.filter((each) => !each.classList.contains("out")).length;
    shown.textContent = wanted.length ? `${count} of ${targets.length} targets` : "";
  };

  const open = () => {
    const place = document.getElementById(location.hash.slice(1));
    const details = place && place.closest("details");
    if (details) {
      details.open = true;
      details.classList.remove("out");
      place.focus({ preventScroll: true });
      details.scrollIntoView();
    }
  };

  words.addEventListener("input", filter);
  addEventListener("hashchange", open);
  document.getElementById("filter").hidden = false;
  filter();
  open();
})();
