package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/route"
	"cim/server"
	"cim/store"
)

// standaloneConfig is what cim standalone can be told. The address and the
// repeated login concern both its server and its route.
type standaloneConfig struct {
	data      string // the folder of the durable file
	adminPort int
	server    server.Config
	route     route.Config
	store     store.Config
	log       logConfig
}

func defaultStandalone() *standaloneConfig {
	return &standaloneConfig{
		data:      "./cim-data",
		adminPort: 9100,
		server:    server.DefaultConfig(),
		route:     route.DefaultConfig(),
		store:     store.Config{OfflineTTL: store.OfflineTTLDefault},
		log:       defaultLog(),
	}
}

func newStandaloneCommand(p *program) *cobra.Command {
	c := defaultStandalone()
	s := p.newSettings(c.define)
	cmd := &cobra.Command{
		Use:   "standalone",
		Short: "Run a server and a route in one process",
		Long: `Runs a server and a route in one process, with one durable file under --data.

Once it is ready it writes one line of JSON with its addresses and its process
id to standard output; its log goes to standard error. At SIGTERM or SIGINT it
drains what is queued and exits with 0, a second signal ends it at once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.read(p, cmd, c.check); err != nil {
				return err
			}
			return failed(runStandalone(cmd.Context(), *c, cmd.OutOrStdout()))
		},
	}
	s.offer(cmd)
	return cmd
}

// define adds the settings, whose defaults are what c has.
func (c *standaloneConfig) define(flags *pflag.FlagSet) {
	flags.StringVar(&c.data, "data", c.data, "folder of the durable file")
	flags.Var(ipv4{&c.server.Bind}, "bind", "address that all ports listen on")
	flags.StringVar(&c.server.Advertise, "advertise", c.server.Advertise,
		"host that clients are told, if it is not that of --bind; a wildcard --bind demands it")
	numberVar(flags, &c.server.CIMPort, "cim-port", 0, portMax, "port of the clients' long connections; 0 takes a free one")
	numberVar(flags, &c.server.HTTPPort, "http-port", 0, portMax, "port of the server's /sendMsg; 0 takes a free one")
	numberVar(flags, &c.route.Port, "route-port", 0, portMax, "port of the route's HTTP API; 0 takes a free one")
	numberVar(flags, &c.adminPort, "admin-port", 0, portMax, "port of health, metrics and profiles; 0 takes a free one")
	choiceVar(flags, &c.route.ServerChoice, "server-choice", "how a login's server is picked",
		route.ChoiceHash, route.ChoiceRoundRobin, route.ChoiceRandom)
	flags.DurationVar(&c.server.Heartbeat, "heartbeat", c.server.Heartbeat, "silence after which a session ends")
	choiceVar(flags, &c.server.Login, "login", "who may log in: whom a route announced, or whoever connects",
		server.LoginGranted, server.LoginOpen)
	choiceVar(flags, &c.server.RepeatLogin, "repeat-login", "what becomes of a login whose user has a living session",
		server.RepeatRefuse, server.RepeatReplace)
	flags.IntVar(&c.server.SessionsMax, "max-sessions", c.server.SessionsMax,
		"most connections of clients; 0 is what the limit of descriptors leaves")
	flags.DurationVar(&c.store.OfflineTTL, "offline-ttl", c.store.OfflineTTL, "age at which an offline message is gone")
	flags.IntVar(&c.server.Loops, "loops", c.server.Loops, "event loops; 0 follows from the cores")
	flags.BoolVar(&c.server.SendMsgAnywhere, "sendmsg-anywhere", c.server.SendMsgAnywhere,
		"let /sendMsg answer to others than loopback; who reaches it can name any sender")
	c.log.define(flags)
}

// offlineTTLMin is the least age bound that makes sense.
const offlineTTLMin = time.Second

// check completes what the settings concern twice, and reports all that is
// wrong.
func (c *standaloneConfig) check() error {
	c.route.Bind = c.server.Bind
	c.route.RepeatLogin = route.RepeatLogin(c.server.RepeatLogin)
	c.share(descriptorLimit())
	faults := []error{checkFolder("data", c.data), c.checkPorts()}
	if c.store.OfflineTTL < offlineTTLMin {
		faults = append(faults, fmt.Errorf("offline-ttl %v is not at least %v", c.store.OfflineTTL, offlineTTLMin))
	}
	return errors.Join(append(faults, c.server.Check(), c.route.Check())...)
}

func checkFolder(name, folder string) error {
	if folder == "" {
		return fmt.Errorf("%s %q is not a folder", name, folder)
	}
	return nil
}

// checkPorts reports the ports that two listeners would have; free ones differ.
func (c *standaloneConfig) checkPorts() error {
	ports := []struct {
		name string
		port int
	}{
		{"cim-port", c.server.CIMPort},
		{"http-port", c.server.HTTPPort},
		{"route-port", c.route.Port},
		{"admin-port", c.adminPort},
	}
	var faults []error
	for i, later := range ports {
		for _, p := range ports[:i] {
			if p.port == later.port && p.port != 0 {
				faults = append(faults, fmt.Errorf("%s and %s are both %d", p.name, later.name, p.port))
			}
		}
	}
	return errors.Join(faults...)
}

// drainMax bounds the whole drain.
const drainMax = 30 * time.Second

// runStandalone runs until ctx ends, which is well, or a part does, which is
// not. Either way it drains.
func runStandalone(ctx context.Context, c standaloneConfig, out io.Writer) error {
	log := c.log.logger(os.Stderr)
	n, err := startNode(c, log)
	if err != nil {
		return err
	}
	err = serve(ctx, n, out)
	if ctx.Err() != nil {
		log.Info("draining", "why", context.Cause(ctx))
		err = nil
	} else {
		log.Error("ending", "why", err)
	}
	if err = errors.Join(err, n.drain()); err == nil {
		log.Info("stopped")
	}
	return err
}

// serve tells when n is ready, and returns why it has to end.
func serve(ctx context.Context, n *node, out io.Writer) error {
	ctx, cancel := n.watch(ctx)
	defer cancel(nil)
	if err := n.awaitReady(ctx); err != nil {
		return err
	}
	a := n.addresses()
	if err := writeReady(out, a); err != nil {
		return err
	}
	n.log.Info("ready", "cim", a.CIM, "http", a.HTTP, "route", a.Route, "admin", a.Admin, "pid", a.PID)
	<-ctx.Done()
	return context.Cause(ctx)
}

// addresses is the line that tells whoever started the process where to find
// it.
type addresses struct {
	CIM   string `json:"cim"`
	HTTP  string `json:"http"`
	Route string `json:"route"`
	Admin string `json:"admin"`
	PID   int    `json:"pid"`
}

func writeReady(out io.Writer, a addresses) error {
	line, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("standalone: addresses: %w", err)
	}
	if _, err := out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("standalone: write the addresses: %w", err)
	}
	return nil
}
