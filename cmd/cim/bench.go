package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/bench"
)

func newBenchCommand(p *program) *cobra.Command {
	out, cluster := "results/latest", false
	s := p.newSettings(func(flags *pflag.FlagSet) {
		flags.StringVar(&out, "out", out, "folder for the report and the evidence")
		flags.BoolVar(&cluster, "cluster", cluster, "measure two servers and two routes with Redis and ZooKeeper")
	})
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this binary: start it, drive it with loadgen, print a table",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			check := func() error { return checkFolder("out", out) }
			if err := s.read(p, cmd, check); err != nil {
				return err
			}
			binary, err := os.Executable()
			if err != nil {
				return failed(fmt.Errorf("bench: path of this binary: %w", err))
			}
			return failed(bench.Run(cmd.Context(), bench.Config{Binary: binary, Out: out, Cluster: cluster},
				cmd.OutOrStdout(), cmd.ErrOrStderr()))
		},
	}
	s.offer(cmd)
	return cmd
}
