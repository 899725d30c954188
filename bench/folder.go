package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"cim/bench/report"
)

const (
	// resultMax bounds a file of results that is read, in bytes.
	resultMax = 64 << 20
	// runsMax bounds the runs that are read at once.
	runsMax = 100
)

// writeRun writes a folder of results, the evidence first and then the pages made of it, and prints
// the summary and where the rest is.
func writeRun(folder string, out io.Writer, run report.Run) error {
	faults := []error{
		writeJSON(filepath.Join(folder, "manifest.json"), run.Manifest),
		writeJSON(filepath.Join(folder, "report.json"), run.Outcomes),
		writeFiles(folder, run),
	}
	_, err := fmt.Fprintf(out, "%s\nAll figures and charts: %s\n             as text: %s\n",
		report.Summary(run), filepath.Join(folder, "report.html"), filepath.Join(folder, "report.txt"))
	return errors.Join(append(faults, err)...)
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("bench: %s: %w", path, err)
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// derived are the folders whose files are made of report.json; an earlier run
// may have left others there.
var derived = []string{"charts", "histograms", "series"}

func writeFiles(folder string, run report.Run) error {
	files, err := report.Files(run)
	if err != nil {
		return err
	}
	for _, name := range derived {
		if err := os.RemoveAll(filepath.Join(folder, name)); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	for _, f := range files {
		path := filepath.Join(folder, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		if err := os.WriteFile(path, f.Bytes, 0o644); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	return nil
}

// read reads the runs of a folder: its own, or those of the folders in it.
func read(folder string) ([]report.Run, error) {
	if ownRun(folder) {
		run, err := readRun(folder)
		return []report.Run{run}, err
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	var runs []report.Run
	for _, entry := range entries {
		inner := filepath.Join(folder, entry.Name())
		if !ownRun(inner) {
			continue
		}
		run, err := readRun(inner)
		if err != nil {
			return nil, err
		}
		if runs = append(runs, run); len(runs) > runsMax {
			return nil, fmt.Errorf("bench: %s has more than %d runs", folder, runsMax)
		}
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("bench: neither %s nor a folder in it has a report.json", folder)
	}
	return runs, nil
}

// ownRun reports whether the folder is one of a run, not of several.
func ownRun(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, "report.json"))
	return err == nil
}

func readRun(folder string) (report.Run, error) {
	run := report.Run{Label: label(folder)}
	return run, errors.Join(
		readFile(filepath.Join(folder, "report.json"), &run.Outcomes),
		readFile(filepath.Join(folder, "manifest.json"), &run.Manifest),
	)
}

// label is the folder's name with its parent's, which distinguishes run-1 of one day from that of
// another.
func label(folder string) string {
	path, err := filepath.Abs(folder)
	if err != nil {
		path = filepath.Clean(folder)
	}
	return strings.TrimPrefix(filepath.ToSlash(filepath.Join(filepath.Base(filepath.Dir(path)), filepath.Base(path))), "results/")
}

// shorten takes off the labels the folder that all runs have in common.
func shorten(runs []report.Run) {
	if len(runs) < 2 {
		return
	}
	folder, _, _ := strings.Cut(runs[0].Label, "/")
	for _, run := range runs {
		if !strings.HasPrefix(run.Label, folder+"/") {
			return
		}
	}
	for i := range runs {
		runs[i].Label = strings.TrimPrefix(runs[i].Label, folder+"/")
	}
}

func readFile(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, resultMax+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if len(text) > resultMax {
		return fmt.Errorf("bench: %s is larger than %d bytes", path, resultMax)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("bench: %s: %w", path, err)
	}
	return nil
}

// Report makes the page anew. The files of a single run stand in its folder,
// and all of them are written again; of several runs one page is made, at the
// path out. It returns the path of the page.
func Report(folders []string, out string) (string, error) {
	var runs []report.Run
	for _, folder := range folders {
		some, err := read(folder)
		if err != nil {
			return "", err
		}
		runs = append(runs, some...)
	}
	shorten(runs)
	if len(runs) > runsMax {
		return "", fmt.Errorf("bench: %d runs, at most %d fit a page", len(runs), runsMax)
	}
	if out == "" && len(folders) == 1 && ownRun(folders[0]) {
		return filepath.Join(folders[0], "report.html"), writeFiles(folders[0], runs[0])
	}
	page, err := report.Page(runs)
	if err != nil {
		return "", err
	}
	if out == "" {
		out = "report.html"
	}
	if err := os.WriteFile(out, page, 0o644); err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	return out, nil
}
