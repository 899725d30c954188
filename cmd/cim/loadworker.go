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

// workerVariable makes a process a worker of a load generator, and says which one of how many. It
// is no setting: only spawnWorker sets it.
const workerVariable = "LOADGEN_WORKER"

// spawnWorker makes the command of a worker: the arguments of this process, and the worker's share.
func spawnWorker(ctx context.Context, number, of int) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], os.Args[1:]...)
	if path, err := os.Executable(); err == nil {
		cmd.Path = path
	}
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d/%d", workerVariable, number, of))
	cmd.Stderr = os.Stderr
	return cmd
}

// work runs a worker. The parent process reports how it ends.
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
