package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/internal/standalone"
	"cim/route"
	"cim/route/access"
	"cim/server"
)

// standaloneConfig holds the settings of cim standalone. The address and the repeated login apply
// to both its server and its route.
type standaloneConfig struct {
	system standalone.Config
	bind   string // as it was written
	admin  adminConfig
	memory int64 // of all connections, in bytes; 0: budget.Default
	log    logConfig
}

func defaultStandalone() *standaloneConfig {
	c := &standaloneConfig{system: standalone.DefaultConfig(), bind: loopback, admin: adminConfig{bind: loopback, port: 9100}, log: defaultLog()}
	c.system.Folder = "./cim-data"
	return c
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
			ctx := p.keepRunning(cmd)
			check := func() error { return c.checkWith(s) }
			if err := s.read(p, cmd, check); err != nil {
				return err
			}
			return failed(runStandalone(ctx, *c, p.output, cmd.OutOrStdout()))
		},
	}
	s.offer(cmd)
	return cmd
}

// define adds the settings, with their defaults from c.
func (c *standaloneConfig) define(flags *pflag.FlagSet) {
	flags.StringVar(&c.system.Folder, "data", c.system.Folder, "folder of the durable file")
	defineBind(flags, &c.bind)
	defineServer(flags, &c.system.Server)
	defineRoute(flags, &c.system.Route)
	defineAddresses(flags, &c.system.Server.Addresses)
	defineLimits(flags, &c.system.Route.Access.Limits)
	defineMemory(flags, &c.memory)
	defineAccess(flags, &c.system.Route.Access)
	defineHTTPIdle(flags, &c.system.Server.HTTPIdle)
	defineRepeatLogin(flags, &c.system.Server.RepeatLogin)
	defineOfflineTTL(flags, &c.system.Store.OfflineTTL)
	c.admin.define(flags)
	c.log.define(flags)
}

// checkWith is check, and what depends on where the settings s came from.
func (c *standaloneConfig) checkWith(s *settings) error {
	return errors.Join(c.check(), checkExposed(c.system.Route.Bind, s))
}

// check completes settings that apply twice, and reports all faults.
func (c *standaloneConfig) check() error {
	var bind error
	c.system.Server.Bind, bind = bindHost("bind", c.bind)
	c.system.Route.Bind = c.system.Server.Bind
	c.system.Route.RepeatLogin = route.RepeatLogin(c.system.Server.RepeatLogin)
	c.system.Route.Addresses = c.system.Server.Addresses
	c.system.Server.Limits = c.system.Route.Access.Limits
	c.system.Route.HTTPIdle = c.system.Server.HTTPIdle
	c.share(descriptorLimit())
	return errors.Join(bind, checkFolder("data", c.system.Folder), c.checkPorts(), c.admin.check(), checkOfflineTTL(c.system.Store.OfflineTTL),
		c.system.Server.Check(), c.system.Route.Check(), checkWaysPast(c.system.Route.Access.Mode, c.system.Server))
}

// checkWaysPast refuses settings of the server that leave a way past a route's
// --auth require.
func checkWaysPast(auth access.Mode, c server.Config) error {
	if auth != access.Require {
		return nil
	}
	var faults []error
	if c.Login == server.LoginOpen {
		faults = append(faults, errors.New("login open lets in any client, which --auth require is to prevent: leave one of them out"))
	}
	if c.SendMsgAnywhere {
		faults = append(faults, errors.New("sendmsg-anywhere lets others name any sender, which --auth require is to prevent: leave one of them out"))
	}
	return errors.Join(faults...)
}

func checkFolder(name, folder string) error {
	if folder == "" {
		return fmt.Errorf("%s %q is not a folder", name, folder)
	}
	return nil
}

// namedPort is a port and the setting that says it.
type namedPort struct {
	name string
	port int
}

func (c *standaloneConfig) checkPorts() error {
	return checkPorts(
		namedPort{"cim-port", c.system.Server.CIMPort}, namedPort{"http-port", c.system.Server.HTTPPort},
		namedPort{"route-port", c.system.Route.Port}, namedPort{"admin-port", c.admin.port})
}

// checkPorts reports the ports that two listeners would have; free ones differ.
func checkPorts(ports ...namedPort) error {
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

func runStandalone(ctx context.Context, c standaloneConfig, o *output, out io.Writer) error {
	log := o.logger(c.log)
	return runService(ctx, log, o.queue, func() (service, error) { return startNode(c, log) }, out)
}
