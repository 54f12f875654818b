"use strict";
// Plots as SVG, drawn of a record alone; each says in words what it shows.

function svg(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function plotWaveform(place, columns) {
  place.replaceChildren();
  if (!columns) return;
  const plot = svg("svg", { viewBox: `0 -1 ${columns.length} 2`, preserveAspectRatio: "none", role: "img",
    "aria-label": "Waveform" });
  columns.forEach(([low, high], x) => plot.append(
    svg("rect", { class: "wave", x, y: -high, width: 1, height: Math.max(high - low, 0.01) })));
  place.append(plot);
}

// Bars of the caption's coordinates, circles of the samples'.
function plotEmotions(place, emotions, samples) {
  place.replaceChildren();
  if (!emotions) { place.textContent = "this captioner has none: its reward has no emotion coordinates"; return; }
  const names = Object.keys(emotions);
  const all = [emotions, ...samples.map((one) => one.emotions || {})];
  const most = Math.max(1e-6, ...all.flatMap((one) => Object.values(one).map(Math.abs)));
  const x = (value) => 210 + 140 * value / most;
  const plot = svg("svg", { viewBox: `0 0 360 ${22 * names.length}`, role: "img", "aria-label":
    names.map((name) => `${name} ${emotions[name].toFixed(2)}`).join(", ") });
  names.forEach((name, row) => {
    const y = 22 * row + 11, end = x(emotions[name]);
    plot.append(svg("text", { x: 62, y: y + 4, "text-anchor": "end" }, name));
    plot.append(svg("rect", { class: "bar", x: Math.min(210, end), y: y - 6, width: Math.abs(end - 210), height: 12 }));
    for (const one of samples) {
      if (one.emotions) plot.append(svg("circle", { class: "dot", cx: x(one.emotions[name]), cy: y, r: 4 }));
    }
  });
  plot.append(svg("line", { class: "axis", x1: 210, x2: 210, y1: 0, y2: 22 * names.length }));
  place.append(plot);
}
