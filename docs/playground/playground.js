// The page: an editor, and what the planner in worker.js says of its text.

const PAUSE = 250; // milliseconds without a key before the text is planned
const PATIENCE = 4000; // milliseconds of planning before the page offers to stop it
const LARGEST = 1 << 20; // bytes of a link's contents, unpacked

const $ = (id) => document.getElementById(id);
const text = $("matrix");

/** Make an element; text is text, never markup. */
function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// The planner: one question at a time, in a worker

class Planner {
  constructor() {
    this.begin();
  }

  begin() {
    this.waiting = Promise.resolve();
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  }

  /** Ask after all that was asked before; resolves to the worker's message. */
  ask(call, argument) {
    const { worker } = this;
    const answered = this.waiting.then(
      () =>
        new Promise((resolve) => {
          worker.onmessage = ({ data }) => resolve(data);
          worker.onerror = (event) => resolve({ failure: event.message || "the worker did not start" });
          worker.postMessage({ call, argument });
        }),
    );
    this.waiting = answered;
    return answered;
  }

  /** End a planning that takes too long; the next question waits for a new Python. */
  stop() {
    this.worker.terminate();
    this.begin();
  }
}

const planner = new Planner();
let running = 0; // counts questions: only the newest answer is shown
let planning = false;
let changed = false; // while planning
let last = null; // the last plan

async function plan() {
  if (planning) {
    changed = true;
    return;
  }
  planning = true;
  changed = false;
  const mine = ++running;
  $("result").setAttribute("aria-busy", "true");
  $("status").textContent = last ? "Planning" : "Loading Python and the planner, which your browser keeps for the next time";
  const patience = setTimeout(() => ($("stop").hidden = false), last ? PATIENCE : 10 * PATIENCE);
  const said = await planner.ask("plan", JSON.stringify(question()));
  clearTimeout(patience);
  $("stop").hidden = true;
  if (mine !== running) return; // it was stopped
  planning = false;
  if (changed) return plan();
  $("result").setAttribute("aria-busy", "false");
  show(said);
}

$("stop").onclick = () => {
  running++;
  planning = false;
  planner.stop();
  last = null;
  $("stop").hidden = true;
  $("result").setAttribute("aria-busy", "false");
  $("status").textContent = "Stopped. The next edit is planned again.";
};

function question() {
  const fields = { text: text.value, channel: $("channel").value };
  return { ...fields, ...values("name", "version", "pythons"), answers: answers() };
}

function values(...ids) {
  return Object.fromEntries(ids.map((id) => [id, $(id).value]));
}

/** What the reader says that the version's sources say. */
function answers() {
  const inputs = [...document.querySelectorAll("#sources input")];
  return { ...linked, ...Object.fromEntries(inputs.map((each) => [each.dataset.source, each.value])) };
}

let pause;
function edited() {
  number();
  clearTimeout(pause);
  pause = setTimeout(plan, PAUSE);
}

// What it says

function show({ answer, failure, seconds }) {
  const problems = failure
    ? [{ text: `This is a bug of the playground; please report it.\n${failure}`, line: null }]
    : answer.errors;
  showProblems(problems);
  if (failure) {
    planner.stop(); // what has failed once may be broken
    $("status").textContent = "The planner failed";
    return;
  }
  showChoices(answer);
  const took = `${seconds.toFixed(2)} s`;
  if (problems.length) {
    const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    $("status").textContent = `${count}, found in ${took}`;
    return;
  }
  last = answer;
  $("result").classList.add("planned");
  $("status").textContent = `Planned in ${took}`;
  $("summary").textContent = answer.summary;
  $("notes").replaceChildren(...answer.notes.map((note) => make("li", { textContent: note })));
  $("table").textContent = answer.table;
  showGrid(answer.grid, answer.excluded);
  showExcluded(answer.excluded);
  $("ids").replaceChildren(...answer.ids.map((id) => make("option", { value: id })));
  if (!answer.ids.includes($("target").value)) $("target").value = answer.ids[0] ?? "";
  explain();
}

function showProblems(problems) {
  $("errors").replaceChildren(
    ...problems.map(({ text: said, line }) => {
      const item = make("li", {}, make("pre", { textContent: said }));
      if (line) item.append(lineButton(line));
      return item;
    }),
  );
  $("stale").hidden = !problems.length || !last;
  wrong = new Set(problems.map(({ line }) => line));
  number();
}

