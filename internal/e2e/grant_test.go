package e2e

import (
	"strings"
	"sync"
	"testing"

	"cim/proto"
)

// knock connects with any login frame, for a grant or not, and reads what comes. The server need
// not let it in.
func (u *user) knock(address, ticket string) *session {
	u.system.t.Helper()
	s, err := u.dial(address)
	if err == nil {
		err = s.write(u.loginFrame(ticket))
	}
	if err != nil {
		u.system.t.Fatal(err)
	}
	return s
}

// wantRefused demands that the server ends a connection at its login. A client
// of ours learns why.
func (s *session) wantRefused(reason proto.Reason) {
	t := s.user.system.t
	t.Helper()
	s.wantEnd(proto.ReasonNone)
	if got := s.refusal(); s.ours && got != reason {
		t.Errorf("login of %s refused for %s, want %s", s.user.Name, got, reason)
	}
	if n := look(s, func(h *heard) int { return len(h.deliveries) }); n > 0 {
		t.Errorf("%s got %d deliveries without a login", s.user.Name, n)
	}
}

// TestGrantMissing connects without asking a route before.
func TestGrantMissing(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	address := sys.ours("guide").wantLogin(proto.CodeSuccess, "").address
	sys.old("olga").knock(address, "").wantRefused(proto.ReasonNoGrant)
	sys.ours("ada").knock(address, "").wantRefused(proto.ReasonNoGrant)
	sys.ours("abe").knock(address, strings.Repeat("ab", proto.TicketSize)).wantRefused(proto.ReasonNoGrant)
}

// TestGrantTicket shows no ticket and wrong ones; the grant waits for the
// right one, which works once.
func TestGrantTicket(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	ada, olga := sys.ours("ada"), sys.old("olga")
	at := ada.wantLogin(proto.CodeSuccess, "")
	ada.knock(at.address, "").wantRefused(proto.ReasonTicket)
	ada.knock(at.address, flipped(at.ticket)).wantRefused(proto.ReasonTicket)
	asOld := &user{User: ada.User, system: sys, number: ada.number}
	asOld.knock(at.address, "").wantRefused(proto.ReasonTicket)
	if sys.online()[int64(ada.ID)] {
		t.Error("ada is online before her login")
	}
	first := ada.join(at)
	ada.knock(at.address, at.ticket).wantRefused(proto.ReasonNoGrant)
	olga.sendPrivate(proto.CodeSuccess, ada, "still there?")
	first.wantExactly(from(olga, "still there?")...)
}

// flipped is a ticket with one wrong bit.
func flipped(ticket string) string {
	last := map[byte]string{'0': "1"}[ticket[len(ticket)-1]]
	if last == "" {
		last = "0"
	}
	return ticket[:len(ticket)-1] + last
}

// TestGrantOld uses an old client's grant twice, and with another's name.
func TestGrantOld(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	olga, odo := sys.old("olga"), sys.old("odo")
	at := olga.wantLogin(proto.CodeSuccess, "")
	renamed := &user{User: proto.User{ID: olga.ID, Name: "odo"}, system: sys, number: olga.number}
	renamed.knock(at.address, "").wantRefused(proto.ReasonAccountMismatch)
	first := olga.join(at)
	olga.knock(at.address, "").wantRefused(proto.ReasonNoGrant)
	odo.sendPrivate(proto.CodeSuccess, olga, "still there?")
	first.wantExactly(from(odo, "still there?")...)
	if !sys.online()[int64(olga.ID)] {
		t.Error("olga is not online")
	}
}

