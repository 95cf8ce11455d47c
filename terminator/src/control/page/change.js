"use strict";
// The page of live change: reads the admin listener's JSON once a second, and writes what is clicked.

const REFRESH_MS = 1000;
const byId = (id) => document.getElementById(id);

/** An element: `el("td", { class: "num" }, "text", otherElement)`. No text is ever parsed as HTML. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const clock = (ms) => new Date(ms).toLocaleTimeString();
const percent = (value) => `${Number(value.toPrecision(value < 10 ? 2 : 3))} %`;
const many = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
const millis = (value) => (value == null ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`);

function age(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

// Writing.

for (const id of ["who", "token"]) {
  byId(id).value = sessionStorage.getItem(id) || "";
  byId(id).addEventListener("input", () => {
    sessionStorage.setItem(id, byId(id).value);
    refresh();
  });
}
byId("access").addEventListener("submit", (event) => event.preventDefault());

function notice(text, kind) {
  const place = byId("notice");
  place.textContent = text;
  place.className = kind;
  place.hidden = text === "";
}

async function write(path, done) {
  const headers = { "content-type": "application/json" };
  if (byId("token").value) headers.authorization = `Bearer ${byId("token").value}`;
  const body = JSON.stringify({ who: byId("who").value });
  try {
    const response = await fetch(path, { method: "POST", headers, body });
    const said = await response.json();
    if (response.ok) notice(done, "good");
    else notice([said.detail, said.remedy].filter(Boolean).join(" — "), "bad");
  } catch (error) {
    notice(`${path}: ${error.message}`, "bad");
  }
  refresh();
}

function button(label, path, done, { danger = false, enabled = true, question = null } = {}) {
  const title = byId("token").value ? "" : "Needs the write token";
  const click = () => {
    if (question && !confirm(question)) return;
    write(path, done);
  };
  const disabled = !enabled || !byId("token").value;
  const attributes = { class: danger ? "danger" : null, type: "button", "data-path": path, disabled, title, onclick: click };
  return el("button", attributes, label);
}

// Pictures.

const WIDTH = 340, HEIGHT = 120, LEFT = 38, RIGHT = 6, TOP = 8, BOTTOM = 18;

/** One chart: `lines` have `value(point)`, and with `low` and `high` a band around it. */
function chart(caption, points, lines, unit, top) {
  const from = points[0].at_ms, to = Math.max(points.at(-1).at_ms, from + 1000);
  const x = (ms) => LEFT + ((ms - from) / (to - from)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => TOP + (1 - Math.min(Math.max(value / top, 0), 1)) * (HEIGHT - TOP - BOTTOM);
  const at = (ms, value) => `${x(ms).toFixed(1)},${y(value).toFixed(1)}`;
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": caption });
  for (const share of [0, 0.5, 1]) {
    const value = top * share;
    picture.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }));
    const label = svg("text", { x: LEFT - 4, y: y(value) + 3, "text-anchor": "end" });
    label.textContent = `${Number(value.toPrecision(2))}${unit}`;
    picture.append(label);
  }
  for (const line of lines.filter((line) => line.low)) {
    for (const run of runs(points, line.value)) {
      const above = run.map((point) => at(point.at_ms, line.high(point) ?? top));
      const below = run.map((point) => at(point.at_ms, line.low(point) ?? 0)).reverse();
      picture.append(svg("polygon", { class: `band ${line.class}`, points: above.concat(below).join(" ") }));
    }
  }
  for (const line of lines) {
    for (const run of line.step ? [points] : runs(points, line.value)) {
      const step = run.flatMap((point, index) => {
        const before = line.step && index > 0 ? [at(point.at_ms, line.value(run[index - 1]))] : [];
        return [...before, at(point.at_ms, line.value(point))];
      });
      picture.append(svg("polyline", { class: `line ${line.class}`, points: step.join(" ") }));
    }
  }
  const fall = points.find((point) => point.state === "rolled_back" || point.state === "aborted");
  if (fall) {
    picture.append(svg("line", { class: "mark-fail", x1: x(fall.at_ms), x2: x(fall.at_ms), y1: TOP, y2: HEIGHT - BOTTOM }));
  }
  for (const [ms, anchor] of [[from, "start"], [to, "end"]]) {
    const label = svg("text", { x: x(ms), y: HEIGHT - 5, "text-anchor": anchor });
    label.textContent = clock(ms);
    picture.append(label);
  }
  return el("figure", {}, el("figcaption", {}, caption), picture);
}

