package loadgen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"cim/proto"
)

// pingEvery is the silence after which a client of the original pings.
const pingEvery = 10 * time.Second

// cimSystem is our own system: accounts and logins at its routes, frames at its
// servers.
type cimSystem struct {
	fleet   *fleet
	talkers int         // clients, from the first on, that must speak our own dialect
	callers [][]*caller // for logins: of each worker one for each route
}

func newCIM(f *fleet) (*cimSystem, error) {
	sys := &cimSystem{fleet: f, talkers: f.cfg.talkers(len(f.clients))}
	for range f.cfg.LoginsAtOnce {
		callers, err := newCallers(f.cfg.Routes, f.cfg.Token, f.cfg.Drain)
		if err != nil {
			return nil, err
		}
		sys.callers = append(sys.callers, callers)
	}
	return sys, nil
}

// Traits implements System.
func (sys *cimSystem) Traits() Traits {
	return Traits{
		Name: "cim", Guarantee: guarantees[sys.fleet.cfg.Want],
		Outcomes: true, PingEvery: pingEvery,
	}
}

// guarantees are what a taken message is promised, by its want.
var guarantees = map[proto.Want]string{
	proto.WantTaken:    "answered ok: with its receiver, or stored for it; in order, once",
	proto.WantReceived: "answered ok: its receiver is done with it, or it is stored for it; in order, once",
	proto.WantStored:   "answered ok: stored for its receiver before it was brought; in order, once",
}

// Register implements System.
func (sys *cimSystem) Register(_ context.Context, worker, i int) error {
	c := sys.fleet.clients[i]
	var user proto.UserBody
	body := proto.Body(proto.RegisterRequest{UserName: c.user.Name})
	if err := sys.callers[worker][c.route].ask(proto.PathRegister, body, &user); err != nil {
		return err
	}
	c.user.ID = user.UserID
	return nil
}

// Connect implements System. A PING follows the login: its pong shows that the session exists.
func (sys *cimSystem) Connect(ctx context.Context, worker, i int) (net.Conn, Session, error) {
	c := sys.fleet.clients[i]
	session := sys.newSession(c)
	request := proto.LoginRequest{UserID: proto.Number(c.user.ID), UserName: c.user.Name}
	if session.dialect == proto.DialectCIM {
		request.Client = 1
	}
	if session.acks.asked {
		request.Ack = proto.AckVersion
	}
	place, err := sys.askPlace(ctx, sys.callers[worker][c.route], proto.Body(request))
	if err != nil {
		return nil, nil, err
	}
	if session.acks.asked && place.Ack != proto.AckVersion {
		return nil, nil, fmt.Errorf("want %d: %w", session.want, errNoAcks)
	}
	ticket, err := proto.ParseTicket(place.Ticket)
	if err != nil {
		return nil, nil, err
	}
	conn, err := sys.fleet.dialer.Dial(ctx, i, net.JoinHostPort(place.IP, strconv.Itoa(place.CIMServerPort)))
	if err != nil {
		return nil, nil, err
	}
	if _, err := conn.Write(session.AppendPing(session.appendLogin(nil, ticket))); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, session, nil
}

func (sys *cimSystem) newSession(c *client) *cimSession {
	dialect := sys.fleet.cfg.dialect()
	if c.index < sys.talkers {
		dialect = proto.DialectCIM
	}
	session := newCIMSession(sys.fleet.clients, c.user, dialect)
	session.want = sys.fleet.cfg.Want
	session.acks.asked = session.want != proto.WantTaken
	return session
}

// Settled implements System: idle callers would keep a route's connections from
// others.
func (sys *cimSystem) Settled() {
	for _, callers := range sys.callers {
		closeCallers(callers)
	}
}

// Close implements System.
func (sys *cimSystem) Close() { sys.Settled() }

// loginPauseMin and loginPauseMax bound the pause before a login that was
// refused for the moment is tried again.
const (
	loginPauseMin = 50 * time.Millisecond
	loginPauseMax = time.Second
)

// askPlace asks a route for a login until ctx ends. A cluster that settles, or whose store is away,
// refuses for the moment, and a user of an earlier run may count as logged in until its end is
// noticed.
func (sys *cimSystem) askPlace(ctx context.Context, route *caller, body string) (place proto.LoginBody, err error) {
	for pause := loginPauseMin; ; pause = min(2*pause, loginPauseMax) {
		err = route.ask(proto.PathLogin, body, &place)
		var refused codeError
		if !errors.As(err, &refused) || !refused.passes() {
			return place, err
		}
		// A random pause, so that clients that were refused together do not come back together.
		if sys.fleet.clock.wait(ctx, sys.fleet.clock.now()+rand.Int64N(int64(pause))) != nil {
			return place, err
		}
		sys.fleet.retries.Add(1)
	}
}