// TestGrantTwice logs in twice over HTTP before connecting: neither login takes
// the other's, and the first that connects has the session.
func TestGrantTwice(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	for i, name := range []string{"ada", "bea"} {
		u := sys.ours(name)
		logins := []place{u.wantLogin(proto.CodeSuccess, ""), u.wantLogin(proto.CodeSuccess, "")}
		if logins[0].ticket == logins[1].ticket || logins[0].address != logins[1].address {
			t.Fatalf("two logins have tickets %s and %s, at %s and %s", logins[0].ticket, logins[1].ticket, logins[0].address, logins[1].address)
		}
		u.knock(logins[0].address, flipped(logins[1].ticket)).wantRefused(proto.ReasonTicket)
		first := u.join(logins[i])
		u.knock(logins[1-i].address, logins[1-i].ticket).wantRefused(proto.ReasonNoGrant)
		first.wantExactly()
	}
}

// TestLoginJammed: a client that asks /login and /offLine for a user over and over, from the same
// address, locks the user out by neither.
func TestLoginJammed(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	ada := sys.ours("ada")
	jammed := make(chan struct{}, 1)
	stop := make(chan struct{})
	var strangers sync.WaitGroup
	for i := range 3 {
		stranger := &user{User: ada.User, system: sys, number: ada.number, ours: true}
		strangers.Go(func() {
			for {
				at, _, err := stranger.login("")
				if err != nil {
					t.Errorf("a stranger's login: %v", err)
					return
				}
				if i > 0 {
					goodbye := members{"userId": ada.ID, "msg": "offLine"}
					if i > 1 && at.ticket != "" {
						goodbye["ticket"] = at.ticket
					}
					if a, err := stranger.call(proto.PathOffLine, goodbye); err != nil || a.code != proto.CodeSuccess {
						t.Errorf("a stranger's goodbye: %s, %v", a.code, err)
						return
					}
				}
				select {
				case jammed <- struct{}{}:
				case <-stop:
					return
				}
			}
		})
	}
	for range 3 {
		for range 3 {
			<-jammed
		}
		at := ada.wantLogin(proto.CodeSuccess, ada.ticket)
		for range 3 {
			<-jammed // others come between the login and its client
		}
		if err := ada.join(at).leave(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	strangers.Wait()
}

// TestLoginOpen lets clients in that no route announced. They get group messages, and private
// messages that are sent over a connection.
func TestLoginOpen(t *testing.T) {
	t.Parallel()
	sys := startSystem(t, "--login", "open")
	sender := sys.ours("abe")
	abe := sender.logIn() // by a grant, which counts here too
	address := abe.conn.RemoteAddr().String()
	ada, olga := sys.ours("ada"), sys.old("olga")
	open := []*session{ada.knock(address, ""), olga.knock(address, "")}
	open[0].until("the login answer", func(h *heard) bool { return h.answer != nil })
	for _, s := range open {
		if err := s.ping(); err != nil { // behind it the login is done
			t.Fatal(err)
		}
	}
	sender.sendGroup("hello")
	for _, s := range open {
		abe.wantSend(proto.OutcomeDelivered, s.user, "just you")
		s.wantSoFar(append(from(sender, "hello"), from(sender, "just you")...)...)
	}
	ada.knock(address, "").wantRefused(proto.ReasonRepeatLogin)
	olga.knock(address, "").wantRefused(proto.ReasonRepeatLogin)
	bad := &user{User: proto.User{ID: olga.ID + 1000, Name: " bad "}, system: sys, ours: true}
	bad.knock(address, "").wantRefused(proto.ReasonAccountMismatch)
	for _, s := range open {
		if err := s.ping(); err != nil {
			t.Errorf("an open session ended by another's login: %v", err)
		}
	}
}

// wantSoFar is wantExactly for a session that no route knows: a pong comes
// behind all that the session has taken.
func (s *session) wantSoFar(want ...delivery) {
	t := s.user.system.t
	t.Helper()
	if err := s.ping(); err != nil {
		t.Fatal(err)
	}
	got := look(s, func(h *heard) []delivery { return h.deliveries })
	if summary(got) != summary(want) {
		t.Fatalf("%s got %s, want %s", s.user.Name, summary(got), summary(want))
	}
}
