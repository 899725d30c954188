package e2e

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// TestCharts: each chart of the page has lines or bars in its own colours.
func TestCharts(t *testing.T) {
	b := newBrowser(t, newPage(t, example(t, "example-a"), example(t, "example-b")))
	type chart struct {
		Chart    string
		Canvases int
		Pixels   int
		Colours  int
	}
	charts := ask[[]chart](t, b, `[...document.querySelectorAll("figure.chart")].map((f) => {
		const canvases = f.querySelectorAll("canvas");
		const colours = new Set();
		let pixels = 0;
		for (const c of canvases) {
			const bytes = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
			for (let i = 0; i < bytes.length; i += 4) {
				if (bytes[i + 3] < 200) continue;
				pixels++;
				if (Math.max(bytes[i], bytes[i + 1], bytes[i + 2]) - Math.min(bytes[i], bytes[i + 1], bytes[i + 2]) > 60) colours.add(bytes[i] >> 4 << 8 | bytes[i + 1] >> 4 << 4 | bytes[i + 2] >> 4);
			}
		}
		return {Chart: f.dataset.chart, Canvases: canvases.length, Pixels: pixels, Colours: colours.size};
	})`)
	kinds := map[string]int{}
	for _, c := range charts {
		kinds[c.Chart]++
		if c.Canvases != 1 || c.Pixels < 1000 || c.Colours < 1 {
			t.Errorf("chart %+v is blank", c)
		}
	}
	for kind, want := range map[string]int{"latency": 3, "series": 9} {
		if kinds[kind] != want {
			t.Errorf("%d charts of %s, want %d", kinds[kind], kind, want)
		}
	}
	colours := ask[map[string][]string](t, b, `(() => { const all = {}; for (const g of document.querySelectorAll("g.bar")) {
		const of = all[g.dataset.system] ||= []; const fill = g.querySelector("rect").getAttribute("fill"); if (!of.includes(fill)) of.push(fill); } return all; })()`)
	seen := map[string]string{}
	for system, list := range colours {
		if len(list) != 1 || seen[list[0]] != "" {
			t.Errorf("%s has the colours %q, %s has the same", system, list, seen[list[0]])
		}
		seen[list[0]] = system
	}
	if len(colours) != 3 {
		t.Errorf("bars of %d systems, want 3: %v", len(colours), colours)
	}
}

// span is which part of a chart's x axis is shown.
type span struct{ Min, Max float64 }

const latencyChart = `figure.chart[data-chart="latency"]`

func shown(t *testing.T, b *browser) span {
	t.Helper()
	return ask[span](t, b, `(() => { const d = document.querySelector('`+latencyChart+`').dataset; return {Min: Number(d.min), Max: Number(d.max)}; })()`)
}

// TestZoom drags across a chart, and gets all of it back by the button and by a
// double click.
func TestZoom(t *testing.T) {
	b := newBrowser(t, newPage(t, example(t, "example-a")))
	all := shown(t, b)
	if all.Min != 0 || all.Max < 4 {
		t.Fatalf("shows %+v at first", all)
	}
	zoom := func() {
		t.Helper()
		at := ask[struct{ X, Y, W, H float64 }](t, b, `(() => { const o = document.querySelector('`+latencyChart+` .u-over'); o.scrollIntoView({block: "center"});
			const r = o.getBoundingClientRect(); return {X: r.x, Y: r.y, W: r.width, H: r.height}; })()`)
		y := at.Y + at.H/2
		b.do(t, chromedp.MouseEvent(chromedp.MouseMoved, at.X+at.W/4, y), chromedp.MouseEvent(chromedp.MousePressed, at.X+at.W/4, y, chromedp.ButtonLeft),
			chromedp.MouseEvent(chromedp.MouseMoved, at.X+at.W/3, y, chromedp.ButtonLeft), chromedp.MouseEvent(chromedp.MouseMoved, at.X+at.W/2, y, chromedp.ButtonLeft),
			chromedp.MouseEvent(chromedp.MouseReleased, at.X+at.W/2, y, chromedp.ButtonLeft))
		part := shown(t, b)
		if wide := all.Max - all.Min; math.Abs(part.Min-wide/4) > wide/20 || math.Abs(part.Max-wide/2) > wide/20 {
			t.Errorf("dragged from a quarter to a half: shows %+v of %+v", part, all)
		}
	}
	zoom()
	b.do(t, chromedp.Click(chromedp.CSS(latencyChart+` .range button`)))
	if got := shown(t, b); got != all {
		t.Errorf("after the button: %+v, want %+v", got, all)
	}
	zoom()
	b.do(t, chromedp.DoubleClick(chromedp.CSS(latencyChart+` .u-over`)))
	if got := shown(t, b); got != all {
		t.Errorf("after a double click: %+v, want %+v", got, all)
	}
}

