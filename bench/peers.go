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
		start: startDaemon("nats", "nats", func(ctx context.Context, dir string) (*daemon.Daemon, error) {
			return daemon.NATS(ctx, dir)
		}),
	}
	redisKind = kind{
		name: "redis pubsub", guarantee: "at most once; a receiver 32 MiB, or a minute 8 MiB, behind is cut off",
		loses:    true,
		settings: "PUBLISH and SUBSCRIBE in RESP3; client-output-buffer-limit pubsub 32mb 8mb 60, io-threads 1, maxclients 65536, no save, no appendonly",
		packages: []string{"redis-server"}, commands: [][]string{{"redis-server", "--version"}},
		start: startDaemon("redis", "redis", func(ctx context.Context, dir string) (*daemon.Daemon, error) {
			return daemon.Redis(ctx, dir, "--client-output-buffer-limit", "pubsub 32mb 8mb 60", "--io-threads", "1", "--maxclients", redisClients)
		}),
	}
	mosquittoKind = kind{
		name: "mosquitto", guarantee: "at most once, QoS 0",
		loses:    true,
		settings: "MQTT 3.1.1, QoS 0, clean sessions; set_tcp_nodelay true, persistence false, allow_anonymous true",
		packages: []string{"mosquitto"},
		start: startDaemon("mosquitto", "mosquitto", func(ctx context.Context, dir string) (*daemon.Daemon, error) {
			return daemon.Mosquitto(ctx, dir, "set_tcp_nodelay true")
		}),
	}
	qos1Kind = kind{
		name: "mosquitto qos 1", guarantee: "at least once, in memory; answered once the broker has it",
		loses:    true,
		settings: "MQTT 3.1.1, QoS 1 both ways, sessions that stay; set_tcp_nodelay true, max_inflight_messages 0, max_queued_messages 0, persistence false",
		packages: []string{"mosquitto"},
		start: startDaemon("mosquitto-qos1", "mosquitto", func(ctx context.Context, dir string) (*daemon.Daemon, error) {
			return daemon.Mosquitto(ctx, dir, "set_tcp_nodelay true", "max_inflight_messages 0", "max_queued_messages 0")
		}),
	}
	streamsKind = streams("redis streams", "at least once, in memory; answered once it is in the stream", "appendonly no", "--appendonly", "no")
	syncedKind  = streams("redis streams, synced", "at least once, on the disk before it is answered", "appendonly yes, appendfsync always",
		"--appendonly", "yes", "--appendfsync", "always")
	floorKind = kind{
		name: report.Floor, guarantee: "none: reads and sends on, checks nothing",
		settings: "one thread, epoll, read and send; group messages of one receiver coalesced into one send",
		start:    startFloor(report.Floor, "floor"),
	}
	httpFloorKind = kind{
		name: report.Floor, guarantee: floorKind.guarantee,
		settings: floorKind.settings + "; over HTTP a bare handler of the same library as ours, one raw write for each message",
		start:    startFloor(report.Floor, "floor", "--http"),
	}
	pairKind = kind{
		name: report.BarePair, guarantee: "none: the floor, with clients as bare as it is",
		settings: "the floor, and one thread of epoll, read and send in the place of the load generator's clients",
		start:    startFloor("bare-pair", "floor"),
	}
)

// Ours where a sender asks for more than taken.
var (
	receivedKind = kind{
		name: "cim, want 1", guarantee: "answered once the receiver is done with it, or it is stored", asks: []string{"--want", "1"},
		start: startStandalone,
	}
	storedKind = kind{
		name: "cim, want 2", guarantee: "on the disk before it is answered", asks: []string{"--want", "2"},
		start: startStandalone,
	}
)

// redisClients is more than any scenario needs: by default Redis takes 10,000 clients, one fewer
// than a sender and its 10,000 receivers. Redis lowers the number to what the limit of descriptors
// allows.
const redisClients = "65536"

