package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
)

// writeAll prints the table and writes report.txt, report.json and
// manifest.json into the folder.
func writeAll(folder string, out io.Writer, m *manifest, outcomes []Outcome) error {
	var text bytes.Buffer
	if err := writeTable(&text, m, outcomes); err != nil {
		return fmt.Errorf("bench: table: %w", err)
	}
	_, printErr := out.Write(text.Bytes())
	return errors.Join(
		printErr,
		os.WriteFile(filepath.Join(folder, "report.txt"), text.Bytes(), 0o644),
		writeJSON(filepath.Join(folder, "report.json"), outcomes),
		writeJSON(filepath.Join(folder, "manifest.json"), m),
	)
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("bench: %s: %w", path, err)
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func writeTable(w io.Writer, m *manifest, outcomes []Outcome) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	lines := []string{
		fmt.Sprintf("cim %s, %s, %d x %s, kernel %s, %s\n", m.Commit, m.Go, m.CPUs, m.CPU, m.Kernel, m.Began.Format("2006-01-02 15:04 MST")),
		"scenario\tfigure\treach\tgot\t\n",
	}
	for _, o := range outcomes {
		lines = append(lines, o.lines()...)
	}
	for _, line := range lines {
		if _, err := io.WriteString(t, line); err != nil {
			return err
		}
	}
	return t.Flush()
}

// lines is the scenario's rows. Its name stands in the first only.
func (o Outcome) lines() []string {
	var lines []string
	name := o.Name
	for _, r := range o.Results {
		lines = append(lines, fmt.Sprintf("%s\t%s\t%s %s %s\t%s\t%s\n",
			name, r.Name, r.Bound, number(r.Reach), r.Unit, number(r.Got), r.Verdict()))
		name = ""
	}
	if o.Failure != "" {
		lines = append(lines, fmt.Sprintf("%s\tFAILED: %s\n", name, firstOf(o.Failure)))
	}
	return lines
}

// number has three digits that matter.
func number(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// firstOf keeps a table readable; report.json has the whole text.
func firstOf(failure string) string {
	first, _, more := bytes.Cut([]byte(failure), []byte("\n"))
	if more {
		return string(first) + " ..."
	}
	return string(first)
}
