package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cim/proto"
)

// presenceMax is how long users of a server that was killed may be taken for
// online, or be refused. It is promised to be 10 s where nothing else keeps the
// machine busy.
const presenceMax = 30 * time.Second

// settle logs users in, with clients of all kinds in turn, until each server
// has some; it returns the sessions by server.
func (c *cluster) settle(s *system, some int) [][]*session {
	s.t.Helper()
	const usersMax = 64 // the choice of a server is by a hash
	by := make([][]*session, clusterServers)
	for i := 0; i < usersMax && (len(by[0]) < some || len(by[1]) < some); i++ {
		kind := []func(string) *user{s.ours, s.old, s.oldest}[i%3]
		one := kind(fmt.Sprint("settler", i)).logIn()
		at := c.serverOf(s, one)
		by[at] = append(by[at], one)
	}
	return by
}

func (c *cluster) serverOf(s *system, one *session) int {
	s.t.Helper()
	for i, p := range c.servers {
		if p.CIM == one.conn.RemoteAddr().String() {
			return i
		}
	}
	s.t.Fatalf("%s is at %v, where no server is", one.user.Name, one.conn.RemoteAddr())
	return 0
}

func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.awaitEnd()
}

// during does work while the lines send at their steady pace.
func (s *system) during(lines []*line, work func()) {
	s.t.Helper()
	stop, errs := make(chan struct{}), make(chan error, len(lines))
	for _, l := range lines {
		go func() { errs <- l.sendUntil(stop) }()
	}
	defer func() {
		close(stop)
		for range lines {
			if err := <-errs; err != nil {
				s.t.Error(err)
			}
		}
	}()
	work()
}

// wantWhole demands that receivers, who were there all the time, got all that
// the line has been answered 9000, once, in order.
func (l *line) wantWhole(receivers ...*session) {
	t := l.from.system.t
	t.Helper()
	if len(l.unknown) > 0 || l.answers[proto.CodeSuccess] == 0 {
		t.Errorf("answers to %s: %v, %d without any", l.from.Name, l.answers, len(l.unknown))
	}
	for _, s := range receivers {
		if err := s.fence(); err != nil {
			t.Fatal(err)
		}
		got := look(s, func(h *heard) []delivery { return h.deliveries })
		if err := l.check(s.user, got); err != nil {
			t.Error(err)
		}
		if n := count(got, l.from); n != len(l.taken) {
			t.Errorf("%s got %d messages of %s, want %d", s.user.Name, n, l.from.Name, len(l.taken))
		}
	}
}

// TestServerKilled kills a server while group messages, and messages to users of the other server,
// are sent; those users notice nothing. Its own users are offline on both routes in time, can log
// in elsewhere, and find there what was sent to them.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	if !clustered {
		return
	}
	sys, c := startCluster(t, components{})
	by := c.settle(sys, 3)
	victims, others := by[0], by[1]
	var lines []*line
	for i := range clusterRoutes {
		for _, to := range []*user{nil, others[0].user, others[1].user} {
			from := sys.old(fmt.Sprint("sender", i, len(lines)))
			from.at = sys.routes[i]
			lines = append(lines, newLine(from, to, nil))
		}
	}
	sys.during(lines, func() { c.loseServer(sys, victims) })
	for _, l := range lines {
		receivers := others
		if l.to != nil {
			receivers = []*session{sessionOf(others, l.to)}
		}
		l.wantWhole(receivers...)
	}
}

func sessionOf(all []*session, u *user) *session {
	for _, s := range all {
		if s.user == u {
			return s
		}
	}
	panic("e2e: no session of " + u.Name)
}

// loseServer kills the first server, whose sessions victims are.
func (c *cluster) loseServer(s *system, victims []*session) {
	s.t.Helper()
	until := time.Now().Add(presenceMax)
	c.servers[0].kill()
	for i, v := range victims {
		s.usher.sendPrivate(proto.CodeOffline, v.user, fmt.Sprint("meanwhile ", i))
	}
	if !within(time.Until(until), func() bool { return s.offline(victims) }) {
		s.t.Fatalf("users of the dead server are online after %v", presenceMax)
	}
	for i, v := range victims {
		c.enterElsewhere(v.user, until).wantStoredAmong(s.usher, fmt.Sprint("meanwhile ", i))
	}
}