/** The points that have a value, split where a value is missing and where a stage begins. */
function runs(points, value) {
  const all = [];
  let run = [];
  points.forEach((point, index) => {
    const begins = index > 0 && points[index - 1].stage !== point.stage;
    if ((begins || value(point) == null) && run.length) all.push(run), (run = []);
    if (value(point) != null) run.push(point);
  });
  if (run.length) all.push(run);
  return all;
}

/** The upper end of a scale that shows the estimates, and the intervals once they are narrow. */
function scale(points, groups, value, high, least) {
  const values = points.flatMap((point) => groups.map((group) => value(point[group]))).filter((v) => v != null);
  const ends = points.flatMap((point) => groups.map((group) => high(point[group]))).filter((v) => v != null);
  ends.sort((a, b) => a - b);
  const narrow = ends[Math.floor(ends.length / 4)] ?? 0;
  return round(Math.max(least, 1.1 * Math.max(0, ...values), 1.1 * narrow));
}

/** The next of 1, 2, 4, 6, 8 and 10 times a power of ten: half of it is a short number too. */
function round(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 4, 6, 8, 10].find((step) => step * power >= value);
}

const rate = (group) => (group.requests ? (100 * group.errors) / group.requests : null);

function charts(points) {
  const groups = ["candidate", "control"];
  const line = (name, value, interval) => ({
    class: name,
    value: (point) => value(point[name]),
    low: (point) => interval(point[name])[0],
    high: (point) => interval(point[name])[1],
  });
  const errors = (group) => group.errors_percent, p99 = (group) => group.p99_interval_ms;
  const errorsTop = Math.min(100, scale(points, groups, rate, (group) => (group.requests ? errors(group)[1] : null), 1));
  const p99Top = scale(points, groups, (group) => group.p99_ms, (group) => p99(group)[1], 1);
  const share = { class: "share", step: true, value: (point) => point.percent };
  const shareTop = Math.min(100, round(Math.max(10, ...points.map((point) => 1.1 * point.percent))));
  return el("div", { class: "charts" },
    chart("Share of the candidate", points, [share], "%", shareTop),
    chart("Error rate with its 95 % interval", points, groups.map((name) => line(name, rate, errors)), "%", errorsTop),
    chart("p99 in ms with its 95 % interval", points, groups.map((name) => line(name, (group) => group.p99_ms, p99)), "", p99Top));
}

// The parts of the page.

const KIND_OF_STATE = { running: "good", completed: "good", waiting: "wait", paused: "wait", rolled_back: "bad", aborted: "bad" };
const KIND_OF_VERDICT = { pass: "good", fail: "bad", wait: "wait" };
const words = (state) => state.replaceAll("_", " ");

function counts(name, group) {
  const [low, high] = group.errors_percent, [fast, slow] = group.p99_interval_ms;
  const p99 = group.p99_ms == null ? "–" : `${millis(group.p99_ms)} (${millis(fast)} to ${millis(slow)})`;
  return el("tr", {},
    el("td", { class: "key-of" }, el("span", { class: `key ${name}` }), name),
    el("td", { class: "num" }, String(group.requests)),
    el("td", { class: "num" }, String(group.errors)),
    el("td", { class: "num" }, group.requests ? `${percent(rate(group))} (${percent(low)} to ${percent(high)})` : "–"),
    el("td", { class: "num" }, p99));
}

function heading(...names) {
  return el("tr", {}, ...names.map((name, index) => el("th", index ? { class: "num" } : {}, name)));
}

