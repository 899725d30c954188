package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cim/proto"
)

const (
	// storeAnswerMax is in which time what needs the store must be refused while
	// it is away. It is promised to be 2 s where nothing else keeps the machine
	// busy.
	storeAnswerMax = 10 * time.Second
	// storeBackMax is in which time all must be as ever when it is back: 5 s,
	// under the same condition.
	storeBackMax = waitMax
	// storeAwayFor is for how long it is away.
	storeAwayFor = 3 * time.Second
)

// TestRedisKilled kills Redis while users chat.
func TestRedisKilled(t *testing.T) {
	t.Parallel()
	if !clustered {
		return
	}
	sys, c := startCluster(t, components{redisArgs: []string{"--appendonly", "yes", "--appendfsync", "always"}})
	c.loseStore(sys, c.redis.Kill, func() error { return c.redis.Restart(t.Context()) })
}

// TestRedisSilent has a Redis that does not answer, and afterwards does what it was sent meanwhile.
func TestRedisSilent(t *testing.T) {
	t.Parallel()
	if !clustered {
		return
	}
	sys, c := startCluster(t, components{})
	t.Cleanup(func() { _ = c.redis.Signal(syscall.SIGCONT) }) // it has ended by itself if it cannot
	c.loseStore(sys, func() error { return c.redis.Signal(syscall.SIGSTOP) },
		func() error { return c.redis.Signal(syscall.SIGCONT) })
}

// loseStore takes the store away while users chat, and restores it. Users on live links continue;
// requests that need the store are refused in time with a reason; when it is back everything works
// again, and all answered messages are there, once.
func (c *cluster) loseStore(s *system, lose, back func() error) {
	t := s.t
	t.Helper()
	olga, ada, abe := s.old("olga"), s.ours("ada"), s.ours("abe")
	absent, newcomer, late := s.old("absent"), s.old("newcomer"), s.ours("late")
	onOlga, onAda := olga.logIn(), ada.logIn()
	chat := []*line{
		newLine(olga, ada, nil), newLine(s.old("odo"), olga, nil), newLine(s.oldest("vera"), ada, nil),
		newLine(ada, olga, onAda), newLine(abe, olga, abe.logIn()),
	}
	stored := newLine(s.old("bea"), absent, nil)
	lines := append(slices.Clone(chat), stored)
	for _, l := range lines { // they have talked before
		if err := l.send(); err != nil {
			t.Fatal(err)
		}
	}
	s.during(lines, func() {
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); time.Since(began) < storeAwayFor; {
			newcomer.wantStoreAway(proto.PathLogin, members{"userId": newcomer.ID, "userName": newcomer.Name})
			late.wantStoreAway(proto.PathLogin, members{"userId": late.ID, "userName": late.Name, "client": 1})
			for i := range s.routes {
				u := &user{User: newcomer.User, system: s, number: i}
				u.wantStoreAway(proto.PathPrivate, members{"userId": u.ID, "receiveUserId": absent.ID, "msg": "refused"})
				s.wantOnlineAway(i)
			}
		}
		if err := back(); err != nil {
			t.Fatal(err)
		}
		c.wantStoreBack(s, newcomer, late, absent)
	})
	for _, l := range chat {
		l.wantWhole(sessionOf([]*session{onOlga, onAda}, l.to))
		if n := l.answers[proto.CodeSuccess]; n != l.next {
			t.Errorf("answers to %s, who chats: %v, want 9000 only", l.from.Name, l.answers)
		}
	}
	onAbsent := absent.logIn()
	if err := stored.check(absent, look(onAbsent, func(h *heard) []delivery { return h.deliveries })); err != nil {
		t.Error(err)
	}
	if stored.answers[proto.CodeOffline] == 0 || stored.answers[proto.CodeFailure] == 0 {
		t.Errorf("answers to %s, who sends to an absent user: %v, want 7000 and 4000", stored.from.Name, stored.answers)
	}
}

// wantStoreAway asks what needs the store, and demands that it is refused in
// time with a message that says why.
func (u *user) wantStoreAway(path string, request members) {
	u.system.t.Helper()
	began := time.Now()
	a, err := u.call(path, request)
	u.system.checkStoreAway(path, a, err, time.Since(began))
}

func (s *system) wantOnlineAway(route int) {
	s.t.Helper()
	began := time.Now()
	a, err := (&user{system: s, number: route}).get("/onlineUser")
	s.checkStoreAway("/onlineUser", a, err, time.Since(began))
}

func (s *system) checkStoreAway(path string, a answer, err error, took time.Duration) {
	s.t.Helper()
	if err != nil || a.code != proto.CodeFailure || !strings.Contains(a.message, "store") {
		s.t.Errorf("%s without a store: code %s (%s), %v, want 4000 and a word about the store", path, a.code, a.message, err)
	}
	if took > storeAnswerMax {
		s.t.Errorf("%s without a store took %v, want at most %v", path, took, storeAnswerMax)
	}
}

// wantStoreBack demands that everything works again in time, on both routes.
func (c *cluster) wantStoreBack(s *system, newcomer, late, absent *user) {
	s.t.Helper()
	until := time.Now().Add(storeBackMax)
	var last error
	try := func(what string, do func() error) {
		s.t.Helper()
		if !within(time.Until(until), func() bool { last = do(); return last == nil }) {
			s.t.Fatalf("%v after the store is back: %s: %v", storeBackMax, what, last)
		}
	}
	for i := range s.routes {
		u := &user{User: newcomer.User, system: s, number: i}
		try("a message to an absent user", func() error {
			code, err := u.private(absent, "back again")
			return errors.Join(err, wantCode(code, proto.CodeOffline))
		})
		try("onlineUser", func() error {
			a, err := u.get("/onlineUser")
			return errors.Join(err, wantCode(a.code, proto.CodeSuccess))
		})
	}
	for _, u := range []*user{newcomer, late} {
		var at place
		try("a login", func() error {
			var code proto.Code
			var err error
			at, code, err = u.login("")
			return errors.Join(err, wantCode(code, proto.CodeSuccess))
		})
		u.join(at).wantExactly()
	}
	for _, u := range []*user{newcomer, late} { // a list of a second ago may be shown
		eventually(s.t, u.Name+" is online after the store is back", func() bool { return s.online()[int64(u.ID)] })
	}
}

func wantCode(got, want proto.Code) error {
	if got != want {
		return fmt.Errorf("code %s, want %s", got, want)
	}
	return nil
}
