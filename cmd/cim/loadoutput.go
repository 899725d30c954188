package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"cim/internal/tty"
	"cim/loadgen"
)

// loadOutput is where a report goes, besides the table or document on standard
// output.
type loadOutput struct {
	json, gobench bool
	hgrm, csv     string // files; "": none
}

func (o *loadOutput) define(flags *pflag.FlagSet) {
	flags.BoolVar(&o.json, "json", o.json, "write the report as one JSON document, as docs/loadgen.schema.json says")
	flags.BoolVar(&o.gobench, "gobench", o.gobench, "write a line for each run in the format of Go's benchmarks, for benchstat")
	flags.StringVar(&o.hgrm, "hgrm", o.hgrm, "file for the latency by percentile; of several runs each gets its number in the name")
	flags.StringVar(&o.csv, "csv", o.csv, "file for the time series, a line a second")
}

func (o *loadOutput) check() error {
	var faults []error
	if o.json && o.gobench {
		faults = append(faults, errors.New("give --json or --gobench, not both"))
	}
	for name, path := range map[string]string{"hgrm": o.hgrm, "csv": o.csv} {
		if path == "" {
			continue
		}
		if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
			faults = append(faults, fmt.Errorf("%s %q is not in a folder that is there", name, path))
		}
	}
	return errors.Join(faults...)
}

// write writes all requested outputs, even if some fail.
func (o *loadOutput) write(out io.Writer, report loadgen.Report) error {
	faults := []error{o.print(out, report)}
	if o.csv != "" {
		faults = append(faults, toFile(o.csv, report.WriteCSV))
	}
	if o.hgrm != "" {
		for i, t := range report.Trials {
			faults = append(faults, toFile(numbered(o.hgrm, i, len(report.Trials)), t.WriteHGRM))
		}
	}
	return errors.Join(faults...)
}

func (o *loadOutput) print(out io.Writer, report loadgen.Report) error {
	switch {
	case o.json:
		return writeJSON(out, report)
	case o.gobench:
		return report.WriteBenchmark(out)
	}
	return report.Print(out, widthOf(out))
}

// widthOf is how many characters wide the terminal is that out is; 0: none.
func widthOf(out io.Writer) int {
	file, is := out.(*os.File)
	if !is {
		return 0
	}
	width, _, err := tty.Size(file)
	if err != nil {
		return 0
	}
	return width
}

func toFile(path string, write func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("loadgen: %w", err)
	}
	return errors.Join(write(file), file.Close())
}

// numbered puts the number of a run, from 1, before the extension, if there are
// several.
func numbered(path string, i, of int) string {
	if of == 1 {
		return path
	}
	extension := filepath.Ext(path)
	return strings.TrimSuffix(path, extension) + "-" + strconv.Itoa(i+1) + extension
}