function rollout(report, points, open) {
  const { service, stable, candidate, state } = report;
  const path = `rollouts/${encodeURIComponent(service)}`;
  const isLive = ["running", "waiting", "paused"].includes(state);
  const act = (name, done, more) => button(name, `${path}/${name}`, `${service}: ${done}`, more);
  const buttons = el("span", { class: "push" },
    state === "paused" ? act("resume", "resumes") : act("pause", "pauses", { enabled: isLive }),
    act("promote", `is promoted to ${candidate}`, {
      enabled: isLive, question: `Send all requests of ${service} to version ${candidate}, whatever the verdict?` }),
    act("abort", "is aborted", { danger: true, enabled: !["rolled_back", "aborted"].includes(state),
      question: `Send version ${candidate} of ${service} no more requests?` }));
  const past = report.history.toReversed().map((entry) => el("tr", {},
    el("td", { class: "soft" }, clock(entry.at_ms)),
    el("td", { class: KIND_OF_STATE[entry.state] }, words(entry.state)),
    el("td", { class: "num" }, percent(entry.percent)),
    el("td", { class: KIND_OF_VERDICT[entry.verdict] }, entry.verdict),
    el("td", {}, entry.reason)));
  return el("article", { class: "card", "data-service": service },
    el("div", { class: "row" },
      el("h3", {}, service),
      el("span", { class: `tag ${KIND_OF_STATE[state] || ""}` }, words(state)),
      el("span", { class: "soft" }, `${stable} → ${candidate}, stage ${report.stage + 1}, share ${percent(report.percent)}` +
        (report.ghost ? `, ghost ${percent(report.ghost)}` : "")),
      buttons),
    el("p", {}, el("span", { class: KIND_OF_VERDICT[report.verdict] }, report.verdict), ` — ${report.reason}`),
    points && points.length ? charts(points) : null,
    el("div", { class: "scroll" }, el("table", {},
      heading("", "requests", "errors", "error rate", "p99"),
      counts("candidate", report.candidate_counts), counts("control", report.control_counts))),
    el("details", { open, "data-key": `history ${service}` }, el("summary", {}, `History: ${many(past.length, "change")}`),
      el("div", { class: "scroll" }, el("table", {}, ...past))));
}

function toggle(row) {
  const path = `toggles/${encodeURIComponent(row.name)}`;
  const next = row.enabled ? "off" : "on";
  const state = row.enabled ? el("span", { class: "tag good" }, "on") : el("span", { class: "tag soft" }, "off");
  return el("tr", { "data-toggle": row.name },
    el("td", { class: "name" }, row.name),
    el("td", {}, state),
    el("td", { class: "act" }, row.source === "unleash"
      ? el("span", { class: "soft" }, "in Unleash's console")
      : button(`turn ${next}`, `${path}/${next}`, `${row.name} is ${next}`)),
    el("td", {}, row.strategies.join(", ") || "everybody"),
    el("td", {}, row.variants.join(", ") || "–"),
    el("td", { class: "soft" }, row.source));
}

function source(state) {
  const kind = state.connected ? "good" : "bad";
  return el("p", { class: "row" }, el("code", {}, state.source),
    el("span", { class: `tag ${kind}` }, state.connected ? "connected" : "lost"),
    state.error ? el("span", { class: "bad" }, state.error) : null,
    state.from_cache ? el("span", { class: "wait" }, "from the cache file") : null,
    state.ignored ? el("span", { class: "wait" }, `${state.ignored} toggles here are ignored: Unleash has them`) : null);
}

function plan(status) {
  if (!status.source) return [el("p", { class: "soft" }, "No plan: start the terminator with --plan DIR, --etcd URL or --plan unleash:URL.")];
  const refused = status.refused.map((one) => el("p", { class: "bad" },
    el("code", {}, one.key), ` is refused: ${one.line ? `line ${one.line} column ${one.column}: ` : ""}`,
    one.path ? `${one.path}: ` : "", one.reason, one.in_force ? " (an earlier version is in force)" : ""));
  return [source(status), ...(status.unleash ? [source(status.unleash)] : []),
    el("p", { class: "soft" }, `${many(status.documents.length, "document")} in force, ${status.refused.length} refused`), ...refused];
}

