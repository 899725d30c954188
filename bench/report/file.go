package report

import (
	"bytes"
	"fmt"

	"cim/loadgen"
)

// File is one file of a folder of results: its path within it, with slashes.
type File struct {
	Path  string
	Bytes []byte
}

// Files are all files of a run for readers: the table, the page, the charts, and histograms and
// series for other tools.
func Files(run Run) ([]File, error) {
	text, err := Text(run)
	if err != nil {
		return nil, err
	}
	page, err := Page([]Run{run})
	if err != nil {
		return nil, err
	}
	files := []File{{"report.txt", text}, {"report.html", page}}
	for _, more := range []func(Run) ([]File, error){histograms, series, chartFiles} {
		some, err := more(run)
		if err != nil {
			return nil, err
		}
		files = append(files, some...)
	}
	return files, nil
}

// histograms are the latencies of each load that has them, of each time that
// it was run.
func histograms(run Run) ([]File, error) {
	var files []File
	err := eachTrial(run, func(name string, t loadgen.Trial) error {
		h, err := histogram(t)
		if err != nil || h == nil {
			return err
		}
		text, err := hgrm(h)
		files = append(files, File{"histograms/" + name + ".hgrm", text})
		return err
	})
	return files, err
}

func series(run Run) ([]File, error) {
	var files []File
	err := eachTrial(run, func(name string, t loadgen.Trial) error {
		if len(t.Series) > 0 {
			files = append(files, File{"series/" + name + ".csv", csv(t.Series)})
		}
		return nil
	})
	return files, err
}

// csv has a line for each second; its names are those of report.json.
func csv(seconds []loadgen.Second) []byte {
	var out bytes.Buffer
	out.WriteString("s,sent,deliveries,errors,p50_us,p99_us,max_us,server_cpu,own_cpu\n")
	for _, s := range seconds {
		fmt.Fprintf(&out, "%d,%d,%d,%d,%g,%g,%g,%g,%g\n",
			s.Second, s.Sent, s.Deliveries, s.Errors, s.P50, s.P99, s.Max, s.ServerCPU, s.OwnCPU)
	}
	return out.Bytes()
}

// eachTrial calls do for each trial of each time that a scenario was run, with
// a name that no other trial of the run has.
func eachTrial(run Run, do func(name string, t loadgen.Trial) error) error {
	loads, _ := loadsOf([]Run{run})
	at := 0
	for _, o := range run.Outcomes {
		mine := loads[at : at+len(o.Report.Trials)]
		at += len(mine)
		for n, again := range o.repeated() {
			for i, t := range again.Trials {
				if i >= len(mine) {
					break // a run that lasted longer than the shown one
				}
				name := mine[i].file()
				if len(o.Runs) > 0 {
					name = fmt.Sprintf("%s-run-%d", name, n+1)
				}
				if err := do(name, t); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// repeated are the reports of all times that the scenario was run.
func (o Outcome) repeated() []loadgen.Report {
	if len(o.Runs) > 0 {
		return o.Runs
	}
	return []loadgen.Report{o.Report}
}
