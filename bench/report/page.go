package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the parts of the page
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"strings"

	"cim/loadgen"
)

// The parts of the page. uPlot's are as their authors published them; their
// licence is beside them.
var (
	//go:embed assets/uPlot.iife.min.js
	plotScript string
	//go:embed assets/uPlot.min.css
	plotStyle string
	//go:embed page.js
	pageScript string
	//go:embed chart.js
	chartScript string
	//go:embed page.css
	pageStyle string
	//go:embed page.html
	pageText string
)

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// pageData is what the template is filled with.
type pageData struct {
	Title    string
	Policy   string
	Styles   []template.CSS
	Scripts  []template.JS
	Data     template.JS
	Machines table
	Settings table
	Warnings table
	Figures  table
	Peers    table
	Rates    table
	Latency  table
	Idle     table
	// Scenarios have latencies, Timed have series.
	Scenarios []scenario
	Timed     []scenario
	Charted   bool // whether any load sent messages
}

// scenario is a name and its place.
type scenario struct {
	At   int
	Name string
}

// chartData is what the page's script draws.
type chartData struct {
	Runs  []string    `json:"runs"`
	Loads []chartLoad `json:"loads"`
}

// chartLoad is one load for the script.
type chartLoad struct {
	ID         int              `json:"id"`
	Run        int              `json:"run"`
	Scenario   int              `json:"scenario"`
	System     string           `json:"system"`
	Size       string           `json:"size"`
	Way        string           `json:"way"` // "": nothing is sent
	Kind       string           `json:"kind"`
	Conns      int              `json:"conns"`
	Deliveries float64          `json:"deliveries_per_s"`
	ServerCPU  float64          `json:"server_cpu_us"`
	Curve      []point          `json:"curve"`
	Series     []loadgen.Second `json:"series"`
}

// Page is a document with everything in it about these runs: it opens without
// a network, and forbids itself to use one.
func Page(runs []Run) ([]byte, error) {
	loads, names := loadsOf(runs)
	data, charts, err := drawn(runs, loads)
	if err != nil {
		return nil, err
	}
	styles, scripts := []string{plotStyle, pageStyle}, []string{plotScript, chartScript, pageScript}
	page := pageData{
		Title: title(runs), Policy: policy(styles, scripts),
		Data:     template.JS(data),
		Machines: machines(runs), Settings: settings(runs), Warnings: warnings(runs, loads), Figures: figures(runs), Peers: peers(runs, loads),
		Rates: throughput(runs, loads), Latency: latencies(runs, loads), Idle: idles(runs, loads),
		Scenarios: only(names, charts.Loads, func(l chartLoad) bool { return len(l.Curve) > 0 }),
		Timed:     only(names, charts.Loads, func(l chartLoad) bool { return len(l.Series) > 0 }),
	}
	page.Charted = len(page.Rates.Rows) > 0
	for _, s := range styles {
		page.Styles = append(page.Styles, template.CSS(s))
	}
	for _, s := range scripts {
		page.Scripts = append(page.Scripts, template.JS(s))
	}
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, page); err != nil {
		return nil, fmt.Errorf("report: page: %w", err)
	}
	return out.Bytes(), nil
}

func title(runs []Run) string {
	labels := make([]string, len(runs))
	for i, run := range runs {
		labels[i] = run.Label
	}
	return "cim, measured: " + strings.Join(labels, ", ")
}

// policy lets the page run its own scripts and styles, by their hashes, and
// nothing else: no request, no form, no other script.
func policy(styles, scripts []string) string {
	hashes := func(texts []string) string {
		var list strings.Builder
		for _, text := range texts {
			sum := sha256.Sum256([]byte(text))
			list.WriteString(" 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'")
		}
		return list.String()
	}
	return "default-src 'none'; script-src" + hashes(scripts) + "; style-src" + hashes(styles) +
		"; base-uri 'none'; form-action 'none'"
}

// drawn is the data of the charts, and the same as JSON, in which nothing can
// end the element that it stands in.
func drawn(runs []Run, loads []load) (text []byte, data chartData, err error) {
	data = chartData{Runs: make([]string, len(runs)), Loads: make([]chartLoad, len(loads))}
	for i, run := range runs {
		data.Runs[i] = run.Label
	}
	for i, l := range loads {
		points, err := curve(l.Trial)
		if err != nil {
			return nil, data, fmt.Errorf("%s: %w", l.Name, err)
		}
		data.Loads[i] = chartLoad{
			ID: l.ID, Run: l.Run, Scenario: l.Scenario, System: l.System, Size: l.size(), Way: l.way(), Kind: l.kind(),
			Conns: l.Conns, Deliveries: l.over(deliveriesOf), ServerCPU: l.over(cpuOf), Curve: points, Series: l.Series,
		}
	}
	if text, err = json.Marshal(data); err != nil {
		return nil, data, fmt.Errorf("report: data: %w", err)
	}
	return text, data, nil
}

// only lists the scenarios with a load that has what is asked for.
func only(names []string, loads []chartLoad, has func(chartLoad) bool) []scenario {
	there := make(map[int]bool)
	for _, l := range loads {
		there[l.Scenario] = there[l.Scenario] || has(l)
	}
	var list []scenario
	for at, name := range names {
		if there[at] {
			list = append(list, scenario{at, name})
		}
	}
	return list
}