// trial is what the test reads of report.json.
type trial struct {
	Conns      float64 `json:"conns"`
	Window     float64 `json:"window"`
	Rate       float64 `json:"rate"`
	Deliveries float64 `json:"deliveries_per_s"`
	CPU        float64 `json:"server_cpu_us"`
	IdleBytes  float64 `json:"idle_bytes"`
	Latency    struct {
		Count float64 `json:"count"`
		P50   float64 `json:"p50_us"`
		P90   float64 `json:"p90_us"`
		P99   float64 `json:"p99_us"`
		P999  float64 `json:"p999_us"`
		P9999 float64 `json:"p9999_us"`
		Max   float64 `json:"max_us"`
	} `json:"latency"`
}

type outcome struct {
	Name    string `json:"name"`
	Figures []struct {
		Got float64 `json:"got"`
	} `json:"figures"`
	Report report   `json:"report"`
	Runs   []report `json:"runs"`
}

type report struct {
	Trials []trial `json:"trials"`
}

// over is the median of a number of trial n over all runs of the outcome.
func (o outcome) over(n int, of func(trial) float64) float64 {
	var all []float64
	for _, r := range o.Runs {
		all = append(all, of(r.Trials[n]))
	}
	if len(all) == 0 {
		return of(o.Report.Trials[n])
	}
	slices.Sort(all)
	if middle := len(all) / 2; len(all)%2 == 0 {
		return (all[middle-1] + all[middle]) / 2
	}
	return all[len(all)/2]
}

// field is a number of a table: as it stands there, and the number behind it.
type field struct{ Text, Value string }

// rows are the fields of a table that are numbers.
func rows(t *testing.T, b *browser, id string) [][]field {
	t.Helper()
	return ask[[][]field](t, b, `[...document.querySelectorAll("#table-`+id+` tbody tr[data-run]")].map((r) => [...r.querySelectorAll("td[data-value]")].map((c) => ({Text: c.textContent, Value: c.dataset.value})))`)
}

func (f field) check(t *testing.T, what string, want float64) {
	t.Helper()
	exact, err := strconv.ParseFloat(f.Value, 64)
	if err != nil || exact != want {
		t.Errorf("%s: the page has %q, the report %v", what, f.Value, want)
	}
	number, _, _ := strings.Cut(f.Text, " ") // the unit follows
	read, err := strconv.ParseFloat(strings.ReplaceAll(number, ",", ""), 64)
	if err != nil || math.Abs(read-want) > 0.005*math.Abs(want) {
		t.Errorf("%s: the page says %q, the report %v", what, f.Text, want)
	}
}

// TestNumbers: the tables have the numbers of report.json, to the last digit
// behind what they show, and of several runs the medians.
func TestNumbers(t *testing.T) {
	folder := example(t, "example-a")
	text, err := os.ReadFile(filepath.Join(folder, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var outcomes []outcome
	if err := json.Unmarshal(text, &outcomes); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, newPage(t, folder))
	figures, rates, latencies, idle := rows(t, b, "figures"), rows(t, b, "throughput"), rows(t, b, "latency"), rows(t, b, "idle")
	next := func(table *[][]field) []field {
		t.Helper()
		if len(*table) == 0 {
			t.Fatal("a table lacks a row")
		}
		row := (*table)[0]
		*table = (*table)[1:]
		return row
	}
	for _, o := range outcomes {
		for _, f := range o.Figures {
			next(&figures)[0].check(t, o.Name, f.Got)
		}
		for n, tr := range o.Report.Trials {
			check := func(f field, of func(trial) float64) {
				t.Helper()
				f.check(t, o.Name, o.over(n, of))
			}
			if tr.Window+tr.Rate == 0 {
				row := next(&idle)
				check(row[0], func(t trial) float64 { return t.Conns })
				check(row[len(row)-1], func(t trial) float64 { return t.IdleBytes })
				continue
			}
			row := next(&rates)
			check(row[0], func(t trial) float64 { return t.Conns })
			check(row[1], func(t trial) float64 { return t.Deliveries })
			check(row[2], func(t trial) float64 { return t.CPU })
			row = next(&latencies)
			for i, of := range []func(trial) float64{
				func(t trial) float64 { return t.Latency.Count * 1000 }, func(t trial) float64 { return t.Latency.P50 },
				func(t trial) float64 { return t.Latency.P90 }, func(t trial) float64 { return t.Latency.P99 },
				func(t trial) float64 { return t.Latency.P999 }, func(t trial) float64 { return t.Latency.P9999 }, func(t trial) float64 { return t.Latency.Max },
			} {
				row[i].check(t, o.Name, o.over(n, of)/1000)
			}
		}
	}
	if left := len(figures) + len(rates) + len(latencies) + len(idle); left != 0 {
		t.Errorf("%d rows that the report has not", left)
	}
}

// TestChoice hides a run, in the tables and in the charts, and shows it again.
func TestChoice(t *testing.T) {
	b := newBrowser(t, newPage(t, example(t, "example-a"), example(t, "example-b")))
	count := func() (list []int) {
		return ask[[]int](t, b, `[document.querySelectorAll("#table-latency tbody tr[data-run]:not([hidden])").length, document.querySelectorAll("`+strings.ReplaceAll(latencyChart, `"`, `'`)+` .u-series:not(.u-off)").length]`)
	}
	before := count()
	b.do(t, chromedp.Click(chromedp.CSS(`#shown-runs label:nth-of-type(2) input`)))
	if got := count(); got[0]*2 != before[0] || got[1] >= before[1] {
		t.Errorf("one run hidden: %v rows and lines, of %v", got, before)
	}
	b.do(t, chromedp.Click(chromedp.CSS(`#shown-runs label:nth-of-type(2) input`)))
	if got := count(); got[0] != before[0] || got[1] != before[1] {
		t.Errorf("shown again: %v rows and lines, of %v", got, before)
	}
}

// TestDark: the page follows the reader's wish for a dark one, its charts too.
func TestDark(t *testing.T) {
	b := newBrowser(t, newPage(t, example(t, "example-a")))
	paper := func(scheme string) string {
		b.do(t, call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		}))
		return ask[string](t, b, `getComputedStyle(document.body).backgroundColor`)
	}
	if light, dark := paper("light"), paper("dark"); light != "rgb(255, 255, 255)" || dark != "rgb(13, 17, 23)" {
		t.Errorf("light %s, dark %s", light, dark)
	}
}

