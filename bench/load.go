package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"cim/internal/child"
	"cim/loadgen"
)

// drive runs the binary's loadgen against s as a process of its own. The
// load generator fails if a delivery went wrong, but reports all the same:
// err is a run without a report.
func drive(ctx context.Context, binary string, s *standalone, load []string, progress io.Writer) (loadgen.Report, error) {
	args := append([]string{
		"loadgen", "--route", "http://" + s.Route, "--json",
		"--server-pid", strconv.Itoa(s.PID),
	}, load...)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = withoutSettings(os.Environ())
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, progress
	runErr := child.Run(cmd)
	var report loadgen.Report
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil || len(report.Trials) == 0 {
		return report, fmt.Errorf("bench: loadgen %v: no report: %w", load, orElse(runErr, err))
	}
	return report, nil
}

func orElse(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// withoutSettings drops what would change the settings of cim, so that
// everybody measures the same.
func withoutSettings(environ []string) []string {
	return slices.DeleteFunc(environ, func(entry string) bool { return strings.HasPrefix(entry, "CIM_") })
}
