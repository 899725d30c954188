package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"cim/internal/link"
	"cim/proto"
	"cim/registry/zk"
)

// linkSecret is the setting of the secret that routes and servers share. It has
// no flag, which other users of the machine could read.
const linkSecret = "link-secret"

// zkAuth is the setting with the credentials for ZooKeeper. It has no flag either.
const zkAuth = "zk-auth"

// zkConfig holds a process' settings for ZooKeeper.
type zkConfig struct {
	servers []string
	root    string
	auth    string
	session time.Duration
}

func defaultZK() zkConfig {
	return zkConfig{servers: []string{"127.0.0.1:2181"}, root: "/cim", session: 5 * time.Second}
}

func (c *zkConfig) define(flags *pflag.FlagSet) {
	flags.Var(texts{&c.servers}, "zk", "ZooKeeper's servers, HOST:PORT separated by commas; a path behind the last one goes in front of --zk-root")
	flags.StringVar(&c.root, "zk-root", c.root, "ZooKeeper node above the servers' nodes; the original's is /cim")
	flags.StringVar(&c.auth, zkAuth, "", "USER:PASSWORD for ZooKeeper (digest); nodes belong to that user then")
	flags.DurationVar(&c.session, "zk-session", c.session, "silence after which ZooKeeper counts a server as dead")
}

// registry is the configuration of the registry; the caller adds the log.
func (c *zkConfig) registry() zk.Config {
	return zk.Config{Servers: c.servers, Root: c.root, Auth: c.auth, SessionTimeout: c.session}
}

// check reports all faults, by the settings' names.
func (c *zkConfig) check() error {
	var faults []error
	for _, one := range []struct {
		name   string
		config zk.Config
	}{
		{"zk", zk.Config{Servers: c.servers}},
		{"zk-root", zk.Config{Servers: []string{"host:1"}, Root: c.root}},
		{zkAuth, zk.Config{Servers: []string{"host:1"}, Auth: c.auth}},
		{"zk-session", zk.Config{Servers: []string{"host:1"}, SessionTimeout: c.session}},
	} {
		if err := one.config.Check(); err != nil {
			faults = append(faults, fmt.Errorf("%s %w", one.name, err))
		}
	}
	return errors.Join(faults...)
}

// dialLinks is a route's way to connect to a member over TCP.
func dialLinks(secret string) func(context.Context, proto.Member) (*link.Conn, error) {
	return func(ctx context.Context, m proto.Member) (*link.Conn, error) {
		return link.Dial(ctx, m.Link, link.Config{Secret: secret, Epoch: m.Epoch, WaitingMax: link.WaitingMaxDefault})
	}
}
