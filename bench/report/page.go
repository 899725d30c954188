package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the parts of the page
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
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
	Title     string
	Policy    string
	Styles    []template.CSS
	Scripts   []template.JS
	Data      template.JS
	About     []string // of each run, in a line
	Scenarios []scenario
	Machines  table
	Settings  table
	Warnings  table
	Figures   table
	Peers     table
	Rates     table
	Latency   table
	Idle      table
	Soak      table
}

// scenario is what the page shows of one: panels, and the loads with a curve and
// with a series.
type scenario struct {
	Name   string
	Panels []template.HTML // bars, and of a soak lines over time
	Curves []sized
	Series []sized
}

// chartData is what the page's script draws.
type chartData struct {
	Runs  []string    `json:"runs"`
	Loads []chartLoad `json:"loads"`
}

// chartLoad is one load for the script.
type chartLoad struct {
	ID     int              `json:"id"`
	Run    int              `json:"run"`
	Sized  int              `json:"sized"` // which loads it shares its charts with
	System string           `json:"system"`
	Colour string           `json:"colour"`
	Ours   bool             `json:"ours"`
	Curve  []point          `json:"curve"`
	Series []loadgen.Second `json:"series"`
}

// Page is a document with everything in it about these runs: it opens without
// a network, and forbids itself to use one.
func Page(runs []Run) ([]byte, error) {
	loads, names := loadsOf(runs)
	sizes := bySize(loads, names)
	data, charts, err := drawn(runs, loads, sizes)
	if err != nil {
		return nil, err
	}
	styles, scripts := []string{plotStyle, pageStyle}, []string{plotScript, chartScript, pageScript}
	page := pageData{
		Title: title(runs), Policy: policy(styles, scripts),
		Data:     template.JS(data),
		Machines: machines(runs), Settings: settings(runs), Warnings: warnings(runs, loads), Figures: figures(runs), Peers: peers(runs, loads),
		Rates: throughput(runs, loads), Latency: latencies(runs, loads), Idle: idles(runs, loads), Soak: soaks(runs),
		Scenarios: scenariosOf(names, sizes, charts.Loads, runs),
	}
	for _, run := range runs {
		page.About = append(page.About, run.about())
	}
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
	return "cim benchmark: " + strings.Join(labels, ", ")
}

// about says in a line where and how a run was made.
func (run Run) about() string {
	m := run.Manifest
	text := fmt.Sprintf("%s: %s, %s, commit %s", run.Label, m.Began.Format("2 January 2006"), m.processor(), cut(m.Commit, 12))
	if m.Repeat > 1 {
		text += fmt.Sprintf(", medians of %d turns", m.Repeat)
	}
	switch busy := m.busy(); {
	case busy != "":
		text += "; " + busy
	case m.OtherChecks > 0:
		text += fmt.Sprintf("; a quiet machine: other work used %.0f %% of its CPU time", 100*m.OtherCPU)
	}
	return text
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

// drawn is the data of the charts, and the same as JSON, in which no text can end the surrounding
// element.
func drawn(runs []Run, loads []load, sizes []sized) (text []byte, data chartData, err error) {
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
			ID: l.ID, Run: l.Run, Sized: sizedOf(l, sizes), System: l.System, Colour: colourOf(l.System), Ours: l.ours(), Curve: points, Series: l.Series,
		}
	}
	if text, err = json.Marshal(data); err != nil {
		return nil, data, fmt.Errorf("report: data: %w", err)
	}
	return text, data, nil
}

// sizedOf is the number of the loads that l is one of.
func sizedOf(l load, sizes []sized) int {
	at := slices.IndexFunc(sizes, func(s sized) bool {
		return slices.ContainsFunc(s.loads, func(other load) bool { return other.ID == l.ID })
	})
	return sizes[at].At
}

// scenariosOf are the parts of the page with charts.
func scenariosOf(names []string, sizes []sized, drawn []chartLoad, runs []Run) (list []scenario) {
	for at, name := range names {
		own := slices.DeleteFunc(slices.Clone(sizes), func(s sized) bool { return s.loads[0].Scenario != at })
		having := func(has func(chartLoad) bool) []sized {
			return slices.DeleteFunc(slices.Clone(own), func(s sized) bool {
				return !slices.ContainsFunc(drawn, func(l chartLoad) bool { return l.Sized == s.At && has(l) })
			})
		}
		one := scenario{
			Name:   name,
			Curves: having(func(l chartLoad) bool { return len(l.Curve) > 0 }),
			Series: having(func(l chartLoad) bool { return len(l.Series) > 0 }),
		}
		for _, p := range panels(own, runs) {
			c := inPage()
			p.draw(c)
			one.Panels = append(one.Panels, template.HTML(c.document(panelWidth, p.height(), p.title+": "+p.metric.name, false)))
		}
		one.Panels = append(one.Panels, soakPanels(name, runs)...)
		list = append(list, one)
	}
	return list
}

// soakPanels are the small charts of what a soak in this scenario saw.
func soakPanels(name string, runs []Run) (list []template.HTML) {
	for _, run := range runs {
		for _, o := range run.Outcomes {
			if o.Name != name {
				continue
			}
			for _, t := range o.trends() {
				c := inPage()
				t.draw(c)
				list = append(list, template.HTML(c.document(panelWidth, t.height(), t.name+" over time", false)))
			}
		}
	}
	return list
}
