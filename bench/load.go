package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strconv"

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
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, progress
	runErr := runChild(cmd)
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
