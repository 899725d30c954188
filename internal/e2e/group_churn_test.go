package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"cim/proto"
)

// stay is one session that was certainly connected from since until until.
type stay struct {
	user         *user
	since, until time.Time
	got          []string
}

// groupCall is one group message that was answered 9000.
type groupCall struct {
	text         string
	began, ended time.Time
}

// TestGroupChurn sends group messages while users log in and out: a user that was connected from
// before a call until after its answer got it once, whichever route took it, and no user got one
// twice.
func TestGroupChurn(t *testing.T) {
	t.Parallel()
	const seed, visitors, lasts = 61, 9, 5 * time.Second
	t.Logf("seed %d", seed)
	sys := startSystem(t)
	stop := make(chan struct{})
	time.AfterFunc(lasts, func() { close(stop) })
	stays := make([][]stay, visitors+1)
	var calls [2][]groupCall
	var work []func() error
	for i := range visitors {
		u := []func(string) *user{sys.ours, sys.old, sys.oldest}[i%3](fmt.Sprint("visitor", i))
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		work = append(work, func() (err error) {
			stays[i], err = u.comeAndGo(random, stop)
			return err
		})
	}
	for i := range calls {
		u := sys.old(fmt.Sprint("caller", i))
		work = append(work, func() (err error) {
			calls[i], err = u.callAll(stop)
			return err
		})
	}
	steady := sys.old("steady").logIn()
	since := time.Now()
	together(t, work...)
	if err := steady.fence(); err != nil {
		t.Fatal(err)
	}
	stays[visitors] = []stay{steady.stay(since)}
	checkStays(t, slices.Concat(stays...), slices.Concat(calls[:]...))
}

// comeAndGo logs in, stays for a moment and leaves, again and again.
func (u *user) comeAndGo(random *rand.Rand, stop <-chan struct{}) ([]stay, error) {
	var stays []stay
	for {
		u.ticket = ""
		s, err := u.enter()
		if err == nil {
			err = s.ping() // the login frame has been taken
		}
		if err != nil {
			return nil, err
		}
		since, some := time.Now(), random.IntN(100)
		s.wait(time.Duration(random.IntN(300))*time.Millisecond, func(h *heard) bool { return len(h.deliveries) >= some })
		until := time.Now()
		if err := s.leave(); err != nil {
			return nil, err
		}
		one := s.stay(since)
		one.until = until
		stays = append(stays, one)
		select {
		case <-stop:
			return stays, nil
		default:
		}
	}
}

// stay is what s has got by now.
func (s *session) stay(since time.Time) stay {
	one := stay{user: s.user, since: since, until: time.Now()}
	for _, d := range look(s, func(h *heard) []delivery { return h.deliveries }) {
		one.got = append(one.got, d.Text)
	}
	return one
}

// callAll sends group messages at a steady pace, through the routes in turn.
func (u *user) callAll(stop <-chan struct{}) ([]groupCall, error) {
	var calls []groupCall
	pace := time.NewTicker(2 * sendEvery)
	defer pace.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return calls, nil
		case <-pace.C:
		}
		u.at = u.system.routes[i%len(u.system.routes)]
		c := groupCall{text: fmt.Sprint(u.Name, " ", i), began: time.Now()}
		a, err := u.call(proto.PathGroup, members{"userId": u.ID, "msg": c.text})
		c.ended = time.Now()
		if err != nil || a.code != proto.CodeSuccess {
			return nil, fmt.Errorf("group message: code %s, %w", a.code, err)
		}
		calls = append(calls, c)
	}
}

func checkStays(t *testing.T, stays []stay, calls []groupCall) {
	t.Helper()
	due := 0
	for _, one := range stays {
		times := map[string]int{}
		for _, text := range one.got {
			times[text]++
		}
		for _, c := range calls {
			owed := !c.began.Before(one.since) && !c.ended.After(one.until)
			if owed {
				due++
			}
			if n := times[c.text]; n > 1 || n == 0 && owed {
				t.Errorf("%s, there from %v to %v, got %q %d times; it was sent from %v to %v", one.user.Name,
					one.since, one.until, c.text, n, c.began, c.ended)
			}
		}
	}
	t.Logf("%d stays, %d messages, %d deliveries due", len(stays), len(calls), due)
	if due < len(calls) || len(stays) < 20 {
		t.Errorf("%d stays and %d deliveries due of %d messages, want more", len(stays), due, len(calls))
	}
}
