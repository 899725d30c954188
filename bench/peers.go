package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"cim/bench/report"
	"cim/internal/daemon"
)

// The systems beside ours. docs/peers.md says why each has its settings, and
// the manifest repeats them.
var (
	natsKind = kind{
		name: "nats", guarantee: "at most once; a receiver 64 MiB or 10 s behind is cut off",
		loses:    true,
		settings: "core NATS, nats-server as it comes: max_pending 64 MiB, write_deadline 10 s, no JetStream",
		packages: []string{"nats-server"}, commands: [][]string{{"nats-server", "--version"}},
		start: startDaemon("nats", func(ctx context.Context, dir string) (*daemon.Daemon, error) {
			return daemon.NATS(ctx, dir)
		}),
	}
	redisKind = kind{
		name: "redis pubsub", guarantee: "at most once; a receiver 32 MiB, or a minute 8 MiB, behind is cut off",
		loses:    true,
		settings: "PUBLISH and SUBSCRIBE in RESP3; client-output-buffer-limit pubsub 32mb 8mb 60, io-threads 1, no save, no appendonly",
		packages: []string{"redis-server"}, commands: [][]string{{"redis-server", "--version"}},
		start: startDaemon("redis", func(ctx context.Context, dir string) (*daemon.Daemon, error) {
			return daemon.Redis(ctx, dir, "--client-output-buffer-limit", "pubsub 32mb 8mb 60", "--io-threads", "1")
		}),
	}
	mosquittoKind = kind{
		name: "mosquitto", guarantee: "at most once, QoS 0",
		loses:    true,
		settings: "MQTT 3.1.1, QoS 0, clean sessions; set_tcp_nodelay true, persistence false, allow_anonymous true",
		packages: []string{"mosquitto"},
		start: startDaemon("mosquitto", func(ctx context.Context, dir string) (*daemon.Daemon, error) {
			return daemon.Mosquitto(ctx, dir, "set_tcp_nodelay true")
		}),
	}
	floorKind = kind{
		name: report.Floor, guarantee: "none: reads and sends on, checks nothing",
		settings: "one thread, epoll, read and send; group messages of one receiver coalesced into one send",
		start:    startFloor(report.Floor),
	}
	pairKind = kind{
		name: report.BarePair, guarantee: "none: the floor, with clients as bare as it is",
		settings: "the floor, and one thread of epoll, read and send in the place of the load generator's clients",
		start:    startFloor("bare-pair"),
	}
)

// outside is a system that is not cim: one process at one address.
type outside struct {
	*daemon.Daemon
	word string // as loadgen's --system names it
	data string
	log  string // where what it said is kept
}

// startDaemon starts a system with a folder of its own.
func startDaemon(word string, run func(ctx context.Context, dir string) (*daemon.Daemon, error)) func(ctx context.Context, binary, folder, prefix string) (system, error) {
	return func(ctx context.Context, _, folder, prefix string) (system, error) {
		data, err := os.MkdirTemp("", "cim-bench-")
		if err != nil {
			return nil, fmt.Errorf("bench: data: %w", err)
		}
		d, err := run(ctx, data)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(data))
		}
		return &outside{Daemon: d, word: word, data: data, log: filepath.Join(folder, prefix+word+".log")}, nil
	}
}

func (o *outside) target() []string { return []string{"--system", o.word, "--address", o.Addr} }

func (o *outside) pids() []int { return []int{o.PID()} }

func (o *outside) profiled() []*process { return nil }

// stop ends the process, keeps what it said and removes its data.
func (o *outside) stop() error {
	err := o.Stop()
	said, readErr := os.ReadFile(filepath.Join(o.data, o.word+".log"))
	if readErr == nil {
		readErr = os.WriteFile(o.log, said, 0o644)
	}
	return errors.Join(err, readErr, os.RemoveAll(o.data))
}

// bare is the running floor.
type bare struct {
	process *process
	word    string // as loadgen's --system names who drives it
}

func startFloor(word string) func(ctx context.Context, binary, folder, prefix string) (system, error) {
	return func(ctx context.Context, binary, folder, prefix string) (system, error) {
		p, err := startProcess(ctx, binary, filepath.Join(folder, prefix+word+".log"), nil, "floor")
		if err != nil {
			return nil, err
		}
		return &bare{p, word}, nil
	}
}

func (b *bare) target() []string { return []string{"--system", b.word, "--address", b.process.CIM} }

func (b *bare) pids() []int { return []int{b.process.PID} }

// profiled: it has no admin listener.
func (b *bare) profiled() []*process { return nil }

func (b *bare) stop() error { return b.process.stop() }
