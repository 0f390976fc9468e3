// Keeps the page as the controller sees things, reads charts at a point, and asks for changes. Whatever the page shows is
// written by the server; words that come as JSON are only ever put in as text.
"use strict";

const $ = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((one) => one !== null && one !== undefined));
  return made;
}

// --- Light and dark: the system's, until somebody chooses. The server writes the choice into the page.
function themes() {
  const button = $("theme"), root = document.documentElement;
  const show = () => {
    const now = root.dataset.theme || "auto";
    const [glyph, word] = { auto: ["◐", "Auto"], dark: ["●", "Dark"], light: ["○", "Light"] }[now];
    button.replaceChildren(glyph, element("span", { class: "wide" }, ` ${word}`));
    button.setAttribute("aria-label", `Theme: ${now}. Change it.`);
  };
  button.addEventListener("click", () => {
    const next = { auto: "dark", dark: "light", light: "auto" }[root.dataset.theme || "auto"];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    const age = next === "auto" ? 0 : 31536000;
    document.cookie = `thunder_theme=${next}; path=/; max-age=${age}; samesite=strict`;
    show();
  });
  button.hidden = false;
  show();
}

// --- What is live: told that something changed, the page asks the server for its sections and takes those that differ.
const BETWEEN_MS = 500, AGAIN_MS = 2000, ANSWER_MS = 20000;

function follow() {
  const live = $("live"), page = $("sections"), problem = $("problem");
  const shown = new Map();
  let asking = false, wanted = false, askedAt = 0;

  const say = (state, text) => {
    if (live.dataset.state !== state) { live.dataset.state = state; live.textContent = text; }
  };
  const wrong = (text) => {
    if (!problem) return;
    problem.hidden = !text;
    if (text && problem.textContent !== text) problem.textContent = text;
  };

  function take(section) {
    const text = section.outerHTML, old = $(section.id);
    if (!old || shown.get(section.id) === text || beingRead(old) || beingWritten(old)) return;
    shown.set(section.id, text);
    const open = [...old.querySelectorAll("details[open]")].map((one) => one.id);
    const scrolled = [...old.querySelectorAll("[tabindex]")].map((one) => one.scrollTop);
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const place = focused && (focused.id ? `#${CSS.escape(focused.id)}` : pathOf(focused, old));
    old.replaceWith(section);
    for (const id of open) if ($(id)) $(id).open = true;
    section.querySelectorAll("[tabindex]").forEach((one, n) => { one.scrollTop = scrolled[n] || 0; });
    if (place) section.querySelector(place)?.focus({ preventScroll: true });
  }

  async function ask() {
    if (asking || document.hidden) { wanted = true; return; }
    asking = true; wanted = false;
    await new Promise((done) => setTimeout(done, Math.max(0, askedAt + BETWEEN_MS - performance.now())));
    askedAt = performance.now();
    try {
      const answer = await fetch(`/sections${location.search}`, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
      if (answer.redirected) { location.assign("/login"); return; }
      if (!answer.ok) throw new Error((await answer.json()).error.message);
      if (!page) { location.reload(); return; }
      const found = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const section of found.querySelectorAll("[data-live]")) take(document.adoptNode(section));
      document.title = $("state").dataset.title;
      wrong("");
    } catch (error) {
      if (error instanceof TypeError || error.name === "TimeoutError") setTimeout(ask, AGAIN_MS); // it did not get there
      else wrong(`▲ What is shown is old. ${error.message}`);
    } finally {
      asking = false;
    }
    if (wanted) ask();
  }

  function connect() {
    const source = new EventSource("/api/v1/live?brief=1");
    source.addEventListener("open", () => { say("live", "live"); ask(); });
    for (const kind of ["status", "event", "point"]) source.addEventListener(kind, ask);
    source.addEventListener("problem", (told) => wrong(`▲ What is shown is old. ${JSON.parse(told.data).error.message}`));
    source.addEventListener("error", () => {
      say("waiting", "not connected, trying again");
      if (source.readyState === EventSource.CLOSED) setTimeout(() => { ask(); connect(); }, AGAIN_MS);
    });
  }

  for (const section of document.querySelectorAll("[data-live]")) shown.set(section.id, section.outerHTML);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && wanted) ask(); });
  connect();
}

function beingRead(section) {
  const chosen = getSelection();
  return Boolean(chosen && !chosen.isCollapsed && section.contains(chosen.anchorNode));
}

function beingWritten(section) {
  const at = document.activeElement;
  return at.matches("input") && section.contains(at) && at.value !== at.defaultValue;
}

function pathOf(one, within) {
  const parts = [];
  for (let at = one; at && at !== within; at = at.parentElement) {
    parts.unshift(`${at.tagName.toLowerCase()}:nth-child(${[...at.parentElement.children].indexOf(at) + 1})`);
  }
  return `:scope > ${parts.join(" > ")}`;
}

