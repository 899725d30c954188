package daemon

import (
	"context"
	"os/exec"
	"strconv"
)

// NATS starts a nats-server that keeps nothing. args are options of nats-server.
func NATS(ctx context.Context, dir string, args ...string) (*Daemon, error) {
	return start(ctx, spec{
		name: "nats", dir: dir,
		command: func(_ string, port int) (*exec.Cmd, error) {
			return program("nats-server", append([]string{"--addr", Place{}.host(), "--port", strconv.Itoa(port), "--server_name", natsName(port)}, args...)...)
		},
		answers: func(ctx context.Context, d *Daemon) error {
			// Its first line names it: another process may have been faster to
			// take the port.
			_, err := ask(ctx, d.Addr, "", `"server_name":"`+natsName(d.port)+`"`)
			return err
		},
	})
}

// natsName is new at each start, as it has our port and process.
func natsName(port int) string { return "cim-" + ownPID + "-" + strconv.Itoa(port) }
