// How one chart is drawn. charts() of page.js says what is drawn.
"use strict";

const dashes = [[], [8, 4], [2, 3], [12, 3, 2, 3]];

// colourOf reads a colour of the page's, so that light and dark follow the reader.
const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const reading = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

// readable has three digits that matter, or all before the point.
const readable = (v) => (v == null ? "–" : Math.abs(v) >= 100 ? whole.format(v) : reading.format(v));

// decades are the marks of a logarithmic axis: 1, 2, 5, 10, 20, 50 and so on, or fewer where they would collide.
function decades(u, axis, min, max) {
  const most = Math.max(2, (axis === 0 ? u.bbox.width / 60 : u.bbox.height / 24) / devicePixelRatio);
  let marks = [];
  for (const digits of [[1, 2, 5], [1, 3], [1]]) {
    marks = [];
    for (let power = Math.floor(Math.log10(min)); power <= Math.log10(max); power++) {
      for (const digit of digits) marks.push(Number((digit * Math.pow(10, power)).toPrecision(3)));
    }
    marks = marks.filter((v) => v >= min && v <= max);
    if (marks.length <= most) break;
  }
  return marks;
}

// Chart is one figure of the page. what is its lines and axes:
//   height, x, y: {label, log, format}, lines: [{label, run, system, colour, ours, dash, points}]
class Chart {
  constructor(figure, what) {
    this.figure = figure;
    this.what = what;
    this.area = document.createElement("div");
    this.area.className = "area";
    this.range = document.createElement("div");
    this.range.className = "range";
    this.text = document.createElement("output");
    this.all = document.createElement("button");
    this.all.type = "button";
    this.all.textContent = "Show all";
    this.all.addEventListener("click", () => this.showAll());
    this.range.append(this.text, this.all);
    figure.append(this.area, this.range);
    this.data = this.aligned();
    this.plot = new uPlot(this.options(), this.data, this.area);
    this.describe();
    new ResizeObserver(() => this.resize()).observe(figure);
  }

  // aligned puts the points of all lines on one axis.
  aligned() {
    const lines = this.what.lines.map((line) => [line.points.map((p) => p[0]), line.points.map((p) => p[1])]);
    return lines.length === 1 ? lines[0] : uPlot.join(lines);
  }

  options() {
    const { x, y, height } = this.what;
    return {
      width: this.width(),
      height,
      cursor: { drag: { x: true, y: false, dist: 5 }, focus: { prox: 24 } },
      focus: { alpha: 0.35 },
      scales: {
        x: { time: false, distr: x.log ? 3 : 1, range: x.log ? (u, min, max) => (u.data[0].includes(min) ? [min / 1.3, max * 1.3] : [min, max]) : undefined },
        y: { distr: y.log ? 3 : 1, range: y.log ? undefined : (u, min, max) => [0, max > 0 ? max * 1.08 : 1] },
      },
      axes: [this.axis(x, {}), this.axis(y, { size: 76 })],
      series: [{ label: x.label, class: "x", value: (u, v) => (v == null ? "–" : x.format(v)) }, ...this.what.lines.map((line) => this.line(line))],
      hooks: { setScale: [(u, key) => key === "x" && this.describe(u)] },
    };
  }

  axis(of, more) {
    return {
      label: of.label,
      stroke: () => colourOf("--ink"),
      grid: { stroke: () => colourOf("--line"), width: 1 },
      ticks: { stroke: () => colourOf("--line"), width: 1 },
      values: (u, splits) => splits.map((v) => (v == null ? null : of.format(v))),
      ...(of.splits ? { splits: of.splits } : {}),
      ...(of.incrs ? { incrs: of.incrs } : {}),
      ...(of.log ? { splits: decades, filter: (u, splits) => splits } : {}),
      ...more,
    };
  }

  line(line) {
    return {
      label: line.label,
      ...(line.ours ? { class: "ours" } : {}),
      stroke: line.colour,
      width: line.ours ? 3 : 1.5,
      dash: dashes[line.dash % dashes.length],
      spanGaps: true,
      points: { show: line.points.length < 12, size: 5 },
      value: (u, v) => this.what.y.format(v),
    };
  }

  width() { return Math.max(280, this.figure.clientWidth); }

  resize() {
    if (this.width() !== this.plot.width) this.plot.setSize({ width: this.width(), height: this.what.height });
  }

  showAll() {
    const xs = this.data[0];
    this.plot.setScale("x", { min: xs[0], max: xs[xs.length - 1] });
  }

  // describe says in words which part is shown. uPlot calls it before the constructor has ended.
  describe(u = this.plot) {
    if (!u || u.scales.x.min == null) return;
    const xs = this.data[0];
    const min = Math.max(u.scales.x.min, xs[0]);
    const max = Math.min(u.scales.x.max, xs[xs.length - 1]);
    this.zoomed = min > xs[0] || max < xs[xs.length - 1];
    this.text.textContent = `${this.what.x.label}: ${this.what.x.format(min)} to ${this.what.x.format(max)}`;
    this.range.hidden = !this.zoomed;
    this.figure.dataset.min = min;
    this.figure.dataset.max = max;
  }

  // show hides the lines of runs and systems that the reader does not want.
  show(wanted) {
    this.what.lines.forEach((line, i) => this.plot.setSeries(i + 1, { show: wanted(line.run, line.system) }));
  }

  redraw() { this.plot.redraw(false, true); }
}
