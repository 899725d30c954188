package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"cim/client/terminal"
)

// Exit statuses.
const (
	exitFailure     = 1   // a command ran and failed
	exitUsage       = 2   // wrong arguments or settings: nothing was started
	exitMissed      = 99  // loadgen: all was measured, and the SLO is not kept
	exitInterrupted = 130 // a second signal cut the drain short; loadgen, bench: a signal ended it
)

// failure marks an error of a command that ran. Any other error is one of
// usage.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// ending is an error of a command that ends the process with a status of its
// own.
type ending struct {
	error
	status int
}

func (e ending) Unwrap() error { return e.error }

// failed marks err, which may be nil.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return failure{plainDial(err)}
}

// program is what the commands share.
type program struct {
	environ  []string
	file     string      // --config, or CIM_CONFIG
	commands []*settings // of all commands, so that what none has is unknown
	output   *output     // of a command that runs until it is asked to end; nil: of another
}

// run does what args say and returns the exit status.
func run(args []string) int {
	ctx, stop := untilSignal()
	defer stop()
	p := &program{environ: os.Environ()}
	root := newRoot(p)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	stderr, flush := p.stderr()
	defer flush()
	if err == nil {
		return 0
	}
	report(stderr, err)
	if ended := (ending{}); errors.As(err, &ended) {
		return ended.status
	}
	if errors.As(err, new(failure)) {
		return exitFailure
	}
	return exitUsage
}

// report writes each line of err that is not empty; several faults have several lines. It leaves
// out the SDK's name, and makes the text harmless: a route may have written some of it. Standard
// error is the last resort, so its own failure cannot be reported.
func report(w io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		line = "cim: " + terminal.Harmless(line)
		_, _ = fmt.Fprintln(w, strings.ReplaceAll(line, ": client: ", ": "))
	}
}

// signalled is why a context ended: a signal asked for it.
type signalled struct{ signal os.Signal }

func (s signalled) Error() string { return fmt.Sprintf("signal: %v", s.signal) }

// signalEcho is how soon after a signal the same one is no second request:
// timeout(1) and some supervisors send it to the process and to its group.
const signalEcho = 250 * time.Millisecond

// untilSignal returns a context that ends with the first SIGINT or SIGTERM. A
// second one ends the process at once.
func untilSignal() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		first := <-signals
		cancel(signalled{first})
		awaitSecond(first, signals)
		os.Exit(exitInterrupted)
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

// awaitSecond returns at the next signal that is no echo of the first.
func awaitSecond(first os.Signal, signals <-chan os.Signal) {
	for began := time.Now(); ; {
		if next := <-signals; next != first || time.Since(began) >= signalEcho {
			return
		}
	}
}

func newRoot(p *program) *cobra.Command {
	root := &cobra.Command{
		Use:   "cim",
		Short: "An instant-messaging backbone: server, route, client and load generator",
		Long: `cim keeps clients' long connections, knows who is where and brings each
message there.

Each setting is taken from its flag, else from the environment (--cim-port is
CIM_CIM_PORT), else from the YAML file of --config (cim-port: 11211), else it
has its default. cim config shows what came from where.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return checkSystem(runtime.GOOS, cmd) },
	}
	var version strings.Builder
	_ = writeVersion(&version) // a builder takes all
	root.Version = version.String()
	root.SetVersionTemplate("{{.Version}}")
	root.SetFlagErrorFunc(p.flagFault)
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().StringVar(&p.file, "config", environment(p.environ, "CIM_CONFIG"),
		"YAML file with settings")
	if err := root.MarkPersistentFlagFilename("config", "yaml", "yml"); err != nil {
		panic(err) // the flag exists
	}
	root.AddCommand(
		newStandaloneCommand(p), newServerCommand(p), newRouteCommand(p), newClusterCommand(p), newChatCommand(p), newLoadgenCommand(p), newBenchCommand(p),
		newAdminCommand(p),
		newFloorCommand(p), newConfigCommand(p), newVersionCommand(),
		newContextCommand(p), newSendCommand(p), newListenCommand(p), newUsersCommand(p), newCompletionCommand(), newTokenCommand(p),
	)
	root.Args = subcommandsOnly
	root.RunE = func(cmd *cobra.Command, _ []string) error { return failed(cmd.Help()) }
	checkArguments(root)
	return root
}

// environment is the value of name, "" if it is not there.
func environment(environ []string, name string) string {
	for _, entry := range environ {
		if key, value, _ := strings.Cut(entry, "="); key == name {
			return value
		}
	}
	return ""
}
