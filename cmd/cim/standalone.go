package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

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
	serverConfig := server.DefaultConfig()
	serverConfig.LinkPort = server.LinkPortNone // its link is within the process
	return &standaloneConfig{
		data:      "./cim-data",
		adminPort: 9100,
		server:    serverConfig,
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
	defineServer(flags, &c.server)
	defineRoute(flags, &c.route)
	defineRepeatLogin(flags, &c.server.RepeatLogin)
	defineOfflineTTL(flags, &c.store.OfflineTTL)
	defineAdmin(flags, &c.adminPort)
	c.log.define(flags)
}

// check completes what the settings concern twice, and reports all that is
// wrong.
func (c *standaloneConfig) check() error {
	c.route.Bind = c.server.Bind
	c.route.RepeatLogin = route.RepeatLogin(c.server.RepeatLogin)
	c.share(descriptorLimit())
	return errors.Join(checkFolder("data", c.data), c.checkPorts(), checkOfflineTTL(c.store.OfflineTTL),
		c.server.Check(), c.route.Check())
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
		namedPort{"cim-port", c.server.CIMPort}, namedPort{"http-port", c.server.HTTPPort},
		namedPort{"route-port", c.route.Port}, namedPort{"admin-port", c.adminPort})
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

func runStandalone(ctx context.Context, c standaloneConfig, out io.Writer) error {
	log := c.log.logger(os.Stderr)
	return runService(ctx, log, func() (service, error) { return startNode(c, log) }, out)
}
