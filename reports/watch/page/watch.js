"use strict";
// Behaviour of the page: its charts follow the reader's choice of a light or a dark ground.

const page = JSON.parse(document.getElementById("data").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const views = {};
const ONLY_ERRORS = 1; // level of Vega's messages on the console

async function draw(name, spec) {
  views[name]?.finalize();
  const theme = dark.matches ? page.dark : page.light;
  const columns = Math.max(1, Math.floor(document.getElementById("chart-" + name).clientWidth / 160));
  const config = { ...theme, legend: { ...theme.legend, columns } };
  const options = { actions: false, renderer: "svg", logLevel: ONLY_ERRORS, config };
  options.tooltip = { theme: dark.matches ? "dark" : "light" };
  views[name] = await vegaEmbed("#chart-" + name, spec, options);
}

async function draw_all() {
  for (const [name, spec] of Object.entries(page.charts)) await draw(name, spec);
  document.body.dataset.ready = "yes";
}

dark.addEventListener("change", draw_all);
draw_all();
