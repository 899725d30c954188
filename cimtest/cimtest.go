package cimtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"syscall"
	"time"

	"cim/client"
	"cim/internal/standalone"
	"cim/proto"
)

const (
	// waitMax bounds each wait: for the start, for a message, for a user. It is
	// long since tests run on machines that are busy with others.
	waitMax = 30 * time.Second
	// pollEvery is how often a state is looked at that nothing reports.
	pollEvery = 10 * time.Millisecond
	// The HTTP connections of a system, since several systems share the
	// descriptors of the test's process: those of clients to the route, and
	// those to /sendMsg.
	routeConnsMax, intakeConnsMax = 512, 32
	// descriptorsKept are for the route's connections, the durable file and the
	// listeners.
	descriptorsKept = routeConnsMax + 64
)

// TB is what a system needs of its test: *testing.T, *testing.B and
// *testing.F have it, and the T of other frameworks.
type TB interface {
	Helper()
	Cleanup(end func())
	TempDir() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// System is a running cim. Its methods, but Route and Addresses, are called by
// the test's own goroutine: they end the test when they fail.
type System struct {
	t         TB
	config    standalone.Config
	log       *testLog
	running   *standalone.System // nil between Kill or Stop and Restart
	addresses Addresses
	api       *client.API
}

// Addresses are where a system listens, each as host:port. They stay the same
// over a Restart.
type Addresses struct {
	CIM     string // of the long connections
	SendMsg string // of the server's own HTTP API
	Route   string // of the route's HTTP API
}

// Start starts a system and returns when it takes logins. The end of t ends
// it.
func Start(t TB, options ...Option) *System {
	t.Helper()
	s := &System{t: t, config: standalone.DefaultConfig(), log: &testLog{t: t, level: logNothing}}
	s.config.Folder = t.TempDir()
	s.config.Server.CIMPort, s.config.Server.HTTPPort, s.config.Route.Port = 0, 0, 0
	s.config.Server.Loops = 1
	s.config.Server.HTTPConnsMax, s.config.Route.HTTPConnsMax = intakeConnsMax, routeConnsMax
	s.config.Server.DescriptorsKept = descriptorsKept
	s.config.Route.OnlineAge = 0 // what a test asks it wants to know as of now
	for _, option := range options {
		option(s)
	}
	if err := errors.Join(s.config.Server.Check(), s.config.Route.Check()); err != nil {
		t.Fatalf("cimtest: %v", err)
	}
	s.start()
	t.Cleanup(s.end)
	s.keepAddresses()
	var err error
	if s.api, err = client.NewAPI([]string{s.Route()}, nil); err != nil {
		t.Fatalf("cimtest: %v", err)
	}
	return s
}

// Route is the URL of the route's HTTP API, as client.Config takes it.
func (s *System) Route() string { return "http://" + s.addresses.Route }

// Addresses are where the system listens.
func (s *System) Addresses() Addresses { return s.addresses }

// Kill ends the system as a crash does: connections break without a word, and
// messages without an outcome may be lost. It does nothing if the
// system does not run.
func (s *System) Kill() {
	s.t.Helper()
	s.stop((*standalone.System).Abort)
}

// Stop drains the system as a deployment does: what is under way is delivered
// or stored, and clients learn why their connection ends. It does nothing if
// the system does not run.
func (s *System) Stop() {
	s.t.Helper()
	s.stop((*standalone.System).Drain)
}

// Restart starts the system with the data that it had, at the same addresses.
// If it still runs, it is stopped first.
func (s *System) Restart() {
	s.t.Helper()
	s.Stop()
	s.start()
	s.api.Close() // its idle connections are those of the earlier run
}

// stop ends the system, if it runs, in the given way.
func (s *System) stop(way func(*standalone.System, context.Context) error) {
	s.t.Helper()
	if s.running == nil {
		return
	}
	s.checkRunning()
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	if err := way(s.running, ctx); err != nil {
		s.t.Errorf("cimtest: end of the system: %v", err)
	}
	s.running = nil
}

// checkRunning reports a part that has ended by itself.
func (s *System) checkRunning() {
	s.t.Helper()
	select {
	case err := <-s.running.Server.Done():
		s.t.Errorf("cimtest: the server ended by itself: %v", err)
	case err := <-s.running.Route.Done():
		s.t.Errorf("cimtest: the route ended by itself: %v", err)
	default:
	}
}

// end is the end of the test.
func (s *System) end() {
	s.t.Helper()
	if s.api != nil {
		s.api.Close()
	}
	s.Stop()
	s.log.close()
}

// start starts the system and waits until it is ready. A port of an earlier run
// may have been taken meanwhile by a connection that another process made: so
// it is tried again.
func (s *System) start() {
	s.t.Helper()
	deadline := time.Now().Add(waitMax)
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: s.log.level}))
	for {
		running, err := standalone.Start(s.config, standalone.Deps{Log: log})
		if err == nil {
			s.running = running
			break
		}
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			s.t.Fatalf("cimtest: start: %v", err)
		}
		time.Sleep(pollEvery)
	}
	s.await("the system is not ready", func() error {
		return errors.Join(s.running.Server.Ready(), s.running.Route.Ready())
	})
}