function ghost(report, open) {
  const rows = report.differences.flatMap((one, index) => {
    const samples = one.samples.map((sample) => el("tr", {},
      el("td", {}, el("code", {}, sample.stable)), el("td", {}, el("code", {}, sample.candidate))));
    const key = `ghost ${report.service} ${one.route} ${one.path}`;
    return [el("tr", {},
      el("td", {}, el("code", {}, one.route)), el("td", {}, el("code", {}, one.path)),
      el("td", { class: "num" }, String(one.raw)), el("td", { class: "num" }, String(one.noise)), el("td", { class: "num" }, String(one.total))),
      el("tr", {}, el("td", { colspan: 5 }, el("details", { "data-key": key, open: open.has(key) },
        el("summary", {}, many(samples.length, "sample")),
        el("table", {}, el("tr", {}, el("th", {}, "stable"), el("th", {}, "candidate")), ...samples))))];
  });
  return el("article", { class: "card" },
    el("div", { class: "row" }, el("h3", {}, report.service),
      el("span", { class: "soft" }, `candidate ${report.candidate}: ${report.copies} copies, ${report.compared} compared, ${report.lost} lost`)),
    rows.length
      ? el("div", { class: "scroll" }, el("table", {}, el("tr", {}, el("th", {}, "route"), el("th", {}, "field"),
          el("th", { class: "num" }, "differ"), el("th", { class: "num" }, "noise"), el("th", { class: "num" }, "compared")), ...rows))
      : el("p", { class: "good" }, "No differences."));
}

// Refreshing.

const none = (text) => [el("p", { class: "soft" }, text)];
const shown = new Map();

/** Replaces a part when it has changed, but no button that is being pressed. */
function show(id, value, make) {
  const text = JSON.stringify([value, Boolean(byId("token").value)]);
  if (shown.get(id) === text || byId(id).querySelector("button:active")) return;
  shown.set(id, text);
  const focused = document.activeElement?.dataset.path;
  const open = new Set([...byId(id).querySelectorAll("details[open]")].map((node) => node.dataset.key));
  byId(id).replaceChildren(...make(open));
  if (focused) byId(id).querySelector(`[data-path="${CSS.escape(focused)}"]`)?.focus();
}

async function read(path) {
  const response = await fetch(path, { cache: "no-store" });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

let paths = null;
let isLost = false;

async function refresh() {
  try {
    if (!paths) {
      paths = await read("./");
      const live = await read("live");
      byId("instance").textContent = `${live.service} ${live.version}, ${live.instance}`;
      document.title = `Live change – ${live.instance}`;
    }
    // A terminator without ghost traffic has no such path.
    const [status, rollouts, toggles, ghosts] = await Promise.all([
      read("plan"), read("rollouts"), read("toggles"), paths["/ghosts"] ? read("ghosts") : []]);
    const series = await Promise.all(rollouts.map((one) => read(`rollouts/${encodeURIComponent(one.service)}/series`)));
    const still = ({ source, connected, error, from_cache, ignored }) => ({ source, connected, error, from_cache, ignored });
    const stillPlan = [still(status), status.unleash && still(status.unleash), status.documents.length,
      status.refused.map((one) => [one.key, one.revision, one.reason])];
    show("plan", stillPlan, () => [el("div", { class: "card" }, ...plan(status))]);
    show("rollouts", [rollouts, series.map((points) => points.at(-1)?.at_ms)], (open) => rollouts.length
      ? rollouts.map((one, index) => rollout(one, series[index], open.has(`history ${one.service}`)))
      : none("None. `stack rollout start SERVICE` begins one."));
    show("toggles", toggles, () => toggles.length
      ? [el("div", { class: "card scroll" }, el("table", {},
          el("tr", {}, ...["toggle", "state", "", "strategies", "variants", "source"].map((name) => el("th", {}, name))), ...toggles.map(toggle)))]
      : none("None. `stack toggle set NAME FILE` writes one."));
    show("ghosts", ghosts, (open) => (ghosts.length ? ghosts.map((one) => ghost(one, open)) : none("None.")));
    if (isLost) notice("", "");
    isLost = false;
  } catch (error) {
    isLost = true;
    notice(`The terminator does not answer (${error.message}); what is shown is old.`, "bad");
  }
}

async function follow() {
  if (!document.hidden) await refresh();
  setTimeout(follow, REFRESH_MS);
}
follow();
