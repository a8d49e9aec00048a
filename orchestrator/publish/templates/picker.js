"use strict";
const { axes, offers, titles } = JSON.parse(document.getElementById("data").textContent);
const names = Object.keys(axes);
const NONE = "none";
const valueOf = (offer, axis) => axis === "project" ? offer.project : offer.cell[axis] ?? NONE;
const choices = {};
for (const axis of names) {
  choices[axis] = axes[axis].slice();
  if (offers.some(offer => valueOf(offer, axis) === NONE)) choices[axis].push(NONE);
}
let picked = {};

/* The offer that agrees with the most choices; what was clicked last must agree. */
function nearest(fixed) {
  let best = null, most = -1;
  for (const offer of offers) {
    if (fixed && valueOf(offer, fixed) !== picked[fixed]) continue;
    const same = names.filter(axis => valueOf(offer, axis) === picked[axis]).length;
    if (same >= most) { best = offer; most = same; }
  }
  return best;
}

const quoted = text => "'" + text.replaceAll("'", "'\\''") + "'";

function lines(offer) {
  const index = new URL(offer.path ? offer.path.split("/").map(encodeURIComponent).join("/") + "/" : "./", location.href.replace(/[^/]*([?#].*)?$/, "")).href;
  const wanted = quoted(offer.project + "==" + offer.version);
  const source = offer.project + (offer.path ? "-" + offer.path.replace(/[^A-Za-z0-9]+/g, "-") : "");
  return {
    pip: `pip install ${wanted} --extra-index-url ${quoted(index)}`,
    uv: `uv pip install ${wanted} --index ${quoted(index)}`,
    poetry: `poetry source add --priority=explicit ${source} ${quoted(index)}\npoetry add --source ${source} ${wanted}`,
  };
}

function show(fixed) {
  const offer = nearest(fixed);
  if (!offer) return;
  for (const axis of names) picked[axis] = valueOf(offer, axis);
  for (const input of document.querySelectorAll("#form input")) {
    const axis = input.name;
    input.checked = picked[axis] === input.value;
    const fits = offers.some(each => names.every(
      name => valueOf(each, name) === (name === axis ? input.value : picked[name])));
    input.parentElement.classList.toggle("off", !fits);
  }
  for (const [tool, text] of Object.entries(lines(offer))) document.getElementById(tool).textContent = text;
}

const form = document.getElementById("form");
for (const axis of names) {
  const set = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.textContent = { python: "Python", arch: "Architecture", libc: "C library", project: "Package" }[axis] ?? axis;
  set.append(legend);
  for (const value of choices[axis]) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: axis, value });
    input.addEventListener("change", () => { picked[axis] = value; show(axis); });
    label.append(input, axis === "python" ? titles[value] ?? value : value);
    set.append(label);
  }
  form.append(set);
}
for (const button of document.querySelectorAll("button")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", () => navigator.clipboard.writeText(document.getElementById(button.value).textContent));
}
if (offers.length) {
  document.getElementById("picker").hidden = false;
  show(null);
}
