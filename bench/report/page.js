// What the page shows: its charts, and which runs and systems are in them.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const several = data.runs.length > 1;
  const systems = [...new Set(data.loads.map((l) => l.system))];

  // named tells a line from the others of its chart, and no more.
  const named = (load, what) => [several ? data.runs[load.run] : "", systems.length > 1 ? load.system : "", what].filter((s) => s).join(" · ") || load.system;

  // lineOf makes a line of a load.
  const lineOf = (load, what, points) => ({ label: named(load, what), run: load.run, system: load.system, points });

  // grouped makes one line of all loads with the same name, run and system.
  const grouped = (loads, what, pointOf) => {
    const lines = new Map();
    for (const load of loads) {
      const key = JSON.stringify([load.run, load.system, what(load)]);
      if (!lines.has(key)) lines.set(key, lineOf(load, what(load), []));
      lines.get(key).points.push(pointOf(load));
    }
    for (const line of lines.values()) {
      line.points.sort((a, b) => a[0] - b[0]);
      line.points = line.points.filter((p, i, all) => i + 1 === all.length || p[0] !== all[i + 1][0]);
    }
    return [...lines.values()];
  };

  // percentile is the words for a number of nines: 2 is 99 %.
  const percentile = (nines) => `${Number((100 - 100 * Math.pow(10, -nines)).toFixed(Math.max(0, Math.ceil(nines) - 1)))} %`;

  // percentiles are where the axis has its marks: 0, 50, 90, 99 % and so on; where there is room 95 % and its like, too, and more of
  // them once few are left.
  const percentiles = (u, axis, min, max) => {
    const within = (list) => list.filter((v) => v >= min && v <= max);
    const wholes = within([0, Math.log10(2), ...Array.from({ length: 9 }, (_, i) => i + 1)]);
    if (max - min > 5) return wholes;
    const marks = within([0, ...Array.from({ length: 9 }, (_, i) => [i + Math.log10(2), i + 1]).flat()]);
    return marks.length > 2 ? marks : within(Array.from({ length: 181 }, (_, i) => i / 20));
  };

  const ofScenario = (figure) => data.loads.filter((l) => l.scenario === Number(figure.dataset.scenario));

  const kinds = {
    latency: (figure) => ({
      x: { label: "Percentile", format: percentile, splits: percentiles },
      y: { label: "Latency, ms", log: true, format: readable },
      lines: ofScenario(figure).filter((l) => l.curve).map((l) => lineOf(l, l.size, l.curve.filter((p) => p[1] > 0))),
    }),
    throughput: () => ({
      x: { label: "Connections", log: true, format: readable },
      y: { label: "Deliveries/s", format: readable },
      lines: grouped(data.loads.filter((l) => l.way), (l) => l.kind, (l) => [l.conns, l.deliveries_per_s]),
    }),
    cpu: () => ({
      bars: true,
      x: { label: "No. in the table", format: (v) => String(v), splits: (u, axis, min, max) => data.loads.map((l) => l.id).filter((id) => id >= min && id <= max) },
      y: { label: "µs a delivery", format: readable },
      lines: grouped(data.loads.filter((l) => l.way && l.server_cpu_us > 0), () => "", (l) => [l.id, l.server_cpu_us]),
    }),
    series: (figure) => ({
      x: { label: "Second", format: readable, incrs: [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600] },
      y: seriesAxes[figure.dataset.field],
      lines: ofScenario(figure).filter((l) => l.series).map((l) => lineOf(l, l.size, l.series.map((s) => [s.s, seriesAxes[figure.dataset.field].of(s)]))),
    }),
  };

  const seriesAxes = {
    deliveries: { label: "Deliveries", format: readable, of: (s) => s.deliveries },
    p99_us: { label: "Latency, ms", format: readable, of: (s) => s.p99_us / 1000 },
    server_cpu: { label: "Cores", format: readable, of: (s) => s.server_cpu },
  };

  const charts = [];
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
  };
  const offer = (kind, list) => {
    const set = document.getElementById(`shown-${kind}`);
    set.hidden = list.length < 2;
    for (const [value, text] of list) {
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = true;
      box.addEventListener("change", () => {
        if (box.checked) hidden[kind].delete(value);
        else hidden[kind].add(value);
        apply();
      });
      label.append(box, " ", text);
      set.append(label);
    }
  };
  offer("runs", data.runs.map((label, i) => [String(i), label]));
  offer("systems", systems.map((name) => [name, name]));
  document.getElementById("shown").hidden = !several && systems.length < 2;

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.redraw()));
})();