// offline reports whether no route lists any of these users.
func (s *system) offline(some []*session) bool {
	s.t.Helper()
	online := s.online()
	return !slices.ContainsFunc(some, func(one *session) bool { return online[int64(one.user.ID)] })
}

// enterElsewhere logs u in again, whose server is dead.
func (c *cluster) enterElsewhere(u *user, until time.Time) *session {
	t := u.system.t
	t.Helper()
	var at place
	var code proto.Code
	var err error
	entered := within(time.Until(until), func() bool {
		at, code, err = u.login("")
		return err != nil || code == proto.CodeSuccess
	})
	if !entered || err != nil {
		t.Fatalf("/login of %s, whose server is dead: code %s, %v", u.Name, code, err)
	}
	if at.address == c.servers[0].CIM {
		t.Fatalf("%s is sent to the dead server", u.Name)
	}
	return u.join(at)
}

// TestServerRestarted kills a server and starts it again at its address: that is
// a new epoch, in which the records of the old one do not count.
func TestServerRestarted(t *testing.T) {
	t.Parallel()
	if !clustered {
		return
	}
	sys, c := startCluster(t, components{})
	by := c.settle(sys, 2)
	victims, others := by[0], by[1]
	before := c.redisSays(t, "GET", fmt.Sprint("cim-route:", victims[0].user.ID))
	dead := c.servers[0]
	dead.kill()
	_, cimPort, _ := strings.Cut(dead.CIM, ":")
	_, httpPort, _ := strings.Cut(dead.HTTP, ":")
	c.servers[0] = c.startServer(sys, cimPort, httpPort)
	if c.servers[0].CIM != dead.CIM || c.servers[0].HTTP != dead.HTTP {
		t.Fatalf("restarted at %s, was at %s", c.servers[0].CIM, dead.CIM)
	}
	for _, p := range append(c.routes, c.servers[0]) {
		c.awaitLinked(sys, p)
	}
	eventually(t, "the users of the old epoch are offline", func() bool { return sys.offline(victims) })
	for _, v := range victims {
		sys.usher.sendPrivate(proto.CodeOffline, v.user, "after the restart")
		s := v.user.logIn()
		s.wantStored(sys.usher, "after the restart")
	}
	for _, s := range others {
		s.wantExactly()
	}
	if after := c.redisSays(t, "GET", fmt.Sprint("cim-route:", victims[0].user.ID)); epochOf(after) == epochOf(before) {
		t.Errorf("record %q, before the restart %q, want another epoch", after, before)
	}
}

// wantStored demands texts that were stored, as the dialect of the user has
// them.
func (s *session) wantStored(sender *user, texts ...string) {
	s.user.system.t.Helper()
	if s.user.v1 {
		s.wantExactly(from(sender, texts...)...)
		return
	}
	s.wantExactly(stored(sender, texts...)...)
}

// epochOf is the fourth part of a record: ip:port:http:epoch:generation.
func epochOf(record string) string {
	parts := strings.Split(record, ":")
	if len(parts) != 5 {
		return "none in " + record
	}
	return parts[3]
}

// wantStoredAmong demands one stored text of sender, whatever else came.
func (s *session) wantStoredAmong(sender *user, text string) {
	t := s.user.system.t
	t.Helper()
	got := look(s, func(h *heard) []delivery { return h.deliveries })
	var its []delivery
	for _, d := range got {
		if d.From == sender.User {
			its = append(its, d)
		}
	}
	if len(its) != 1 || its[0].Text != text || its[0].Offline == s.user.v1 {
		t.Errorf("%s got %s of %s, want %q as stored, once", s.user.Name, summary(its), sender.Name, text)
	}
}
