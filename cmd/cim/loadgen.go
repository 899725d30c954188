package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/loadgen"
	"cim/loadgen/live"
	"cim/proto"
)

// loadgenConfig holds the settings of cim loadgen.
type loadgenConfig struct {
	load    loadgen.Config
	dialect string
	want    int
	system  systemName
	address string // of a system that is not ours
	slo     loadgen.SLO
	ui      live.Kind
	output  loadOutput
	// token is a secret; "": tokenFile has it, or none is shown.
	token, tokenFile string
}

func defaultLoadgen() *loadgenConfig {
	c := &loadgenConfig{load: loadgen.Defaults(), dialect: "v2", system: systemCIM, ui: live.Auto}
	c.load.Routes = []string{routeDefault}
	c.load.Conns = []int{1000}
	c.load.Windows = []int{1}
	return c
}

func newLoadgenCommand(p *program) *cobra.Command {
	c := defaultLoadgen()
	s := p.newSettings(c.define, settingToken)
	cmd := &cobra.Command{
		Use:   "loadgen",
		Short: "Simulate clients and measure how fast messages arrive",
		Long:  loadgenHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			check := func() error { return c.check(s.source["window"] == fromDefault, s.source["via"] == fromDefault) }
			if err := s.read(p, cmd, check); err != nil {
				return err
			}
			if err := c.readToken(); err != nil {
				return failed(err)
			}
			if part := environment(p.environ, workerVariable); part != "" {
				return failed(c.work(cmd.Context(), part, cmd.InOrStdin(), cmd.OutOrStdout()))
			}
			return failed(c.run(cmd.Context(), cmd.OutOrStdout(), os.Stderr, environment(p.environ, "NO_COLOR") == ""))
		},
	}
	s.offer(cmd)
	return cmd
}

// loadgenHelp starts with the usual commands.
const loadgenHelp = `  cim loadgen --conns 1k --window 1,16                    group messages, 1 and 16 outstanding
  cim loadgen --mode private --conns 1k --rate 1k,5k,10k  private messages at a rate, latency from when each is due
  cim loadgen --mode private --via conn --rate 5k --slo 'p99<20ms,lost==0' && echo met
  cim loadgen --mode mixed --mix group=1,private=99 --rate 2k --arrivals poisson --size exp:200 --verify
  cim loadgen --mode private --via conn --rate 5k --want 1  senders wait until the receivers are done with each text
  cim loadgen --mode storm --conns 10k                    all log in, are cut, and come back
  cim loadgen --mode churn --conns 5k --rate 200          200 clients a second are cut and log in again
  cim loadgen --mode idle --conns 60k --procs 4 --src 127.0.0.2-9
                                                          needs servers with room for all of them: cim cluster
                                                          --servers 4 at ulimit -n 20000, a standalone at 65536
  cim loadgen --mode idle --conns 10k --duration 10s --server-pid $(pgrep -nx cim)
  cim loadgen --rate 200 --json > run.json                data on stdout, progress on stderr

Logs in simulated clients, lets them send, and measures how long each message
takes to each receiver. With --rate each message has a time at which it is due,
and its latency counts from then, whatever became of those before. With --window
that many messages are kept outstanding. A delivery that is lost, doubled, out of
order or changed is a failure.

Exit status: 0 all right and the SLO met, 99 the SLO missed, 1 the run or a
delivery failed, 2 usage, 130 interrupted. Ctrl-C drains and reports what there
is, marked as partial; a second one leaves at once.`

