package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/loadgen"
	"cim/proto"
)

// loadgenConfig is what cim loadgen can be told.
type loadgenConfig struct {
	load    loadgen.Config
	dialect string
	json    bool
}

func defaultLoadgen() *loadgenConfig {
	c := &loadgenConfig{load: loadgen.Defaults(), dialect: "v2"}
	c.load.Routes = []string{routeDefault}
	c.load.Conns = []int{1000}
	c.load.Windows = []int{1}
	return c
}

func newLoadgenCommand(p *program) *cobra.Command {
	c := defaultLoadgen()
	s := p.newSettings(c.define)
	cmd := &cobra.Command{
		Use:   "loadgen",
		Short: "Simulate clients and measure how fast messages arrive",
		Long: `Logs in simulated clients, lets them send, and measures how long each message
takes to each receiver. With --rate each message has a time at which it is due,
and its latency counts from then. With --window that many messages are kept
outstanding. A delivery that is lost, doubled or out of order is a failure.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			check := func() error { return c.check(s.source["window"] == fromDefault) }
			if err := s.read(p, cmd, check); err != nil {
				return err
			}
			return failed(c.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr()))
		},
	}
	s.offer(cmd)
	return cmd
}

func (c *loadgenConfig) define(flags *pflag.FlagSet) {
	flags.Var(texts{&c.load.Routes}, "route", "URLs of the routes, divided by commas")
	flags.Var(numbers{&c.load.Conns}, "conns", "numbers of clients, divided by commas: one run after the other")
	choiceVar(flags, &c.load.Mode, "mode", "what the clients do", loadgen.Modes...)
	choiceVar(flags, &c.load.Via, "via", "the way of a message: a request to a route, or the sender's own connection",
		loadgen.ViaHTTP, loadgen.ViaConn)
	flags.Var(numbers{&c.load.Rates}, "rate", "messages a second, whatever became of those before, divided by commas")
	flags.Var(numbers{&c.load.Windows}, "window", "numbers of messages kept outstanding, divided by commas")
	flags.DurationVar(&c.load.Duration, "duration", c.load.Duration, "measured time of each run")
	flags.DurationVar(&c.load.Warmup, "warmup", c.load.Warmup, "time before it that is not measured")
	choiceVar(flags, &c.dialect, "dialect", "dialect of the receivers", "v1", "v2", "cim")
	flags.BoolVar(&c.json, "json", c.json, "write the report as JSON")
	flags.Var(sizes{&c.load.Size}, "size", "bytes of each text: 128, or a range as 64-1024, or a mean as exp:200")
	flags.Uint64Var(&c.load.Seed, "seed", c.load.Seed, "makes names and pairs; runs of one seed share their users")
	flags.Var(numbers{&c.load.ServerPIDs}, "server-pid", "processes under test, divided by commas, whose CPU time and memory are reported")
}

// check completes the load: a window that nobody asked for gives way to a
// rate.
func (c *loadgenConfig) check(windowByDefault bool) error {
	if windowByDefault && len(c.load.Rates) > 0 {
		c.load.Windows = nil
	}
	c.load.Dialect = map[string]proto.Dialect{
		"v1": proto.DialectV1, "v2": proto.DialectV2, "cim": proto.DialectCIM,
	}[c.dialect]
	return c.load.Check()
}

// run reports even what went wrong before it fails.
func (c *loadgenConfig) run(ctx context.Context, out, progress io.Writer) error {
	report, err := loadgen.Run(ctx, c.load, progress)
	if err != nil {
		return err
	}
	return errors.Join(c.write(out, report), report.Failed())
}

func (c *loadgenConfig) write(out io.Writer, report loadgen.Report) error {
	if !c.json {
		return report.Print(out)
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(report); err != nil {
		return fmt.Errorf("loadgen: write the report: %w", err)
	}
	return nil
}
