// Runs planner.py in Pyodide, away from the page, which must never freeze.
import { loadPyodide } from "./pyodide/pyodide.mjs";

const here = new URL("./", import.meta.url).href;
const planner = start();

async function fetched(name) {
  const response = await fetch(`${here}${name}`);
  if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
  return response;
}

async function start() {
  const lock = await (await fetched("packages/lock.json")).json();
  const source = fetched("planner.py").then((response) => response.text());
  const python = await loadPyodide({
    indexURL: `${here}pyodide/`,
    lockFileContents: lock,
    packageBaseUrl: `${here}packages/`,
    packages: Object.keys(lock.packages),
    stdout: () => {},
  });
  // Planning makes many values and no cycles: looking for them would take a tenth of the time.
  python.runPython("import gc; gc.set_threshold(200_000)");
  python.runPython(await source, { filename: "planner.py" });
  return { plan: python.globals.get("plan"), explain: python.globals.get("explain") };
}

onmessage = async ({ data: { call, argument } }) => {
  try {
    const { [call]: asked } = await planner;
    const begin = performance.now();
    const answer = JSON.parse(asked(argument));
    postMessage({ answer, seconds: (performance.now() - begin) / 1000 });
  } catch (error) {
    postMessage({ failure: String(error) });
  }
};
