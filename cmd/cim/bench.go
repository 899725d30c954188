package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/bench"
)

// repeatsMost bounds how often the scenarios are run: a minute each time.
const repeatsMost = 50

func newBenchCommand(p *program) *cobra.Command {
	c := bench.Config{Out: "results/latest", Repeat: 1, Seed: 1}
	s := p.newSettings(func(flags *pflag.FlagSet) {
		flags.StringVar(&c.Out, "out", c.Out, "folder for the report and the evidence")
		flags.BoolVar(&c.Cluster, "cluster", c.Cluster, "measure two servers and two routes with Redis and ZooKeeper")
		flags.BoolVar(&c.Peers, "peers", c.Peers, "measure nats-server, Redis pub/sub and mosquitto beside a standalone")
		flags.StringVar(&c.Only, "only", c.Only, "measure only scenarios with this text in their name, as private or window")
		numberVar(flags, &c.Repeat, "repeat", 1, repeatsMost, "times that all scenarios are run, in turns; the figures are then medians")
		flags.DurationVar(&c.Soak, "soak", c.Soak, "run one load for this time and report whether memory, goroutines, collections and latency grow")
		flags.Uint64Var(&c.Seed, "seed", c.Seed, "makes the names and pairs of the simulated users, and the order of the systems in each turn")
		flags.BoolVar(&c.Profile, "profile", c.Profile, "keep CPU, heap, mutex and block profiles of each process, and flame graphs; costs CPU time")
	})
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this binary: start it, drive it with loadgen, print a summary",
		Example: `  cim bench                                measure a standalone, into results/latest
  cim bench --repeat 5 --out results/mine  medians of five runs
  cim bench --peers --repeat 6             other systems beside ours, in turns
  cim bench --only private --repeat 3      the scenarios with private messages
  cim bench --soak 30m --out results/soak   does anything grow?
  cim bench compare results/old results/mine --threshold 5%
  cim bench report results/old results/mine --out both.html`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			check := func() error { return errors.Join(checkFolder("out", c.Out), checkSubject(c)) }
			if err := s.read(p, cmd, check); err != nil {
				return err
			}
			binary, err := os.Executable()
			if err != nil {
				return failed(fmt.Errorf("bench: path of this binary: %w", err))
			}
			c.Binary = binary
			err = bench.Run(cmd.Context(), c, cmd.OutOrStdout(), cmd.ErrOrStderr())
			if err != nil && errors.As(context.Cause(cmd.Context()), new(signalled)) {
				return ending{err, exitInterrupted}
			}
			return failed(err)
		},
	}
	s.offer(cmd)
	cmd.AddCommand(newBenchReportCommand(p), newBenchCompareCommand(p))
	return cmd
}

// checkSubject reports two subjects of one run, and a soak that is too short or
// too long.
func checkSubject(c bench.Config) error {
	if c.Cluster && c.Peers {
		return errors.New("give --cluster or --peers, not both")
	}
	switch {
	case c.Soak == 0:
		return nil
	case c.Peers:
		return errors.New("give --soak or --peers, not both: only cim says how much it has allocated")
	case c.Soak < bench.SoakLeast || c.Soak > soakMost:
		return fmt.Errorf("soak %v is not between %v and %v", c.Soak, bench.SoakLeast, soakMost)
	}
	return nil
}

// soakMost bounds a soak.
const soakMost = 7 * 24 * time.Hour

func newBenchReportCommand(p *program) *cobra.Command {
	out := ""
	s := p.newSettings(func(flags *pflag.FlagSet) {
		flags.StringVar(&out, "out", out, "file for the page of several runs; report.html if it is not given")
	})
	cmd := &cobra.Command{
		Use:   "report FOLDER...",
		Short: "Make the page of results anew, or one page of several runs",
		Long: `Makes the page, the charts and the table of one folder of results anew, in that
folder. Of several folders, or of one with several in it, it makes one page with
the runs over each other.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, folders []string) error {
			if err := s.read(p, cmd, func() error { return nil }); err != nil {
				return err
			}
			path, err := bench.Report(folders, out)
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), path)
			}
			return failed(err)
		},
	}
	s.offer(cmd)
	return cmd
}

func newBenchCompareCommand(p *program) *cobra.Command {
	threshold := 0.05
	s := p.newSettings(func(flags *pflag.FlagSet) {
		flags.Var(percent{&threshold}, "threshold", "loss that still counts as none")
	})
	cmd := &cobra.Command{
		Use:   "compare BEFORE AFTER",
		Short: "Compare the figures of two folders of results",
		Long: `Tests for each figure whether the runs of the second folder differ from those of
the first by more than chance. A folder has one run, or one of --repeat, or
folders with a run each; four of each side are the least that can tell.

The exit status is 0 if no figure is significantly worse by more than the
threshold, 99 if one is or if a scenario failed that did not before, 1 if the folders cannot be compared, 2 for wrong usage.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, folders []string) error {
			if err := s.read(p, cmd, func() error { return nil }); err != nil {
				return err
			}
			lost, err := bench.Compare(cmd.OutOrStdout(), folders[0], folders[1], threshold)
			if err == nil && lost {
				return ending{fmt.Errorf("bench: a figure is worse by more than %s, or a scenario failed", percent{&threshold}), exitMissed}
			}
			return failed(err)
		},
	}
	s.offer(cmd)
	return cmd
}

// percent is a part of 1, written as 5% or 0.5%.
type percent struct{ target *float64 }

func (p percent) String() string { return strconv.FormatFloat(100**p.target, 'g', 6, 64) + "%" }
func (p percent) Type() string   { return "percent" }

func (p percent) Set(text string) error {
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || math.IsNaN(v) || v < 0 || v > 1000 || !strings.HasSuffix(text, "%") {
		return errors.New("want a number from 0% to 1000%")
	}
	*p.target = v / 100
	return nil
}
