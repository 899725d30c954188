package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// standalone is a running cim standalone, with its data.
type standalone struct {
	process *process
	data    string
}

// startStandalone starts binary with fresh data and free ports. Its log is in folder, under a name
// that starts with prefix.
func startStandalone(ctx context.Context, binary, folder, prefix string) (system, error) {
	data, err := os.MkdirTemp("", "cim-bench-")
	if err != nil {
		return nil, fmt.Errorf("bench: data: %w", err)
	}
	log := filepath.Join(folder, prefix+"standalone.log")
	p, err := startProcess(ctx, binary, log, nil, "standalone", "--data", filepath.Join(data, "data"),
		"--cim-port", "0", "--http-port", "0", "--route-port", "0", "--admin-port", "0", "--log-level", "warn")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(data))
	}
	return &standalone{process: p, data: data}, nil
}

func (s *standalone) target() []string { return []string{"--route", "http://" + s.process.Route} }

func (s *standalone) profiled() []*process { return []*process{s.process} }

func (s *standalone) pids() []int { return []int{s.process.PID} }

// stop ends the process and removes its data.
func (s *standalone) stop() error {
	return errors.Join(s.process.stop(), os.RemoveAll(s.data))
}
