package main

import (
	"errors"
	"slices"

	"github.com/spf13/pflag"
)

// clusterParts are the settings of servers and routes that a cluster passes on: a setting of the
// cluster applies to each process that has it.
type clusterParts struct {
	server *serverConfig
	route  *routeConfig
	// The same settings as server and route define them. A setting that both have
	// stands in both.
	ofServer, ofRoute *pflag.FlagSet
}

// clusterDecides are the settings that a cluster gives its processes itself: where
// they listen, and what they connect to.
var clusterDecides = []string{
	"bind", "advertise", "cim-port", "http-port", "link-port", "route-port", "admin-port", "admin-bind",
	"zk", "zk-root", zkAuth, "redis", "route-url", "original", "original-form",
}

func newClusterParts() *clusterParts {
	p := &clusterParts{
		server: defaultServer(), route: defaultRoute(),
		ofServer: pflag.NewFlagSet("", pflag.ContinueOnError), ofRoute: pflag.NewFlagSet("", pflag.ContinueOnError),
	}
	p.server.define(p.ofServer)
	p.route.define(p.ofRoute)
	return p
}

// define adds the settings, each once.
func (p *clusterParts) define(flags *pflag.FlagSet) {
	for _, part := range []*pflag.FlagSet{p.ofServer, p.ofRoute} {
		part.VisitAll(func(f *pflag.Flag) {
			if !slices.Contains(clusterDecides, f.Name) && flags.Lookup(f.Name) == nil {
				flags.AddFlag(f)
			}
		})
	}
}

// names are those of the settings that define adds.
func (p *clusterParts) names() []string {
	var names []string
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	p.define(flags)
	flags.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// check has what s was given looked at as servers and routes do.
func (p *clusterParts) check(s *settings) error {
	var faults []error
	p.ofRoute.VisitAll(func(f *pflag.Flag) {
		if given := s.typed.Lookup(f.Name); given != nil && given != f && p.given(s, f) {
			faults = append(faults, f.Value.Set(given.Value.String()))
		}
	})
	faults = append(faults, p.server.check(), p.route.check(), checkWaysPast(p.route.route.Access.Mode, p.server.server))
	return errors.Join(faults...)
}

// given reports whether s was given a setting that is handed on.
func (p *clusterParts) given(s *settings, f *pflag.Flag) bool {
	return !slices.Contains(clusterDecides, f.Name) && s.source[f.Name] != fromDefault
}

// environ are the variables that give a server, or a route, what s was given. The
// environment is read by the process' own user only, so secrets may stand there.
func (p *clusterParts) environ(part *pflag.FlagSet, s *settings) []string {
	var entries []string
	part.VisitAll(func(f *pflag.Flag) {
		if p.given(s, f) {
			entries = append(entries, envName(f.Name)+"="+s.typed.Lookup(f.Name).Value.String())
		}
	})
	return entries
}
