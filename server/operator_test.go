package server

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"cim/proto"
	"cim/server/shard"
)

// all lists all sessions of the server, in steps of at most most.
func (w *world) all(most int) (sessions []Session) {
	w.Helper()
	var from ListingCursor
	for {
		page, next, err := w.server.Sessions(w.Context(), from, most)
		if err != nil || len(page) > most {
			w.Fatalf("a page of %d: %d sessions, %v", most, len(page), err)
		}
		sessions = append(sessions, page...)
		if next == nil {
			return sessions
		}
		again, err := ParseListingCursor(next.String())
		if err != nil || again != *next {
			w.Fatalf("cursor %v reads as %v, %v", *next, again, err)
		}
		from = again
	}
}

func userOf(i int) proto.User {
	return proto.User{ID: proto.UserID(i), Name: "user" + strconv.Itoa(i)}
}

// TestSessions lists all sessions of all loops, in steps and one by one.
func TestSessions(t *testing.T) {
	w := start(t, nil)
	const n = 9
	peers := map[proto.UserID]*peer{}
	for i := 1; i <= n; i++ {
		dialect := []proto.Dialect{proto.DialectV2, proto.DialectCIM, proto.DialectV1}[i%3]
		peers[proto.UserID(i)] = w.login(userOf(i), proto.Generation(i), dialect)
	}
	w.dial() // never logs in
	for _, most := range []int{1, 2, n - 1, n, n + 1, SessionsMax} {
		found := map[proto.UserID]Session{}
		for _, s := range w.all(most) {
			found[s.User] = s
		}
		if len(found) != n {
			t.Fatalf("pages of %d: %d sessions, want %d", most, len(found), n)
		}
		for user, s := range found {
			w.checkSession(s, user, peers[user])
		}
	}
	if s, err := w.server.SessionOf(t.Context(), n+1); err != nil || len(s) != 0 {
		t.Errorf("the session of an absent user: %+v, %v", s, err)
	}
}

func (w *world) checkSession(s Session, user proto.UserID, p *peer) {
	w.Helper()
	dialect := []string{"v2", "cim", "v1"}[user%3]
	name := ""
	if dialect == "cim" {
		name = userOf(int(user)).Name
	}
	if s.Dialect != dialect || s.Name != name || s.Generation != proto.Generation(user) ||
		s.Address != p.conn.LocalAddr().String() || s.Held || s.UnsentBytes != 0 {
		w.Errorf("user %d: %+v", user, s)
	}
	if age := time.Since(s.Since); age < -time.Second || age > patience {
		w.Errorf("user %d since %v", user, s.Since)
	}
	one, err := w.server.SessionOf(w.Context(), user)
	if err != nil || len(one) != 1 || one[0].ID != s.ID || one[0].User != user {
		w.Errorf("the session of user %d: %+v, %v, want %s", user, one, err, s.ID)
	}
}

// TestHeldSession lists a session that waits for its catch-up.
func TestHeldSession(t *testing.T) {
	w := start(t, nil)
	p := w.login(userOf(1), 1, proto.DialectCIM)
	defer p.conn.Close()
	if v := w.route.ask(proto.Record{Kind: proto.RecordHold, User: 1, Generation: 1}); v != proto.VerdictTaken {
		t.Fatalf("hold: %v", v)
	}
	if s, err := w.server.SessionOf(t.Context(), 1); err != nil || len(s) != 1 || !s[0].Held {
		t.Errorf("%+v, %v, want a held session", s, err)
	}
}

// TestKick ends the named session and no other: its client gets the reason, and a
// route the RecordDown.
func TestKick(t *testing.T) {
	w := start(t, nil)
	first, second := w.login(userOf(1), 1, proto.DialectCIM), w.login(userOf(2), 2, proto.DialectV2)
	for _, wrong := range []struct {
		user proto.UserID
		id   string
	}{{3, ""}, {1, "0-0-99"}, {1, "x"}} {
		if kicked, err := w.server.Kick(t.Context(), wrong.user, wrong.id); kicked || err != nil {
			t.Errorf("kick of user %d, session %q: %t, %v", wrong.user, wrong.id, kicked, err)
		}
	}
	one, err := w.server.SessionOf(t.Context(), 1)
	if err != nil || len(one) != 1 {
		t.Fatalf("%+v, %v", one, err)
	}
	for user, id := range map[proto.UserID]string{1: one[0].ID, 2: ""} {
		if kicked, err := w.server.Kick(t.Context(), user, id); !kicked || err != nil {
			t.Fatalf("kick of user %d: %t, %v", user, kicked, err)
		}
		w.route.next("down", func(r *proto.Record) bool { return r.Kind == proto.RecordDown && r.User == user })
	}
	if v := first.read(); v.Command != proto.CommandClose || v.Reason != proto.ReasonKicked {
		t.Errorf("the client received %+v", v)
	}
	first.end()
	second.end()
	if s := w.all(1); len(s) != 0 {
		t.Errorf("%d sessions are left", len(s))
	}
	if kicked, err := w.server.Kick(t.Context(), 1, ""); kicked || err != nil {
		t.Errorf("kicked again: %t, %v", kicked, err)
	}
	if got := w.server.metrics.ends[proto.ReasonKicked].Get(); got != 2 {
		t.Errorf("%d ends are counted", got)
	}
}

