package daemon

import (
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"strconv"
)

// NATS starts a nats-server without persistence. args are options of nats-server.
func NATS(ctx context.Context, dir string, args ...string) (*Daemon, error) {
	return start(ctx, spec{
		name: "nats", dir: dir,
		command: func(dir string, port int) (*exec.Cmd, error) {
			return program("nats-server", append([]string{
				"--addr", Place{}.host(), "--port", strconv.Itoa(port), "--server_name", natsName(dir),
			}, args...)...)
		},
		answers: func(ctx context.Context, d *Daemon) error {
			// Its first line names it: another process may have taken the port
			// first.
			_, err := ask(ctx, d.Addr, "", `"server_name":"`+natsName(d.spec.dir)+`"`)
			return err
		},
	})
}

// natsName distinguishes it from those in other folders.
func natsName(dir string) string {
	return fmt.Sprintf("cim-%d-%x", os.Getpid(), crc32.ChecksumIEEE([]byte(dir)))
}
