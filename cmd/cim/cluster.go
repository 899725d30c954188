package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/bench"
)

// clusterConfig holds the settings of cim cluster.
type clusterConfig struct {
	data      string // "": a folder that is removed at a good end
	servers   int
	routes    int
	routePort int
	parts     *clusterParts
}

func newClusterCommand(p *program) *cobra.Command {
	c := &clusterConfig{servers: 2, routes: 2, routePort: 8083, parts: newClusterParts()}
	s := p.newSettings(c.define, linkSecret)
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Run a small cluster on this machine, to try it out",
		Long: `Starts Redis, ZooKeeper, servers and routes on this machine, all on loopback,
and ends them at SIGINT or SIGTERM. redis-server and ZooKeeper must be
installed. It is for trying out: in production run cim server and cim route on
machines of their own.

Each setting of cim server and cim route is taken here too, and holds for all of
them: --auth and --heartbeat, CIM_AUTH_KEYS, the file of --config. Only where the
processes listen and what they connect to is the cluster's own choice.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := p.keepRunning(cmd)
			if err := s.read(p, cmd, func() error { return c.parts.check(s) }); err != nil {
				return err
			}
			out := newOutput(cmd.OutOrStdout()) // a cluster waits for no reader, and continues without one
			defer out.queue.Close(lastLinesMax)
			return failed(c.run(ctx, s, out.queue))
		},
	}
	s.offer(cmd)
	for _, name := range c.parts.names() { // the help of server and route has them
		if flag := cmd.Flags().Lookup(name); flag != nil {
			flag.Hidden = true
		}
	}
	return cmd
}

// processesMost bounds the servers, and the routes, of a cluster on one
// machine.
const processesMost = 16

func (c *clusterConfig) define(flags *pflag.FlagSet) {
	flags.StringVar(&c.data, "data", c.data, "folder for data and logs that stay; without it they are removed at the end, but for a failure once all of it runs")
	numberVar(flags, &c.servers, "servers", 1, processesMost, "servers")
	numberVar(flags, &c.routes, "routes", 1, processesMost, "routes")
	numberVar(flags, &c.routePort, "route-port", 0, portMax-processesMost,
		"port of the first route's HTTP API, the next ones are the others'; 0 takes free ones")
	c.parts.define(flags)
}

// run runs the cluster, with what s was given, until ctx ends.
func (c *clusterConfig) run(ctx context.Context, s *settings, out io.Writer) (err error) {
	folder := c.data
	if folder == "" {
		if folder, err = os.MkdirTemp("", "cim-cluster-"); err != nil {
			return fmt.Errorf("cluster: %w", err)
		}
		defer func() {
			if err == nil { // else the error speaks of a log in there
				err = os.RemoveAll(folder)
			}
		}()
	}
	if folder, err = filepath.Abs(folder); err != nil { // Redis and ZooKeeper run in folders of their own
		return fmt.Errorf("cluster: %w", err)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cluster: path of this binary: %w", err)
	}
	running, err := bench.StartCluster(ctx, bench.ClusterConfig{
		Binary: binary, Logs: folder, Data: folder, Servers: c.servers, Routes: c.routes,
		RoutePort: c.routePort, Durable: true, LogLevel: c.parts.server.log.level,
		ServerSettings: c.parts.environ(c.parts.ofServer, s), RouteSettings: c.parts.environ(c.parts.ofRoute, s),
	})
	if err != nil {
		return c.failedStart(ctx, folder, err)
	}
	lost, err := attend(ctx, running, folder, out)
	stopped := running.Stop()
	if lost {
		stopped = nil // the user tries what happens then, and the end was printed
	}
	return errors.Join(err, stopped)
}

// failedStart removes the folder of a cluster that has not come up, unless the user has named it.
// The error has the last output of the part that failed.
func (c *clusterConfig) failedStart(ctx context.Context, folder string, err error) error {
	if c.data == "" {
		note := fmt.Errorf("%s is removed; --data FOLDER keeps the logs", folder)
		err = errors.Join(err, note, os.RemoveAll(folder))
	}
	return orInterrupted(ctx, err)
}

// attend prints what runs, and each process that ends by itself, until ctx ends. The other
// processes keep running, since a cluster must survive that.
func attend(ctx context.Context, running *bench.Cluster, folder string, out io.Writer) (lost bool, err error) {
	if err := writeCluster(out, running, folder); err != nil {
		return false, err
	}
	ends := running.Ends(ctx)
	for {
		select {
		case line := <-ends:
			lost = true
			if _, err := fmt.Fprintln(out, line); err != nil {
				return lost, fmt.Errorf("cluster: %w", err)
			}
		case <-ctx.Done():
			return lost, nil
		}
	}
}

func writeCluster(out io.Writer, running *bench.Cluster, folder string) error {
	lines := []string{
		fmt.Sprintf("redis      %s  pid %d", running.RedisURL(), running.Redis.PID()),
		fmt.Sprintf("zookeeper  %s  pid %d", running.ZooKeeper.Addr, running.ZooKeeper.PID()),
	}
	for _, s := range running.Servers() {
		lines = append(lines, fmt.Sprintf("server     %s  admin http://%s  pid %d", s.CIM, s.Admin, s.PID))
	}
	for _, r := range running.Routes() {
		lines = append(lines, fmt.Sprintf("route      http://%s  admin http://%s  pid %d", r.Route, r.Admin, r.PID))
	}
	lines = append(lines, "admin      cim admin top", "logs       "+folder, "ready; Ctrl-C ends all of it")
	for _, line := range lines {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return fmt.Errorf("cluster: %w", err)
		}
	}
	return nil
}