// TestFits: on the screen of a desk and on that of a telephone no part of the
// page is wider than the screen, and no mark of an axis is on another.
func TestFits(t *testing.T) {
	b := newBrowser(t, newPage(t, example(t, "example-a")))
	for _, width := range []int64{1280, 390} {
		b.do(t, call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1}))
		wide := ask[[]string](t, b, `[...document.querySelectorAll("main *")].filter((e) => !e.closest("svg, .uplot") && e.getBoundingClientRect().right > innerWidth + 1)
			.map((e) => e.tagName + " " + e.textContent.slice(0, 40))`)
		if len(wide) > 0 {
			t.Errorf("%d pixels: wider are %q", width, wide)
		}
	}
}

// TestMarks: the marks of the axes say different things, also on a small screen.
func TestMarks(t *testing.T) {
	b := newBrowser(t, newPage(t, example(t, "example-a")))
	for _, width := range []int64{1280, 390} {
		b.do(t, call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1}))
		for _, marks := range ask[[][]string](t, b, `charts.flatMap((c) => c.plot.axes.map((a) => (a._values || []).filter((v) => v != null).map(String)))`) {
			if len(marks) < 2 || len(slices.Compact(slices.Clone(marks))) != len(marks) {
				t.Errorf("%d pixels: marks %q", width, marks)
			}
		}
	}
}

// TestHostile: names that try to become elements or scripts are shown as they
// are.
func TestHostile(t *testing.T) {
	folder := t.TempDir()
	const name = `</script><script>alert(1)</script><img src=x onerror=alert(2)>`
	for file, text := range map[string]string{
		"manifest.json": `{"commit": ` + strconv.Quote(name) + `}`,
		"report.json": `[{"name": ` + strconv.Quote(name) + `, "system": ` + strconv.Quote(name) + `, "figures": [],
			"report": {"mode": "group", "trials": [{"conns": 1, "window": 1, "server_cpu_us": 2, "latency": {"count": 10, "p50_us": 5, "max_us": 9}}]}},
			{"name": "b", "system": "other", "figures": [], "report": {"trials": [{"conns": 2, "window": 1, "server_cpu_us": 1}]}}]`,
	} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := newBrowser(t, newPage(t, folder))
	if n := ask[int](t, b, `document.querySelectorAll("img, a, iframe").length + document.querySelectorAll("script").length`); n != 4 {
		t.Errorf("%d elements, want the page's own 4 scripts only", n)
	}
	if got := ask[string](t, b, `document.querySelector("h2").textContent`); got != name {
		t.Errorf("a scenario is called %q, want %q", got, name)
	}
	if got := ask[string](t, b, `document.querySelector("#shown-systems label").textContent.trim()`); got != name {
		t.Errorf("a system is called %q, want %q", got, name)
	}
}

// TestNoted: a page that does what ours must not is found out.
func TestNoted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bad.html")
	bad := `<body><img src="http://192.0.2.1/x.png"><script>fetch("http://192.0.2.1/y").catch(() => { throw new Error("gone"); });</script>`
	if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, path)
	poll := time.NewTicker(10 * time.Millisecond) // the browser tells when it comes to it
	defer poll.Stop()
	for _, want := range []string{"request for http://192.0.2.1/x.png", "request for http://192.0.2.1/y", "complaint: Failed to load", "ERR_INTERNET_DISCONNECTED"} {
		for noted := ""; !strings.Contains(noted, want); noted = strings.Join(b.noted(), "\n") {
			select {
			case <-poll.C:
			case <-b.Done():
				t.Fatalf("not noted: %q, only:\n%s", want, noted)
			}
		}
	}
}