// --- A chart, read where somebody points at it, or with the arrow keys.
const readings = new WeakMap();

function readingsOf(plot) {
  if (!readings.has(plot)) {
    const rows = plot.dataset.readings.split(";").filter(Boolean).map((row) => row.split("|"));
    readings.set(plot, { rows, at: rows.length - 1 });
  }
  return readings.get(plot);
}

function read(plot, at) {
  const { rows } = readingsOf(plot), figure = plot.closest("figure");
  const output = figure.querySelector(".reading"), legend = figure.querySelector(".legend");
  const cursor = plot.querySelector(".cursor"), row = rows[at];
  legend.hidden = Boolean(row);
  output.hidden = !row;
  cursor.setAttribute("visibility", row ? "visible" : "hidden");
  if (!row) return;
  readingsOf(plot).at = at;
  cursor.setAttribute("x1", `${row[0]}%`);
  cursor.setAttribute("x2", `${row[0]}%`);
  const names = plot.dataset.names.split("|");
  output.textContent = `${row[1]} · ${names.map((name, n) => `${name} ${row[n + 2]}`).join(" · ")}`;
}

function charts() {
  const plotOf = (event) => event.target.closest?.(".plot");
  document.addEventListener("pointermove", (event) => {
    const plot = plotOf(event);
    if (!plot) return;
    const box = plot.getBoundingClientRect(), { rows } = readingsOf(plot);
    const x = 100 * (event.clientX - box.left) / box.width;
    const off = rows.map((row) => Math.abs(row[0] - x));
    read(plot, off.indexOf(Math.min(...off)));
  });
  document.addEventListener("pointerout", (event) => {
    const plot = plotOf(event);
    if (plot && !plot.contains(event.relatedTarget)) read(plot, -1);
  });
  document.addEventListener("focusout", (event) => { if (plotOf(event)) read(plotOf(event), -1); });
  document.addEventListener("keydown", (event) => {
    const plot = plotOf(event), step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!plot || !step) return;
    event.preventDefault();
    const { rows, at } = readingsOf(plot);
    read(plot, Math.max(0, Math.min(rows.length - 1, at + step)));
  });
}

// --- Changes: a preview first, then, once it is confirmed, a job that is followed to its end.
async function call(path, body) {
  const asked = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, { cache: "no-store", ...asked });
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  const { message = `The controller answered ${answer.status}.`, hint = "" } = said.error || {};
  throw new Error(answer.status === 401 ? "You are not signed in any more. Sign in and try again." : `${message} ${hint}`.trim());
}

