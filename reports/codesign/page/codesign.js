"use strict";
// Behaviour of the page: one design is picked as A, another one as B; charts and tables show these two.

const page = JSON.parse(document.getElementById("data").textContent);
const by_id = new Map(page.designs.map((design) => [design.id, design]));
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const state = { a: page.opened, b: "", x: page.axes[0], y: page.axes[1], layer: page.layer, shares: false, others: true, same: false };
const unfolded = new Set(); // designs in the table whose others are listed, too
const views = {};
const SAME = " No objective tells them apart.";
const ONLY_ERRORS = 1; // level of Vega's messages on the console

const find = (id) => document.getElementById(id);
const costs = (design) => design.measured || design.corrected || design.predicted;
const known_as = (design) => (!design.measured && design.corrected ? "corrected" : "measured");
const is_listed = (design) => Boolean(design.measured) || !page.verified;
const short_id = (id) => id.slice(0, 8);
const stands_alone = (design) => design.same_as === design.id;
const others_of = (design) => page.designs.filter((other) => other.same_as === design.id && other !== design);
const place = (name) => page.figures.findIndex((figure) => figure.name === name);

// ---- Numbers and elements

function show(value, kind) {
  if (value === null || value === undefined || value === "") return "\u2013";
  const number = Number(value);
  if (typeof value !== "number" && !["NaN", "Infinity", "-Infinity"].includes(value)) return String(value);
  if (Number.isNaN(number)) return "not a number";
  if (!Number.isFinite(number)) return number > 0 ? "infinite" : "-infinite";
  if (kind === "share") return (100 * number).toLocaleString("en", { maximumFractionDigits: 2 }) + " %";
  if (kind === "change") return (number > 0 ? "+" : "") + (100 * number).toFixed(1) + " %";
  if (kind === "points") return (number > 0 ? "+" : "") + (100 * number).toFixed(2) + " points";
  if (Number.isInteger(number)) return number.toLocaleString("en");
  return number.toLocaleString("en", { maximumSignificantDigits: 4 });
}

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// A cell keeps the exact number as its value
function cell(value, kind) {
  if (value instanceof Node) return element("td", {}, value);
  const made = element("data", { value: value === null || value === undefined ? "" : String(value) }, show(value, kind));
  return element("td", {}, made);
}

// rows: {head, cells, kind}, kind a class of the row, each cell a value or [value, kind]
function table(caption, heads, rows) {
  const top = element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)));
  const body = rows.map((row) => {
    const cells = row.cells.map((each) => (Array.isArray(each) ? cell(...each) : cell(each)));
    return element("tr", row.kind ? { class: row.kind } : {}, element("th", { scope: "row" }, row.head), ...cells);
  });
  const parts = [element("thead", {}, top), element("tbody", {}, ...body)];
  return element("table", {}, ...(caption ? [element("caption", {}, caption)] : []), ...parts);
}

function relative(value, base) {
  const change = Number(value) / Number(base) - 1;
  return Number.isFinite(change) ? change : null;
}

// Lost accuracy may be 0, so its change is in points instead of a ratio
function difference(value, base, kind) {
  if (value === null || base === null) return [null];
  if (kind !== "share") return [relative(value, base), "change"];
  const points = Number(value) - Number(base);
  return [Number.isFinite(points) ? points : null, "points"];
}

// ---- Charts

async function draw(name, spec, datasets) {
  views[name]?.finalize();
  const theme = dark.matches ? page.dark : page.light;
  const columns = Math.max(1, Math.floor(find("chart-" + name).clientWidth / 160));
  const config = { ...theme, legend: { ...theme.legend, columns } };
  const options = { actions: false, renderer: "svg", logLevel: ONLY_ERRORS, config };
  options.tooltip = { theme: dark.matches ? "dark" : "light" };
  const drawn = await vegaEmbed("#chart-" + name, { ...spec, datasets: { ...spec.datasets, ...datasets } }, options);
  views[name] = drawn;
  return drawn.view;
}

function flat(design, letter) {
  const row = { id: design.id, name: design.name, kind: design.kind, front_share: design.front_share, letter };
  page.figures.forEach((figure, at) => {
    const value = costs(design)[at];
    row[figure.name] = typeof value === "number" ? value : null;
  });
  return row;
}

function picked_rows() {
  const letters = [["A", by_id.get(state.a)], ["B", by_id.get(state.b)]];
  return letters.filter(([, design]) => design).map(([letter, design]) => flat(design, letter));
}

