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

// newFloorCommand is for the benchmark, which starts it: a server without promises has no other
// use.
func newFloorCommand(p *program) *cobra.Command {
	http := false
	s := p.newSettings(func(flags *pflag.FlagSet) {
		flags.BoolVar(&http, "http", false, "take messages over HTTP, at the address that the ready line calls route")
	})
	cmd := &cobra.Command{
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
			if http {
				return failed(runHTTPFloor(ctx, out.queue))
			}
			return failed(runFloor(ctx, out.queue))
		},
	}
	s.offer(cmd)
	return cmd
}

func runFloor(ctx context.Context, out io.Writer) error {
	server, err := floor.Listen()
	if err != nil {
		return err
	}
	if err := printFloor(out, bench.Addresses{CIM: server.Addr}); err != nil {
		return err
	}
	return server.Run(ctx)
}

func runHTTPFloor(ctx context.Context, out io.Writer) error {
	server, err := floor.ListenHTTP()
	if err != nil {
		return err
	}
	if err := printFloor(out, bench.Addresses{CIM: server.Addr, Route: server.HTTP}); err != nil {
		return err
	}
	return server.Run(ctx)
}

func printFloor(out io.Writer, line bench.Addresses) error {
	line.PID = os.Getpid()
	if err := json.NewEncoder(out).Encode(line); err != nil {
		return fmt.Errorf("floor: print the address: %w", err)
	}
	return nil
}
