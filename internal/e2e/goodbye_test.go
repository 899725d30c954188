package e2e

import (
	"testing"

	"cim/proto"
)

// TestGoodbyeOther sends a goodbye with no msg, and with any other than offLine: it ends no live
// session of any client.
func TestGoodbyeOther(t *testing.T) {
	t.Parallel()
	c := newCompany(t)
	for _, s := range []*session{c.olga, c.ada} {
		id := s.user.ID
		s.user.want(proto.CodeSuccess, proto.PathOffLine, members{"userId": id})
		s.user.want(proto.CodeSuccess, proto.PathOffLine, members{"userId": id, "msg": nil})
		s.user.want(proto.CodeSuccess, proto.PathOffLine, members{"userId": id, "msg": s.user.Name})
		c.odo.user.sendPrivate(proto.CodeSuccess, s.user, "still there?")
		c.wantOnly([]*session{s}, from(c.odo.user, "still there?")...)
		if !c.online()[int64(id)] {
			t.Errorf("%s is not online any more", s.user.Name)
		}
		s.user.wantLogin(proto.CodeRepeatLogin, "")
	}
}

// TestGoodbyeOld ends an old client's session, and the next login finds it
// ended.
func TestGoodbyeOld(t *testing.T) {
	t.Parallel()
	c := newCompany(t)
	olga := c.olga.user
	olga.want(proto.CodeSuccess, proto.PathOffLine, members{"userId": olga.ID, "msg": "offLine"})
	c.odo.user.sendPrivate(proto.CodeOffline, olga, "for later")
	c.olga.wantEnd(proto.ReasonEnded)
	if c.online()[int64(olga.ID)] {
		t.Error("olga is still online")
	}
	olga.want(proto.CodeSuccess, proto.PathOffLine, members{"userId": olga.ID, "msg": "offLine"})
	again := olga.logIn()
	again.wantExactly(stored(c.odo.user, "for later")...)
}

// TestGoodbyeOurs: only its ticket ends the session of a client of ours.
func TestGoodbyeOurs(t *testing.T) {
	t.Parallel()
	c := newCompany(t)
	ada := c.ada.user
	for _, ticket := range []string{"", flipped(ada.ticket)} {
		request := members{"userId": ada.ID, "msg": "offLine"}
		if ticket != "" {
			request["ticket"] = ticket
		}
		ada.want(proto.CodeSuccess, proto.PathOffLine, request)
		c.odo.user.sendPrivate(proto.CodeSuccess, ada, "still there?")
		c.wantOnly([]*session{c.ada}, from(c.odo.user, "still there?")...)
	}
	ada.want(proto.CodeSuccess, proto.PathOffLine, members{"userId": ada.ID, "msg": "offLine", "ticket": ada.ticket})
	c.ada.wantEnd(proto.ReasonEnded)
	if c.online()[int64(ada.ID)] {
		t.Error("ada is still online")
	}
	ada.logIn().wantExactly()
}

// TestGoodbyeWithoutSession says goodbye for users without a session, or with a grant only, which ends. The
// grant of a client of ours, which may be about to connect, ends only by a goodbye with its ticket.
func TestGoodbyeWithoutSession(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	for _, u := range []*user{sys.old("olga"), sys.ours("ada")} {
		for _, msg := range []any{nil, "offLine", u.Name} {
			u.want(proto.CodeSuccess, proto.PathOffLine, members{"userId": u.ID, "msg": msg})
		}
		at := u.wantLogin(proto.CodeSuccess, "")
		goodbye := members{"userId": u.ID, "msg": "offLine"}
		if at.ticket != "" {
			goodbye["ticket"] = at.ticket
		}
		u.want(proto.CodeSuccess, proto.PathOffLine, goodbye)
		u.knock(at.address, at.ticket).wantRefused(proto.ReasonNoGrant)
	}
	bea := sys.ours("bea")
	at := bea.wantLogin(proto.CodeSuccess, "")
	bea.want(proto.CodeSuccess, proto.PathOffLine, members{"userId": bea.ID, "msg": "offLine"})
	bea.join(at).wantExactly()
	stranger := sys.old("odo")
	stranger.want(proto.CodeSuccess, proto.PathOffLine, members{"userId": 1, "msg": "offLine"})
}