async function draw_front() {
  const shown = (design) => (state.others || design.measured) && (state.same || stands_alone(design));
  const designs = page.designs.filter(shown);
  const rows = designs.map((design) => flat(design));
  const view = await draw("front", page.charts.front[state.x + " " + state.y], { designs: rows, picked: picked_rows() });
  view.addEventListener("click", (event, item) => {
    if (item?.datum?.id) pick(item.datum.id, event.shiftKey || document.querySelector("[name=turn]:checked").value === "b");
  });
}

function layers_of(id, letter) {
  return (page.layers[id] || []).map((layer) => ({ ...layer, letter }));
}

function draw_layers() {
  const layers = [...layers_of(state.a, "A"), ...layers_of(state.b, "B")];
  find("no-layers").hidden = layers.length > 0;
  find("with-layers").hidden = find("time").hidden = layers.length === 0;
  if (!layers.length) return;
  for (const [name, columns] of Object.entries(page.parts)) {
    const height = page.bar_pixels * layers.length;
    draw(name, { ...page.charts.parts[name][state.shares ? 1 : 0], height }, { layers });
    const rows = layers.map((layer) => {
      const values = columns.map((column) => layer[column.name]);
      return { head: `${layer.letter}: ${layer.layer}`, cells: [...values, values.reduce((sum, each) => sum + Number(each), 0)] };
    });
    find("table-" + name).replaceChildren(table("", ["layer", ...columns.map((column) => column.label), "all"], rows));
  }
  draw_timelines();
}

function rows_of(columns) {
  const names = Object.keys(columns);
  return columns.cycle.map((_, at) => Object.fromEntries(names.map((name) => [name, columns[name][at]])));
}

function draw_timelines() {
  for (const [letter, id] of [["a", state.a], ["b", state.b]]) {
    const layer = (page.layers[id] || [])[state.layer];
    const home = find("time-" + letter);
    home.hidden = !layer;
    if (!layer) continue;
    home.querySelector("span").textContent = `${layer.layer} on ${by_id.get(id).name}`;
    home.querySelector(".note").hidden = layer.bins.cycle.length > 0;
    for (const panel of Object.keys(page.charts.timeline)) {
      find(`chart-${panel}-${letter}`).hidden = layer.bins.cycle.length === 0;
      if (layer.bins.cycle.length) draw(`${panel}-${letter}`, page.charts.timeline[panel], { bins: rows_of(layer.bins) });
    }
  }
}

// ---- Tables

function show_designs() {
  const shares = page.front_share ? [page.front_share, "stands for"] : [];
  const heads = ["design", "show", "kind", ...shares, ...page.figures.map((figure) => figure.label), "on test images"];
  const rows = page.designs.filter(is_listed).filter(stands_alone).flatMap((design) => [design, ...(unfolded.has(design.id) ? others_of(design) : [])]);
  find("table-designs").replaceChildren(table("", heads, rows.map(design_row)));
}

function design_row(design) {
  const buttons = ["a", "b"].map((letter) => {
    const label = `Show ${design.name} as ${letter.toUpperCase()}`;
    const pressed = String(state[letter] === design.id);
    const button = element("button", { type: "button", "aria-label": label, "aria-pressed": pressed }, letter.toUpperCase());
    button.addEventListener("click", () => pick(design.id, letter === "b", `button[aria-label="${CSS.escape(label)}"]`));
    return button;
  });
  const shares = page.front_share ? [[design.front_share, "share"], [others_cell(design)]] : [];
  const figures = page.figures.map((figure, at) => [costs(design)[at], figure.kind]);
  const cells = [[element("span", {}, ...buttons)], design.kind, ...shares, ...figures, [design.test_accuracy, "share"]];
  return { head: design.name, cells, kind: stands_alone(design) ? "" : "same" };
}

// The others that a design stands for, behind a button; of another one, the design that stands for it
function others_cell(design) {
  if (!stands_alone(design)) return `same as ${short_id(design.same_as)}`;
  const others = others_of(design);
  if (!others.length) return null;
  const open = unfolded.has(design.id);
  const attributes = { type: "button", "aria-expanded": String(open), "aria-label": `Others that ${design.name} stands for` };
  const button = element("button", attributes, `${others.length} ${others.length === 1 ? "other" : "others"}`);
  button.addEventListener("click", () => {
    if (open) unfolded.delete(design.id); else unfolded.add(design.id);
    show_designs();
    document.querySelector(`button[aria-label="${CSS.escape(attributes["aria-label"])}"]`)?.focus();
  });
  return button;
}