// streams is Redis with a stream and a consumer group for each receiver.
func streams(name, guarantee, kept string, args ...string) kind {
	return kind{
		name: name, guarantee: guarantee,
		loses:    true,
		settings: "XADD with MAXLEN ~ 1000, XREADGROUP and XACK in RESP3; io-threads 1, no save, " + kept,
		packages: []string{"redis-server"}, commands: [][]string{{"redis-server", "--version"}},
		start: startDaemon("redis-streams", "redis", func(ctx context.Context, dir string) (*daemon.Daemon, error) {
			return daemon.Redis(ctx, dir, append([]string{"--io-threads", "1"}, args...)...)
		}),
	}
}

// outside is a system that is not cim: one process at one address.
type outside struct {
	*daemon.Daemon
	word      string // as loadgen's --system names it
	data      string
	daemonLog string // the daemon's own log
	log       string // the file with its output
}

// startDaemon starts a system with a folder of its own. The load generator
// calls it word; program names its log.
func startDaemon(word, program string, run func(ctx context.Context, dir string) (*daemon.Daemon, error)) func(ctx context.Context, binary, folder, prefix string) (system, error) {
	return func(ctx context.Context, _, folder, prefix string) (system, error) {
		data, err := os.MkdirTemp("", "cim-bench-")
		if err != nil {
			return nil, fmt.Errorf("bench: data: %w", err)
		}
		d, err := run(ctx, data)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(data))
		}
		return &outside{Daemon: d, word: word, data: data, daemonLog: filepath.Join(data, program+".log"), log: filepath.Join(folder, prefix+word+".log")}, nil
	}
}

func (o *outside) target() []string { return []string{"--system", o.word, "--address", o.Addr} }

func (o *outside) pids() []int { return []int{o.PID()} }

func (o *outside) profiled() []*process { return nil }

// stop ends the process, keeps its output and removes its data.
func (o *outside) stop() error {
	err := o.Stop()
	text, readErr := os.ReadFile(o.daemonLog)
	if readErr == nil {
		readErr = os.WriteFile(o.log, text, 0o644)
	}
	return errors.Join(err, readErr, os.RemoveAll(o.data))
}

// bare is the running floor.
type bare struct {
	process *process
	word    string // its name for loadgen's --system
}

func startFloor(word string, args ...string) func(ctx context.Context, binary, folder, prefix string) (system, error) {
	return func(ctx context.Context, binary, folder, prefix string) (system, error) {
		p, err := startProcess(ctx, binary, filepath.Join(folder, prefix+word+".log"), nil, args...)
		if err != nil {
			return nil, err
		}
		return &bare{p, word}, nil
	}
}

func (b *bare) target() []string {
	target := []string{"--system", b.word, "--address", b.process.CIM}
	if b.process.Route != "" {
		target = append(target, "--route", "http://"+b.process.Route)
	}
	return target
}

func (b *bare) pids() []int { return []int{b.process.PID} }

// profiled: it has no admin listener.
func (b *bare) profiled() []*process { return nil }

func (b *bare) stop() error { return b.process.stop() }

// asked is a system whose logins start with an HTTP request, as ours do: a service in front of it
// would say where to connect. The process that takes the requests is not part of the system.
type asked struct {
	system
	requests *process
}

// withRequests is the kind with such logins.
func withRequests(k *kind) *kind {
	asking, start := *k, k.start
	asking.settings += "; each login begins with one HTTP request to another process, whose CPU time does not count"
	asking.start = func(ctx context.Context, binary, folder, prefix string) (system, error) {
		requests, err := startProcess(ctx, binary, filepath.Join(folder, prefix+"requests.log"), nil, "floor", "--http")
		if err != nil {
			return nil, err
		}
		s, err := start(ctx, binary, folder, prefix)
		if err != nil {
			return nil, errors.Join(err, requests.stop())
		}
		return &asked{s, requests}, nil
	}
	return &asking
}

func (a *asked) target() []string {
	return append(a.system.target(), "--login-url", "http://"+a.requests.Route)
}

func (a *asked) stop() error { return errors.Join(a.system.stop(), a.requests.stop()) }