function showChoices({ channels, sources }) {
  if (channels.length || !wrong.size) {
    const chosen = $("channel").value;
    const options = ["", ...channels].map((name) => make("option", { value: name, textContent: name || "none" }));
    $("channel").replaceChildren(...options);
    $("channel").value = channels.includes(chosen) ? chosen : "";
    for (const each of document.querySelectorAll(".channel")) each.hidden = !channels.length;
  }
  const known = Object.fromEntries(sources);
  const inputs = [...document.querySelectorAll("#sources input")];
  if (inputs.map((each) => each.dataset.source).join("\n") === sources.map(([name]) => name).join("\n")) {
    for (const each of inputs) each.placeholder = known[each.dataset.source] || "says nothing";
    return;
  }
  if (!sources.length && wrong.size) return; // the text may be broken only for a moment
  const said = answers();
  $("sources").replaceChildren(
    ...sources.flatMap(([source, supposed], index) => {
      const input = make("input", { id: `source-${index}`, value: said[source] ?? "" });
      Object.assign(input, { placeholder: supposed || "says nothing", autocomplete: "off", spellcheck: false });
      input.dataset.source = source;
      return [make("label", { htmlFor: input.id, textContent: source }), input];
    }),
  );
}

function showGrid({ axes, pythons, rows, legend }, excluded) {
  const head = make("tr", {}, make("th", { scope: "col", textContent: axes }));
  head.append(...pythons.map((python) => make("th", { scope: "col", textContent: python })));
  const order = new Map(legend.map(([letter], index) => [letter, index]));
  const body = rows.map(({ variant, cells }) => {
    const row = make("tr", {}, make("th", { scope: "row", textContent: variant }));
    for (const python of pythons) {
      const own = cells.filter((cell) => cell.python === python);
      own.sort((one, other) => order.get(one.letter) - order.get(other.letter));
      row.append(make("td", {}, ...own.map((cell) => mark(cell, variant, excluded))));
    }
    return row;
  });
  $("grid").replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
  $("legend").replaceChildren(
    ...legend.map(([letter, platform]) => make("span", {}, make("b", { textContent: letter }), ` ${platform}`)),
  );
  if (excluded.length) $("legend").append(make("span", {}, make("s", { textContent: legend[0][0] }), " excluded: the reason is below"));
}

/** A cell of the matrix: a target to explain, or the way to why there is none. */
function mark({ id, why, letter, python }, variant, excluded) {
  const button = make("button", { type: "button", textContent: letter });
  if (id) {
    button.dataset.id = id;
    button.title = id;
    button.setAttribute("aria-label", `${letter}: ${id}`);
  } else {
    button.dataset.why = why;
    button.className = "out";
    button.title = excluded[why].reason;
    button.setAttribute("aria-label", `${letter}: ${python} ${variant} is excluded: ${excluded[why].reason}`);
  }
  return button;
}

$("grid").onclick = ({ target: { dataset } }) => {
  if (dataset.id) {
    $("target").value = dataset.id;
    explain();
    lead($("explain-title"));
  } else if (dataset.why) {
    lead($(`why-${dataset.why}`));
  }
};

function lead(place) {
  place.focus({ preventScroll: true });
  place.scrollIntoView({ block: "start" });
}

const FEW = 12;

function showExcluded(excluded) {
  $("excluded").replaceChildren(
    ...excluded.map(({ rule, line, reason, count, values }, index) => {
      const cells = count === 1 ? "1 cell" : `${count} cells`;
      const item = make("li", { id: `why-${index}`, tabIndex: -1 }, make("b", { textContent: reason }));
      item.append(make("div", { className: "soft" }, `${cells} by `, make("code", { textContent: rule })));
      if (line) item.lastChild.append(" ", lineButton(line));
      const shown = values.map(([axis, own]) => {
        const more = own.length > FEW ? ` and ${own.length - FEW} more` : "";
        return `${axis} ${own.slice(0, FEW).join(" ")}${more}`;
      });
      item.append(make("div", { className: "soft", textContent: shown.join("; ") }));
      return item;
    }),
  );
  $("none").hidden = excluded.length > 0;
}

async function explain() {
  const id = $("target").value;
  if (!id || !last) return $("explained").replaceChildren();
  for (const each of $("grid").querySelectorAll("[aria-pressed]")) each.removeAttribute("aria-pressed");
  for (const each of $("grid").querySelectorAll(`[data-id="${CSS.escape(id)}"]`)) each.setAttribute("aria-pressed", "true");
  const of = last;
  const { answer, failure } = await planner.ask("explain", id);
  if (of !== last || id !== $("target").value) return;
  const errors = failure ? [{ text: failure }] : (answer.errors ?? []);
  const rows = errors.map((each) => make("tr", {}, make("td", {}, make("pre", { textContent: each.text }))));
  for (const { what, value, origin, line } of answer?.rows ?? []) {
    const head = make("th", { scope: "row", textContent: what.trim() });
    if (what.startsWith(" ")) head.className = what.startsWith("    ") ? "innermost" : "inner";
    const from = make("td", { className: "soft", textContent: origin });
    if (line) from.append(" ", lineButton(line));
    rows.push(make("tr", {}, head, make("td", { className: "value", textContent: value }), from));
  }
  $("explained").replaceChildren(make("tbody", {}, ...rows));
}

