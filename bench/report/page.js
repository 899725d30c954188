// What the page shows: its charts, and which runs and systems are in them.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const several = data.runs.length > 1;
  const systems = [...new Set(data.loads.map((l) => l.system))];

  // lineOf makes a line of a load, named by its system and, where there are several, its run. Runs differ by their dashes.
  const lineOf = (load, points) => ({
    label: several ? `${load.system}, ${data.runs[load.run]}` : load.system,
    run: load.run, system: load.system, colour: load.colour, ours: load.ours, dash: load.run, points,
  });

  // percentile is the words for a number of nines: 2 is 99 %.
  const percentile = (nines) => `${Number((100 - 100 * Math.pow(10, -nines)).toFixed(Math.max(0, Math.ceil(nines) - 1)))} %`;

  // percentiles are where the axis has its marks: 0, 50, 90, 99 % and so on, and more of them where few are left. Marks that would come
  // closer than their words are wide are left out.
  const percentiles = (u, axis, min, max) => {
    const within = (list) => list.filter((v) => v >= min && v <= max);
    const room = 64 * (max - min) / Math.max(1, u.bbox.width / devicePixelRatio);
    const wholes = within([0, Math.log10(2), ...Array.from({ length: 9 }, (_, i) => i + 1)]);
    const halves = within([0, ...Array.from({ length: 9 }, (_, i) => [i + Math.log10(2), i + 1]).flat()]);
    const fine = within(Array.from({ length: 181 }, (_, i) => i / 20));
    const marks = [];
    for (const v of max - min > 5 ? wholes : halves.length > 2 ? halves : fine) {
      if (marks.length === 0 || v - marks[marks.length - 1] >= room) marks.push(v);
    }
    return marks;
  };

  const ofFigure = (figure) => data.loads.filter((l) => l.sized === Number(figure.dataset.sized));

  const seriesAxes = {
    deliveries: { format: readable, of: (s) => s.deliveries },
    p99_us: { format: (v) => `${readable(v)}\u00a0ms`, of: (s) => s.p99_us / 1000 },
    server_cpu: { format: readable, of: (s) => s.server_cpu },
  };

  const kinds = {
    latency: (figure) => ({
      height: 320,
      x: { label: "of the deliveries were faster", format: percentile, splits: percentiles },
      y: { log: true, format: (v) => `${readable(v)}\u00a0ms` },
      lines: ofFigure(figure).filter((l) => l.curve).map((l) => lineOf(l, l.curve.filter((p) => p[1] > 0))),
    }),
    series: (figure) => ({
      height: 200,
      x: { label: "second", format: readable, incrs: [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600] },
      y: seriesAxes[figure.dataset.field],
      lines: ofFigure(figure).filter((l) => l.series).map((l) => lineOf(l, l.series.map((s) => [s.s, seriesAxes[figure.dataset.field].of(s)]))),
    }),
  };

  const charts = [];
  window.charts = charts; // for tests
  for (const figure of document.querySelectorAll("figure.chart")) {
    const what = kinds[figure.dataset.chart](figure);
    what.lines = what.lines.filter((line) => line.points.length > 0);
    if (what.lines.length > 0) charts.push(new Chart(figure, what));
    else figure.remove();
  }

  // The boxes that choose runs and systems.
  const hidden = { runs: new Set(), systems: new Set() };
  const apply = () => {
    const wanted = (run, system) => !hidden.runs.has(String(run)) && !hidden.systems.has(system);
    charts.forEach((chart) => chart.show(wanted));
    for (const row of document.querySelectorAll("tr[data-run]")) row.hidden = !wanted(row.dataset.run, row.dataset.system);
    for (const bar of document.querySelectorAll("g.bar")) bar.classList.toggle("off", !wanted(bar.dataset.run, bar.dataset.system));
  };
  const swatch = (colour) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "swatch");
    svg.setAttribute("viewBox", "0 0 10 10");
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of [["width", "10"], ["height", "10"], ["rx", "2"], ["fill", colour]]) rect.setAttribute(name, value);
    svg.append(rect);
    return svg;
  };
  const offer = (kind, list) => {
    const set = document.getElementById(`shown-${kind}`);
    set.hidden = list.length < 2;
    for (const [value, text, colour] of list) {
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = true;
      box.addEventListener("change", () => {
        if (box.checked) hidden[kind].delete(value);
        else hidden[kind].add(value);
        apply();
      });
      label.append(box, " ", ...(colour ? [swatch(colour), " "] : []), text);
      set.append(label);
    }
  };
  offer("runs", data.runs.map((label, i) => [String(i), label]));
  offer("systems", systems.map((name) => [name, name, data.loads.find((l) => l.system === name).colour]));
  document.getElementById("shown").hidden = !several && systems.length < 2;

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.redraw()));
})();
