package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"cim/loadgen"
)

// workerVariable tells a process that it is a worker of a load generator, and
// which one of how many. It is no setting: only spawnWorker gives it.
const workerVariable = "LOADGEN_WORKER"

// spawnWorker makes the command of a worker: what this process was told, and
// which part of it to do.
func spawnWorker(ctx context.Context, number, of int) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], os.Args[1:]...)
	if path, err := os.Executable(); err == nil {
		cmd.Path = path
	}
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d/%d", workerVariable, number, of))
	cmd.Stderr = os.Stderr
	return cmd
}

// work is run for a worker. How a worker ends is its starter's to tell.
func (c *loadgenConfig) work(ctx context.Context, part string, in io.Reader, out io.Writer) error {
	var number, of int
	if _, err := fmt.Sscanf(part, "%d/%d", &number, &of); err != nil || number < 0 || number >= of {
		return fmt.Errorf("loadgen: %s %q is not a worker's number", workerVariable, part)
	}
	err := loadgen.Work(ctx, c.load, number, of, in, out)
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}