$("target").onchange = explain;

// The editor: numbers of lines, and the way to one

let wrong = new Set();
let numbered = "";

function number() {
  const count = text.value.split("\n").length;
  const state = `${count}:${[...wrong].join()}`;
  if (state === numbered) return;
  numbered = state;
  const lines = Array.from({ length: count }, (_, index) => {
    const line = index + 1;
    return make("div", wrong.has(line) ? { className: "wrong", textContent: `! ${line}` } : { textContent: line });
  });
  $("numbers").replaceChildren(...lines);
  follow();
}

function follow() {
  $("numbers").scrollTop = text.scrollTop;
}

text.onscroll = follow;

function lineButton(line) {
  const button = make("button", { type: "button", className: "line", textContent: `line ${line}` });
  button.onclick = () => select(line);
  return button;
}

function select(line) {
  const lines = text.value.split("\n");
  const begin = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
  text.focus({ preventScroll: true });
  text.setSelectionRange(begin, begin + (lines[line - 1] ?? "").length);
  const height = parseFloat(getComputedStyle(text).lineHeight);
  text.scrollTop = Math.max(0, (line - 1) * height - text.clientHeight / 2);
  text.scrollIntoView({ block: "nearest" });
}

// Where to start from: an example, a link, or what was written before

let examples = [];
let own = null; // what the reader has written, while an example is shown
let linked = {}; // answers of sources, from a link

function offer() {
  const groups = new Map();
  for (const each of examples) groups.set(each.group, [...(groups.get(each.group) ?? []), each]);
  $("example").replaceChildren(
    make("option", { value: "own", textContent: "your own text", hidden: own === null }),
    ...[...groups].map(([label, members]) =>
      make("optgroup", { label }, ...members.map((each) => make("option", { value: each.name, textContent: each.name }))),
    ),
  );
}

function start(fields) {
  text.value = fields.text;
  text.scrollTop = 0;
  $("name").value = fields.name ?? "demo";
  $("version").value = fields.version ?? "1.0.0";
  $("pythons").value = fields.pythons ?? "";
  $("channel").replaceChildren(make("option", { value: fields.channel ?? "", textContent: fields.channel ?? "" }));
  linked = fields.answers ?? {};
  $("sources").replaceChildren();
  edited();
}

function isOwn(fields) {
  own = fields;
  $("example").options[0].hidden = false;
  $("example").value = "own";
}

$("example").onchange = () => {
  const chosen = examples.find((each) => each.name === $("example").value);
  start(chosen ?? own);
};

$("edit").oninput = ({ target }) => {
  if (target === $("example")) return;
  isOwn(question());
  edited();
};

// Links: all of it stands after the #, which browsers do not send

async function packed(fields) {
  const bytes = new Blob([JSON.stringify(fields)]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const binary = Array.from(new Uint8Array(await new Response(bytes).arrayBuffer()), (byte) => String.fromCharCode(byte));
  return btoa(binary.join("")).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

async function unpacked(link) {
  const binary = atob(link.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(binary, (each) => each.charCodeAt(0));
  const parts = [];
  let size = 0;
  for (const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > LARGEST) throw new Error("too large");
    parts.push(value);
  }
  const found = JSON.parse(await new Blob(parts).text());
  const is = (value) => value === undefined || typeof value === "string";
  const answers = Object.entries(found.answers ?? {}).filter(([, value]) => is(value));
  if (typeof found.text !== "string" || ![found.name, found.version, found.pythons, found.channel].every(is)) throw new Error("no matrix");
  return { ...found, answers: Object.fromEntries(answers) };
}

$("share").onclick = async () => {
  const url = new URL(location.href);
  url.hash = `m=${await packed(question())}`;
  history.replaceState(null, "", url);
  try {
    await navigator.clipboard.writeText(url.href);
    $("shared").textContent = "Copied. The matrix stands in the link itself, after the #, which no server sees.";
  } catch {
    $("shared").textContent = "The link is in the address bar. The matrix stands in it, after the #, which no server sees.";
  }
};

async function fromLink() {
  if (!location.hash.startsWith("#m=")) return false;
  try {
    const fields = await unpacked(location.hash.slice(3));
    isOwn(fields);
    start(fields);
    return true;
  } catch {
    $("shared").textContent = "The link is damaged: it holds no matrix.";
    return false;
  }
}

addEventListener("hashchange", fromLink);

examples = await (await fetch(new URL("examples.json", import.meta.url))).json();
offer();
if (!(await fromLink())) {
  $("example").value = examples[0].name;
  start(examples[0]);
}
