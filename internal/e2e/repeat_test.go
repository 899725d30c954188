package e2e

import (
	"testing"

	"cim/proto"
)

// TestRepeatRefused logs in again while the session lives, and after its
// connection has closed without a goodbye.
func TestRepeatRefused(t *testing.T) {
	t.Parallel()
	c := newCompany(t)
	for _, s := range []*session{c.olga, c.ada} {
		s.user.wantLogin(proto.CodeRepeatLogin, "")
		if s.ours {
			s.user.wantLogin(proto.CodeRepeatLogin, flipped(s.user.ticket))
		}
		c.odo.user.sendPrivate(proto.CodeSuccess, s.user, "still there?")
		s.wantExactly(from(c.odo.user, "still there?")...)
	}
	for _, s := range []*session{c.olga, c.ada} {
		s.close()
		var at place
		eventually(t, "a login after the connection has closed", func() bool {
			place, code, err := s.user.login("")
			at = place
			return err == nil && code == proto.CodeSuccess
		})
		again := s.user.join(at)
		c.odo.user.sendPrivate(proto.CodeSuccess, s.user, "back again?")
		again.wantExactly(from(c.odo.user, "back again?")...)
	}
}

// TestRepeatTicket: a login with the last ticket takes its own session's place at once.
func TestRepeatTicket(t *testing.T) {
	t.Parallel()
	c := newCompany(t)
	ada, old := c.ada.user, c.ada
	for range 3 {
		at := ada.wantLogin(proto.CodeSuccess, ada.ticket)
		old.wantEnd(proto.ReasonReplaced)
		next := ada.join(at)
		c.odo.user.sendPrivate(proto.CodeSuccess, ada, "which one?")
		next.wantExactly(from(c.odo.user, "which one?")...)
		old = next
	}
	// The right ticket ends no session of an old client.
	asOurs := &user{User: c.olga.user.User, system: c.system, number: c.olga.user.number, ours: true}
	asOurs.wantLogin(proto.CodeRepeatLogin, ada.ticket)
	c.olga.wantExactly()
}

// TestRepeatReplace: the newest login wins, but over an old client's session.
func TestRepeatReplace(t *testing.T) {
	t.Parallel()
	c := newCompany(t, "--repeat-login", "replace")
	c.olga.user.wantLogin(proto.CodeRepeatLogin, "")
	asOurs := &user{User: c.olga.user.User, system: c.system, number: c.olga.user.number, ours: true}
	asOurs.wantLogin(proto.CodeRepeatLogin, "")
	c.odo.user.sendPrivate(proto.CodeSuccess, c.olga.user, "still there?")
	c.wantOnly([]*session{c.olga}, from(c.odo.user, "still there?")...)

	ada := c.ada.user
	at := ada.wantLogin(proto.CodeSuccess, "")
	c.ada.wantEnd(proto.ReasonReplaced)
	next := ada.join(at)
	c.odo.user.sendPrivate(proto.CodeSuccess, ada, "the newest?")
	next.wantExactly(from(c.odo.user, "the newest?")...)

	asOld := &user{User: ada.User, system: c.system, number: ada.number}
	last := asOld.logIn()
	next.wantEnd(proto.ReasonReplaced)
	c.odo.user.sendPrivate(proto.CodeSuccess, ada, "an old one?")
	last.wantExactly(from(c.odo.user, "an old one?")...)
	ada.wantLogin(proto.CodeRepeatLogin, "")
}