func (c *loadgenConfig) define(flags *pflag.FlagSet) {
	choiceVar(flags, &c.system, "system", "what is under test; all but cim are at --address and imply --via conn; the floor also takes --via http, with its --route", systemNames...)
	flags.StringVar(&c.address, "address", c.address, "host:port of a system that is not cim")
	flags.Var(texts{&c.load.Routes}, "route", "URLs of the routes, separated by commas")
	flags.StringVar(&c.token, settingToken, "", "token for the routes")
	flags.StringVar(&c.tokenFile, keyTokenFile, c.tokenFile, "file with the token for the routes, of a service (cim token --service); CIM_TOKEN wins")
	flags.Var(counts{&c.load.Conns}, "conns", "numbers of clients, separated by commas: one run after the other")
	choiceVar(flags, &c.load.Mode, "mode", "what the clients do", loadgen.Modes...)
	flags.Var(shares{&c.load.Mix}, "mix", "of mode mixed: the shares of its messages")
	choiceVar(flags, &c.load.Via, "via", "the way of a message: a request to a route, or the sender's own connection",
		loadgen.ViaHTTP, loadgen.ViaConn)
	flags.Var(counts{&c.load.Rates}, "rate", "messages a second, whatever the outcome of earlier ones, separated by commas")
	choiceVar(flags, &c.load.Arrivals, "arrivals", "how the messages of a rate are spread over time", loadgen.Constant, loadgen.Poisson)
	flags.Var(counts{&c.load.Windows}, "window", "numbers of messages kept outstanding, separated by commas")
	flags.DurationVar(&c.load.Think, "think", c.load.Think, "with --window: how long a sender waits before its next message")
	flags.DurationVar(&c.load.Duration, "duration", c.load.Duration, "measured time of each run")
	flags.DurationVar(&c.load.Warmup, "warmup", c.load.Warmup, "time before it that is not measured")
	choiceVar(flags, &c.dialect, "dialect", "dialect of the receivers", "v1", "v2", "cim")
	numberVar(flags, &c.want, "want", 0, 2, "when a private message counts as done: 0 taken, 1 received, 2 stored first; with 1 and 2 all clients are of dialect cim and acknowledge")
	flags.Var(sizes{&c.load.Size}, "size", "bytes of each text: 128, or a range as 64-1024, or a mean as exp:200")
	flags.Var(perSecond{&c.load.Ramp}, "ramp", "logins that start in a second, as 2k/s; 0: as fast as they can")
	flags.Var(addressList{&c.load.Sources}, "src", "addresses that the clients connect from, as 127.0.0.2-9, separated by commas")
	flags.StringVar(&c.load.LoginURL, "login-url", c.load.LoginURL, "URL, for a system that is not cim, to which each login first posts an empty request, as ours asks a route")
	numberVar(flags, &c.load.LoginsAtOnce, "logins-at-once", 1, 1024, "logins that are under way at a time, at most")
	numberVar(flags, &c.load.HTTPConns, "http-conns", 1, 1024, "HTTP connections for messages")
	numberVar(flags, &c.load.Loops, "loops", 1, 64, "event loops of each process")
	numberVar(flags, &c.load.Procs, "procs", 1, 64, "worker processes that share clients and load, past the descriptors that one may have")
	flags.BoolVar(&c.load.Verify, "verify", c.load.Verify, "account for each refused message, and check at the end which users are still online")
	flags.Uint64Var(&c.load.Seed, "seed", c.load.Seed, "makes names and pairs; runs of one seed share their users")
	flags.Var(numbers{&c.load.ServerPIDs}, "server-pid", "processes under test, separated by commas, whose CPU time and memory are reported")
	flags.Var(slos{&c.slo}, "slo", "limits to keep, such as p99<20ms,lost==0; exit status 99 if one is missed")
	c.output.define(flags)
	choiceVar(flags, &c.ui, "ui", "how the run is shown on standard error: a live view on a terminal, a line a second, or not",
		live.Auto, live.Terminal, live.Lines, live.None)
}

// check completes the load: a default window gives way to a rate.
func (c *loadgenConfig) check(windowByDefault, viaByDefault bool) error {
	if windowByDefault && len(c.load.Rates) > 0 {
		c.load.Windows = nil
	}
	c.load.Dialect = map[string]proto.Dialect{
		"v1": proto.DialectV1, "v2": proto.DialectV2, "cim": proto.DialectCIM,
	}[c.dialect]
	c.load.Want = proto.Want(c.want)
	return errors.Join(c.checkSystem(viaByDefault), c.output.check(), c.load.Check(), c.slo.Check(c.load))
}

// readToken completes the load with the token.
func (c *loadgenConfig) readToken() (err error) {
	if c.load.Token = c.token; c.token == "" && c.tokenFile != "" {
		c.load.Token, err = readToken(c.tokenFile)
	}
	return err
}

// run reports even what went wrong before it fails.
func (c *loadgenConfig) run(ctx context.Context, out io.Writer, progress *os.File, color bool) error {
	view := live.Open(c.ui, progress, color)
	c.load.Watch, c.load.Spawn = view.Second, spawnWorker
	unwatched := context.AfterFunc(ctx, func() {
		// Progress is for a human; if the output has gone, nothing is lost.
		_, _ = fmt.Fprintln(view, "stopping: what is on its way is waited for; a second signal leaves at once")
	})
	report, err := c.measure(ctx, view)
	unwatched()
	err = errors.Join(err, view.Close())
	if err == nil {
		err = errors.Join(c.output.write(out, report), c.judge(report))
	}
	if errors.As(context.Cause(ctx), new(signalled)) && err != nil {
		return ending{err, exitInterrupted}
	}
	return err
}

// judge says what a report is worth. A count that the SLO names is judged by it
// alone; of all others there must be none.
func (c *loadgenConfig) judge(report loadgen.Report) error {
	if report.Stopped == "" {
		if missed := c.slo.Missed(report); len(missed) > 0 {
			return ending{fmt.Errorf("loadgen: the SLO was missed: %w", joined(missed)), exitMissed}
		}
	}
	return report.FailedBut(c.slo)
}

func joined(lines []string) error {
	var all []error
	for _, line := range lines {
		all = append(all, errors.New(line))
	}
	return errors.Join(all...)
}

func writeJSON(out io.Writer, report loadgen.Report) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(report); err != nil {
		return fmt.Errorf("loadgen: write the report: %w", err)
	}
	return nil
}