function show_costs() {
  const [a, b] = [by_id.get(state.a), by_id.get(state.b)];
  const pair = b ? [a, b] : [a];
  const heads = ["cost", ...pair.flatMap((design, at) => [known_as(design), "predicted", "off by"].map((head) => `${"AB"[at]} ${head}`))];
  const rows = page.figures.map((figure, at) => {
    const cells = pair.flatMap((design) => {
      const known = design[known_as(design)]?.[at] ?? null;
      const predicted = design.predicted[at];
      return [[known, figure.kind], [predicted, figure.kind], difference(predicted, known, figure.kind)];
    });
    if (b) cells.push(difference(costs(b)[at], costs(a)[at], figure.kind));
    return { head: figure.label, cells };
  });
  for (const [at, end] of ["lower", "upper"].entries()) {
    const cells = pair.flatMap((design) => {
      const { [known_as(design)]: known, predicted } = design.loss_intervals;
      return [[known ? known[at] : null, "share"], [predicted ? predicted[at] : null, "share"], [null]];
    });
    if (b) cells.push([null]);
    if (pair.some((design) => design.loss_intervals[known_as(design)])) rows.push({ head: `loss to be expected, ${end} end`, cells });
  }
  const shares = [["accuracy", "accuracy"], ["accuracy on test images", "test_accuracy"]];
  if (page.front_share) shares.push([page.front_share, "front_share"]);
  for (const [label, name] of shares) {
    const cells = pair.flatMap((design) => [[design[name], "share"], [null], [null]]);
    if (b) cells.push(difference(b[name], a[name], "share"));
    rows.push({ head: label, cells });
  }
  for (const name of ["overflows", "saturated_activations"]) {
    const cells = pair.flatMap((design) => [[design[name]], [null], [null]]);
    if (b) cells.push([null]);
    const fixed = pair.some((design) => design.number_formats.length);
    if (fixed) rows.push({ head: `${name.replace("_", " ")} per input`, cells });
  }
  find("table-costs").replaceChildren(table("Costs", b ? [...heads, "B against A"] : heads, rows));
  const settings = page.settings.map((setting, at) => {
    const values = pair.map((design) => design.settings[at]);
    return { head: setting, cells: values, kind: b && values[0] !== values[1] ? "differs" : "" };
  });
  find("table-settings").replaceChildren(table("Settings in which designs differ", b ? ["setting", "A", "B"] : ["setting", "A"], settings));
  const words = page.figures.map((figure, at) => {
    const [change, kind] = b ? difference(costs(b)[at], costs(a)[at], figure.kind) : [null];
    return change === null ? null : `${figure.label.split(",")[0]} ${show(change, kind)}`;
  });
  find("compare-words").textContent = b
    ? `B (${b.name}) against A (${a.name}): ${words.filter(Boolean).join("; ")}.${a !== b && a.same_as === b.same_as ? SAME : ""}`
    : `A is ${a.name}. Pick a second design as B to compare both.`;
  const limits = pair.map((design, at) => design.limits && `Limits of ${"AB"[at]}: ${design.limits}`);
  find("limit-words").textContent = limits.filter(Boolean).join(" ");
  const dense = pair.map((design, at) => design.dense && `${"AB"[at]} beside a dense array: ${design.dense}`);
  find("dense-words").textContent = dense.filter(Boolean).join(" ");
}

const format_heads = ["product", "bits of a number", "weights", "activations", "sums"];

function show_plans() {
  const plans = ["a", "b"].filter((letter) => by_id.get(state[letter])).map((letter) => {
    const design = by_id.get(state[letter]);
    const layers = page.layers[design.id];
    const caption = `${letter.toUpperCase()}: ${design.name}`;
    const cut = ([, , threshold, share]) => (page.thresholds ? [threshold ?? 0, [share ?? 0, "share"]] : []);
    const rows = layers ? layers.map(plan_row) : design.choices.map((choice, at) => ({
      head: page.layer_names[at], cells: [...cut(choice), [choice[0], "share"], choice[1]] }));
    const cut_heads = page.thresholds ? ["threshold", "cut by it"] : [];
    const heads = layers ? page.plan_heads : ["layer", ...cut_heads, "density, chosen", "codebook bits"];
    const home = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Plan of " + caption });
    home.append(table(caption, heads, rows));
    if (design.number_formats.length) {
      const formats = design.number_formats.map(([head, ...cells]) => ({ head, cells }));
      home.append(table("Number formats: bits behind the binary point", format_heads, formats));
    }
    return home;
  });
  find("plans").replaceChildren(...plans);
}