const PERCENT = (value) => `${Math.round(100 * value)}%`;
const SECONDS = (value) => (value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(2)} s`);
const counted = (many, name, end) => `${many} ${name}${many === 1 ? "" : "s"}${end}`;
const FIGURES = [
  ["SLO attainment", "slo_attainment", PERCENT], ["Goodput, requests/s", "goodput_rps", (value) => value.toFixed(2)],
  ["TTFT p50", "ttft_p50_s", SECONDS], ["TTFT p99", "ttft_p99_s", SECONDS],
  ["TPOT p50", "tpot_p50_s", SECONDS], ["TPOT p99", "tpot_p99_s", SECONDS],
];

function rebalanced(found) {
  const before = found.predicted_before || {}, after = found.predicted_after || {};
  const rows = FIGURES.filter(([, key]) => before[key] !== undefined && after[key] !== undefined).map(([name, key, write]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: "n" }, write(before[key])), element("td", { class: "n" }, write(after[key]))));
  const head = element("tr", {}, element("th", { scope: "col" }, "simulated"), element("th", { scope: "col", class: "n" }, "as it is"), element("th", { scope: "col", class: "n" }, "then"));
  const flips = (found.flips || []).map((one) => element("li", {}, `${one.replica}: `, element("span", { class: `key ${one.from}` }, one.from), " → ", element("span", { class: `key ${one.to}` }, one.to)));
  return [
    flips.length ? element("ul", { class: "list" }, ...flips) : element("p", {}, "No replica changes its phase."),
    element("p", { class: "faint" }, counted((found.routes || []).length, "route", ".")),
    element("table", { class: "promised" }, element("thead", {}, head), element("tbody", {}, ...rows)),
    ...(found.why || []).map((one) => element("p", { class: "faint" }, one)),
  ];
}

function brought(found) {
  const steps = (found.steps || []).map((one) => element("li", {}, `${one.what} ${one.id}${one.state === "planned" ? "" : `: ${one.state}`}${one.error ? `, ${one.error}` : ""}`));
  const cost = found.cost_usd_per_hour;
  return [
    element("p", {}, counted(steps.length, "step", ":")),
    element("ul", { class: "list" }, ...steps),
    cost === undefined || cost === null ? null : element("p", {}, `It costs $${cost.toFixed(3)} an hour then.`),
  ];
}

const CHANGES = {
  rebalance: {
    title: () => "Rebalance", show: rebalanced, idle: (found) => found.changes === false, confirm: "Put in force", done: (found) => `Epoch ${found.epoch} is in force.`,
    about: "Phases and routes only: no engine restarts, and no request is lost.", choices: ["observed", "coding", "conversation"],
    body: (_, workload) => ({ workload }),
  },
  drain: {
    title: (what) => `Drain ${what}`, show: rebalanced, idle: () => false, confirm: "Drain", done: (found) => `Drained: epoch ${found.epoch} is in force.`,
    about: "Routes leave it out, and its machine stays leased and costs on. Undrain takes it back; the next up releases it.",
    choices: ["observed", "coding", "conversation"], body: (instance, workload) => ({ instance, workload }),
  },
  undrain: {
    title: (what) => `Undrain ${what}`, show: rebalanced, idle: (found) => found.changes === false, confirm: "Undrain", done: (found) => `Taken back: epoch ${found.epoch} is in force.`,
    about: "It gets requests again. No engine restarts, and nothing is leased: its machine was never released.",
    choices: ["observed", "coding", "conversation"], body: (instance, workload) => ({ instance, workload }),
  },
  up: {
    title: (what) => `Go back to plan ${what}`, show: brought, idle: (found) => !(found.steps || []).length, confirm: "Bring it up", done: () => "It is up.",
    about: "Leases what it is missing and releases what it does not need, within the budget. This can spend money.",
    choices: [], body: (plan_id) => ({ plan_id }),
  },
};

async function stand(job, said) {
  try {
    return await call(`/api/v1/jobs/${encodeURIComponent(job.id)}?wait_s=2`);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    said.textContent = "The controller does not answer. What was begun goes on; asking again …";
    await new Promise((done) => setTimeout(done, AGAIN_MS));
    return { ...job, said: said.textContent };
  }
}

// One dialog serves all: what was asked in it before may still be answered, and is not shown under another's title.
let latest = 0;
function asking(kind, what) {
  const change = CHANGES[kind], dialog = $("ask"), body = $("ask-body"), buttons = $("ask-buttons"), mine = ++latest;
  const close = () => element("button", { type: "button", click: () => dialog.close() }, "Close");
  const show = (parts, ...row) => {
    if (mine !== latest) return;
    body.replaceChildren(...parts.filter(Boolean)); buttons.replaceChildren(...row); row.at(-1)?.focus();
  };
  const failed = (error) => show([element("p", { class: "notice bad", role: "alert" }, `▲ ${error.message}`)], close());
  const about = element("p", {}, change.about);

  function choose() {
    const select = element("select", { id: "workload" }, ...change.choices.map((one) => element("option", { value: one }, one)));
    const row = [close(), element("button", { type: "button", class: "main", click: () => preview(select.value) }, "Preview")];
    show([about, element("label", { for: "workload" }, "For which workload?"), select], ...row);
  }

  async function preview(workload) {
    show([about, element("p", { class: "faint" }, "Deciding; nothing is changed yet …")], close());
    const wanted = change.body(what, workload);
    try {
      const found = await call(`/api/v1/${kind}`, { ...wanted, dry_run: true });
      if (change.idle(found)) { show([element("p", {}, "Nothing would change: it is so already.")], close()); return; }
      const go = element("button", { type: "button", class: "main", click: () => run(wanted) }, change.confirm);
      show([...change.show(found), about], close(), go);
    } catch (error) { failed(error); }
  }

  async function run(wanted) {
    const said = element("pre", {}, "…");
    show([element("p", {}, "Under way. It goes on if you close this."), said], close());
    try {
      let job = await call(`/api/v1/${kind}`, wanted);
      while (!["done", "failed"].includes(job.state)) {
        said.textContent = job.said || "…";
        job = await stand(job, said);
      }
      const why = job.result?.error?.message || job.said || `It ended with ${job.exit_code}.`;
      if (job.state === "failed") throw new Error(why);
      show([element("p", { class: "good", role: "status" }, `✓ ${change.done(job.result || {})}`), ...change.show(job.result || {})], close());
    } catch (error) { failed(error); }
  }

  $("ask-title").textContent = change.title(what);
  body.replaceChildren();
  dialog.showModal();
  if (change.choices.length) choose();
  else preview();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-do]");
  if (button) asking(button.dataset.do, button.dataset.what);
});
themes();
charts();
if ($("live")) follow();