// keepAddresses makes the ports that the system was given its own for later
// runs.
func (s *System) keepAddresses() {
	s.t.Helper()
	member := s.running.Server.Member()
	_, port, err := net.SplitHostPort(s.running.Route.Addr())
	if err == nil {
		s.config.Route.Port, err = strconv.Atoi(port)
	}
	if err != nil {
		s.t.Fatalf("cimtest: address of the route: %v", err)
	}
	s.config.Server.CIMPort, s.config.Server.HTTPPort = member.CIMPort, member.HTTPPort
	at := func(port int) string { return net.JoinHostPort(member.Host, strconv.Itoa(port)) }
	s.addresses = Addresses{CIM: at(member.CIMPort), SendMsg: at(member.HTTPPort), Route: at(s.config.Route.Port)}
}

// await polls until holds returns nil, and ends the test if that takes longer
// than waitMax. what says what does not hold then.
func (s *System) await(what string, holds func() error) {
	s.t.Helper()
	for deadline := time.Now().Add(waitMax); ; time.Sleep(pollEvery) {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("cimtest: %s after %v: %v", what, waitMax, err)
		}
	}
}

// AwaitOnline waits until the route lists all of these users as online.
func (s *System) AwaitOnline(names ...string) {
	s.t.Helper()
	s.awaitPresence(true, names)
}

// AwaitOffline waits until the route lists none of these users as online.
func (s *System) AwaitOffline(names ...string) {
	s.t.Helper()
	s.awaitPresence(false, names)
}

func (s *System) awaitPresence(online bool, names []string) {
	s.t.Helper()
	state := map[bool]string{true: "online", false: "offline"}[online]
	s.await(fmt.Sprintf("not all of %q are %s", names, state), func() error {
		ctx, cancel := context.WithTimeout(context.Background(), waitMax)
		defer cancel()
		users, err := s.api.Online(ctx)
		if err != nil {
			return err
		}
		listed := map[string]bool{}
		for _, user := range users {
			listed[user.Name] = true
		}
		for _, name := range names {
			if listed[name] != online {
				return fmt.Errorf("%q is not %s; %d users are online", name, state, len(users))
			}
		}
		return nil
	})
}

// Register returns the account of name, which is made if there is none.
func (s *System) Register(name string) proto.User {
	s.t.Helper()
	return s.account(name, s.api.Register)
}

// Find returns the account of name, which must exist.
func (s *System) Find(name string) proto.User {
	s.t.Helper()
	return s.account(name, s.api.Find)
}

func (s *System) account(name string, ask func(context.Context, string) (proto.User, error)) proto.User {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	user, err := ask(ctx, name)
	if err != nil {
		s.t.Fatalf("cimtest: user %q: %v", name, err)
	}
	return user
}

// API asks the system's route without a session. The end of the test closes
// it.
func (s *System) API() *client.API { return s.api }