function plan_row(layer) {
  const pairs = [["matrix_bytes", "predicted_matrix_bytes"], ["cycles", "predicted_cycles"], ["energy_nj", "predicted_energy_nj"]];
  const costs = pairs.flatMap(([measured, predicted]) => [
    layer[predicted], layer[measured], [relative(layer[predicted], layer[measured]), "change"]]);
  const shape = `${layer.rows} x ${layer.columns}`;
  const left_out = page.left_out ? [`${layer.rows_left_out}, ${layer.columns_left_out}`] : [];
  const broadcast = page.thresholds ? [layer.activation_threshold, [layer.broadcast_share, "share"]] : [];
  const limit = page.limits ? [layer.limit_cycles, [layer.limit_share, "share"], layer.limit_binds] : [];
  const of_bytes = layer.sram_bytes ? layer.limit_bytes / layer.sram_bytes : null;
  const least = page.least ? [layer.limit_energy_nj, layer.limit_bytes, [of_bytes, "share"]] : [];
  const settings = [layer.kind, shape, ...left_out, layer.vectors, ...broadcast,
    [layer.chosen_density, "share"], [layer.density, "share"], layer.weight_bits];
  return { head: layer.layer, cells: [...settings, layer.array_index_bits, layer.file_index_bits,
    layer.residency, layer.load_bytes, ...costs, ...limit, ...least] };
}

// ---- Actions of the reader

function fill(id, options, chosen) {
  find(id).replaceChildren(...options.map(([value, label]) => element("option", { value }, label)));
  find(id).value = chosen;
}

function fill_picks() {
  const shown = page.designs.filter((design) => is_listed(design) || [state.a, state.b].includes(design.id));
  const same = (design) => (stands_alone(design) ? "" : `, same as ${short_id(design.same_as)}`);
  const options = shown.map((design) => [design.id, `${design.name} (${design.kind}${same(design)})`]);
  fill("pick-a", options, state.a);
  fill("pick-b", [["", "none: pick one to compare"], ...options], state.b);
}

function pick(id, as_b, focus) {
  state[as_b ? "b" : "a"] = id;
  history.replaceState(null, "", `#${state.a}${state.b ? "," + state.b : ""}`);
  show_picks();
  if (focus) document.querySelector(focus)?.focus();
}

function show_picks() {
  fill_picks();
  show_designs();
  show_costs();
  show_plans();
  views.front?.view.data("picked", picked_rows()).run();
  draw_layers();
}

function start() {
  const [a, b] = location.hash.slice(1).split(",");
  if (by_id.has(a)) state.a = a;
  if (by_id.has(b)) state.b = b;
  const figures = page.figures.map((figure) => [figure.name, figure.label]);
  fill("axis-x", figures, state.x);
  fill("axis-y", figures, state.y);
  fill("layer", (page.layers[state.a] || []).map((layer, at) => [String(at), layer.layer]), String(state.layer));
  find("pick-a").addEventListener("change", (event) => pick(event.target.value, false));
  find("pick-b").addEventListener("change", (event) => pick(event.target.value, true));
  find("swap").addEventListener("click", () => {
    if (!state.b) return;
    [state.a, state.b] = [state.b, state.a];
    pick(state.a, false);
  });
  for (const [id, mine, other] of [["axis-x", "x", "y"], ["axis-y", "y", "x"]]) {
    find(id).addEventListener("change", (event) => {
      if (state[other] === event.target.value) state[other] = state[mine]; // swap the axes
      state[mine] = event.target.value;
      find("axis-x").value = state.x;
      find("axis-y").value = state.y;
      draw_front();
    });
  }
  find("show-others")?.addEventListener("change", (event) => { state.others = event.target.checked; draw_front(); });
  find("show-same")?.addEventListener("change", (event) => { state.same = event.target.checked; draw_front(); });
  find("as-shares").addEventListener("change", (event) => { state.shares = event.target.checked; draw_layers(); });
  find("layer").addEventListener("change", (event) => { state.layer = Number(event.target.value); draw_timelines(); });
  dark.addEventListener("change", draw_all);
  draw_all();
}

async function draw_all() {
  show_picks();
  await draw_front();
  await draw("hypervolume", page.charts.hypervolume, { volumes: page.volumes });
  document.body.dataset.ready = "yes";
}

start();
