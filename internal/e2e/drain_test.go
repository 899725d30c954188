package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"cim/proto"
)

// some is how many messages each line has sent before anything else happens.
const some = 25

// rush is steady traffic of every kind: to connected users, over HTTP and over connections, to all,
// and to a user who is away.
type rush struct {
	*system
	there []*session
	away  *user
	lines []*line
}

func newRush(s *system) *rush {
	s.t.Helper()
	r := &rush{system: s, away: s.old("away")}
	r.there = []*session{s.old("olga").logIn(), s.ours("ada").logIn()}
	for i, to := range []*user{r.there[0].user, r.there[1].user, r.away, nil} {
		byHTTP, overConn := s.old(fmt.Sprint("http", i)), s.ours(fmt.Sprint("conn", i))
		r.lines = append(r.lines, newLine(byHTTP, to, nil), newLine(overConn, to, overConn.logIn()))
	}
	return r
}

// send lets all lines send until the system has gone, which end brings about
// once each of them has sent some messages.
func (r *rush) send(end func() error) {
	r.t.Helper()
	begun := make(chan struct{}, len(r.lines))
	var work []func() error
	for _, l := range r.lines {
		work = append(work, func() error {
			var err error
			for range some {
				if err == nil {
					err = l.send()
				}
			}
			begun <- struct{}{}
			if err == nil {
				err = l.sendUntil(nil)
			}
			if errors.Is(err, errNoAnswer) {
				return nil
			}
			return err
		})
	}
	work = append(work, func() error {
		for range r.lines {
			<-begun
		}
		return end()
	})
	together(r.t, work...)
}

// check logs all users in again and compares what they got, before and after, with the lines.
func (r *rush) check() {
	r.t.Helper()
	got := map[string][]delivery{}
	for _, s := range r.there {
		got[s.user.Name] = look(s, func(h *heard) []delivery { return h.deliveries })
	}
	for _, u := range []*user{r.there[0].user, r.there[1].user, r.away} {
		s := u.logIn()
		got[u.Name] = slices.Concat(got[u.Name], look(s, func(h *heard) []delivery { return h.deliveries }))
	}
	for _, l := range r.lines {
		receivers := []*user{l.to}
		if l.to == nil {
			receivers = []*user{r.there[0].user, r.there[1].user}
		}
		for _, u := range receivers {
			if n := count(got[u.Name], l.from); n < some {
				r.t.Errorf("%s got %d messages of %s, want at least %d", u.Name, n, l.from.Name, some)
			}
			if err := l.check(u, got[u.Name]); err != nil {
				r.t.Error(err)
			}
		}
		for number := range some {
			if !l.taken[number] {
				r.t.Errorf("number %d of %s was not taken: %v", number, l.from.Name, l.answers)
			}
		}
	}
}

func count(all []delivery, sender *user) int {
	n := 0
	for _, d := range all {
		if d.From == sender.User {
			n++
		}
	}
	return n
}

// TestDrain stops the system during steady traffic. It is not ready, its clients get a reason, it
// ends well, and all messages that were answered 9000 or 7000 were received or are still there
// after a restart.
func TestDrain(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	r := newRush(sys)
	if status, text := sys.admin("/readyz"); status != http.StatusOK {
		t.Errorf("/readyz: HTTP %d, %q, want 200", status, text)
	}
	r.send(func() error {
		sys.askToEnd()
		return sys.awaitNotReady()
	})
	sys.awaitDrained()
	for _, s := range r.there {
		s.wantEnd(proto.ReasonDraining)
	}
	sys.run()
	r.check()
}

// awaitNotReady polls /readyz until a process says that it goes down. The clients of the test do
// not close their connections, so the process that has them is in this state for a second.
func (s *system) awaitNotReady() error {
	var last string
	seen := within(waitMax, func() bool {
		for _, admin := range s.admins {
			status, text, err := s.get(admin + "/readyz")
			last = fmt.Sprintf("HTTP %d, %q, %v", status, text, err)
			if status == http.StatusServiceUnavailable && strings.Contains(text, "going down") {
				return true
			}
		}
		return false
	})
	if !seen {
		return fmt.Errorf("/readyz never said that a process goes down; last: %s", last)
	}
	return nil
}