// TestSessionsOfABusyLoop gives up in time, and when there is no room.
func TestSessionsOfABusyLoop(t *testing.T) {
	w := start(t, nil)
	p := w.login(userOf(1), 1, proto.DialectCIM)
	defer p.conn.Close()
	one, err := w.server.SessionOf(t.Context(), 1)
	if err != nil || len(one) != 1 {
		t.Fatal(one, err)
	}
	ref, _, _ := w.server.directory.find(1)
	stop, goOn := make(chan struct{}), make(chan struct{})
	busy := requesterFunc(func() { close(stop); <-goOn })
	box := &w.server.loops[ref.Shard].mailbox
	box.post(letter{kind: letterHold, ref: shard.Ref{Slot: 1 << 30}, requester: busy}, nil)
	<-stop
	defer close(goOn)
	cause := errors.New("long enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := w.server.SessionOf(ctx, 1); !errors.Is(err, cause) {
		t.Errorf("asked a loop that does not answer: %v", err)
	}
	if _, err := w.server.Kick(ctx, 1, ""); !errors.Is(err, cause) {
		t.Errorf("kicked at a loop that does not answer: %v", err)
	}
	for box.post(letter{kind: letterResume, requester: requesterFunc(func() {})}, nil) {
	}
	if letters, _ := box.waiting(); letters != 2*mailboxLettersMax {
		t.Errorf("%d letters wait", letters)
	}
	if _, err := w.server.SessionOf(t.Context(), 1); !errors.Is(err, errBusy) {
		t.Errorf("asked a full mailbox: %v", err)
	}
	if _, err := w.server.Kick(t.Context(), 1, ""); !errors.Is(err, errBusy) {
		t.Errorf("kicked at a full mailbox: %v", err)
	}
}

type requesterFunc func()

func (f requesterFunc) answer(uint64, proto.Verdict, uint64) { f() }

// TestSessionsComeAndGo lists sessions while others log in, end and are kicked: a
// session that stays is in each list once.
func TestSessionsComeAndGo(t *testing.T) {
	w := start(t, func(c *Config) { c.Login = LoginOpen })
	const stay = 5
	for i := 1; i <= stay; i++ {
		w.open(userOf(i))
	}
	var coming sync.WaitGroup
	for g := range 4 {
		coming.Go(func() {
			for i := range 50 {
				user := userOf(1000*(g+1) + i)
				p := w.open(user)
				if i%2 == 0 {
					if _, err := w.server.Kick(t.Context(), user.ID, ""); err != nil {
						t.Error(err)
					}
				}
				p.conn.Close()
			}
		})
	}
	gone := make(chan struct{})
	go func() { coming.Wait(); close(gone) }()
	for reading := true; reading; {
		select {
		case <-gone:
			reading = false
		default:
		}
		seen := map[proto.UserID]int{}
		for _, s := range w.all(3) {
			seen[s.User]++
		}
		for i := 1; i <= stay; i++ {
			if n := seen[proto.UserID(i)]; n != 1 {
				t.Errorf("user %d is in the list %d times", i, n)
			}
		}
		w.server.State()
	}
}

// open logs in user without a grant.
func (w *world) open(user proto.User) *peer {
	p := w.dial()
	if _, err := p.conn.Write(proto.AppendLogin(nil, user, proto.DialectCIM, proto.Ticket{})); err != nil {
		w.Error(err)
	}
	if a, err := p.tryRead(); err != nil || a.Reason != proto.ReasonNone {
		w.Errorf("login of %s: %+v, %v", user.Name, a, err)
	}
	return p
}

// TestState reads what the server reports about itself.
func TestState(t *testing.T) {
	w := start(t, func(c *Config) { c.Lease = time.Minute })
	p := w.login(userOf(1), 1, proto.DialectCIM)
	defer p.conn.Close()
	w.eventually("the loops have published", func() bool { return w.server.State().Sessions == 1 })
	s := w.server.State()
	member := w.server.Member()
	if s.Name != member.Name() || s.Epoch != member.Epoch || s.Connections != 1 || s.Logins != 1 || s.Refused != 0 ||
		s.SessionsMax != 1000 || s.Leaving || s.Draining || len(s.Loops) != 2 {
		t.Errorf("%+v", s)
	}
	if len(s.Links) != 1 || s.Links[0] != (LinkState{}) {
		t.Errorf("links %+v", s.Links)
	}
	if s.Lease == nil || s.Lease.TermSeconds != 60 || s.Lease.Lost || s.Lease.AgeSeconds < 0 {
		t.Errorf("lease %+v", s.Lease)
	}
	w.server.Leave()
	if !w.server.State().Leaving {
		t.Error("it does not say that it leaves")
	}
}

func TestParseCursor(t *testing.T) {
	for _, text := range []string{"", "1", "1-", "-1-2", "1-2-3", "01-2", "1-4294967296", " 1-2", "1-2 ", "a-b"} {
		if c, err := ParseListingCursor(text); err == nil {
			t.Errorf("%q reads as %v", text, c)
		}
	}
	if c, err := ParseListingCursor("3-4294967295"); err != nil || c != (ListingCursor{3, 1<<32 - 1}) {
		t.Errorf("%v, %v", c, err)
	}
}

// TestSessionsInPieces bounds the listings of one call, and finds the session
// behind many empty slots.
func TestSessionsInPieces(t *testing.T) {
	w := start(t, func(c *Config) { c.Loops = listAsksMax + 2 })
	w.login(userOf(7), 1, proto.DialectCIM)
	if page, next, err := w.server.Sessions(w.Context(), ListingCursor{}, SessionsMax); err != nil || next == nil || next.Loop != listAsksMax || len(page) > 1 {
		t.Errorf("a piece: %d sessions, next %v, %v", len(page), next, err)
	}
	if all := w.all(SessionsMax); len(all) != 1 {
		t.Errorf("%d sessions, want 1", len(all))
	}
}
