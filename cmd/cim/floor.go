package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/bench"
	"cim/loadgen/floor"
)

// newFloorCommand is for the benchmark, which starts it: nobody else has a use
// for a server without any promise.
func newFloorCommand(p *program) *cobra.Command {
	s := p.newSettings(func(*pflag.FlagSet) {})
	return &cobra.Command{
		Use:    "floor",
		Short:  "Run the bare sender that shows the machine's limit, for cim loadgen --system floor",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := p.keepRunning(cmd)
			if err := s.read(p, cmd, func() error { return nil }); err != nil {
				return err
			}
			out := newOutput(cmd.OutOrStdout())
			defer out.queue.Close(lastLinesMax)
			return failed(runFloor(ctx, out.queue))
		},
	}
}

func runFloor(ctx context.Context, out io.Writer) error {
	server, err := floor.Listen()
	if err != nil {
		return err
	}
	line := bench.Addresses{CIM: server.Addr, PID: os.Getpid()}
	if err := json.NewEncoder(out).Encode(line); err != nil {
		return fmt.Errorf("floor: tell the address: %w", err)
	}
	return server.Run(ctx)
}
