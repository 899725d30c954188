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
func (sys *cimSystem) Register(ctx context.Context, worker, i int) error {
	ctx, cancel := context.WithTimeout(ctx, sys.fleet.cfg.Drain)
	defer cancel()
	c := sys.fleet.clients[i]
	var user proto.UserBody
	body := proto.Body(proto.RegisterRequest{UserName: c.user.Name})
	if _, err := sys.askUntil(ctx, sys.callers[worker][c.route], proto.PathRegister, body, &user); err != nil {
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
	var place proto.LoginBody
	retries, err := sys.askUntil(ctx, sys.callers[worker][c.route], proto.PathLogin, proto.Body(request), &place)
	sys.fleet.retries.Add(int64(retries))
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

// askPauseMin and askPauseMax bound the pause before a request that was refused
// for the moment is tried again.
const (
	askPauseMin = 50 * time.Millisecond
	askPauseMax = time.Second
)

// askUntil asks a route until it does not refuse for the moment, or ctx ends. It
// returns how often it asked again. A cluster that settles, or whose store is away,
// refuses for the moment, and a user of an earlier run may count as logged in until
// its end is noticed.
func (sys *cimSystem) askUntil(ctx context.Context, route *caller, path, body string, into any) (retries int, err error) {
	for pause := askPauseMin; ; pause = min(2*pause, askPauseMax) {
		err = route.ask(path, body, into)
		var refused codeError
		if !errors.As(err, &refused) || !refused.passes() {
			return retries, err
		}
		now := sys.fleet.clock.now()
		if refused.code != proto.CodeRepeatLogin {
			sys.fleet.loginPace.refused(now)
		}
		// A random pause, so that clients that were refused together do not come back together.
		if sys.fleet.clock.wait(ctx, now+rand.Int64N(int64(pause))) != nil {
			return retries, err
		}
		retries++
	}
}
