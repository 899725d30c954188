package server

import (
	"net/netip"
	"strconv"
	"testing"
	"time"

	"cim/internal/admission"
	"cim/proto"
	"cim/server/shard"
)

func newTestDirectory() *directory {
	return newDirectory(LoginGranted, RepeatRefuse, false, admission.DefaultPolicy())
}

var here, there, elsewhere = netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("203.0.113.3")

// TestStraysWait checks the waits of a pair: none after the first strays, then
// twice as long each time up to the longest, and none again after a time without
// strays. No other address and no other user waits.
func TestStraysWait(t *testing.T) {
	s := newStrays()
	now := shard.Tick(1000)
	for _, wait := range []shard.Tick{0, 0, 10, 20, 40, 80, 100, 100} {
		s.note(1, here, now)
		for login, want := range map[shard.Tick]bool{now - 1: wait > 0, now + wait - 1: wait > 0, now + wait: false} {
			if got := s.waits(1, here, login); got != want {
				t.Errorf("wait %d: a login %d ticks after the stray waits: %v, want %v", wait, int(login)-int(now), got, want)
			}
		}
		if s.waits(1, there, now) || s.waits(2, here, now) {
			t.Errorf("another address or user waits")
		}
		now += strayAge - 1
	}
	now++ // strayAge without strays
	s.note(1, here, now)
	if s.waits(1, here, now) {
		t.Error("a stray after a long time has to wait")
	}
}

// TestStraysExcused: a client whose login was announced, and whose grant a goodbye
// or another login has taken, is late and does not guess; later strays count.
func TestStraysExcused(t *testing.T) {
	s := newStrays()
	now := shard.Tick(1000)
	for range 10 {
		s.excuse(1, now)
		s.excuse(1, now)
		s.note(1, here, now+excuseTicks-1)
		s.note(1, here, now+excuseTicks-1)
		if s.waits(1, here, now) {
			t.Fatal("a client whose login was announced has to wait")
		}
		now += excuseTicks
	}
	for range straysFree + 1 {
		s.note(1, here, now)
	}
	if !s.waits(1, here, now) {
		t.Error("strays that nothing excuses do not count")
	}
	s.excuse(2, now)
	for range straysFree + 1 {
		s.note(2, here, now+excuseTicks)
	}
	if !s.waits(2, here, now+excuseTicks) {
		t.Error("an excuse lasts for too long")
	}
	for range 2 * excusesMax {
		s.excuse(3, now)
	}
	for range excusesMax + straysFree + 1 {
		s.note(3, here, now)
	}
	if !s.waits(3, here, now) {
		t.Error("a user has excuses without bound")
	}
}

// TestStraysOfOthers: other addresses count from the third stray on, for as long as
// a grant lasts.
func TestStraysOfOthers(t *testing.T) {
	s := newStrays()
	for range 5 {
		s.note(1, here, 100)
	}
	if s.others(1, here, 100) || !s.others(1, there, 100) || s.others(2, there, 100) {
		t.Errorf("with strays of one address: %v for it, %v for another, %v for another user, want false, true, false",
			s.others(1, here, 100), s.others(1, there, 100), s.others(2, there, 100))
	}
	s.note(1, there, 150)
	for _, addr := range []netip.Addr{here, there, elsewhere} {
		if !s.others(1, addr, 150) {
			t.Errorf("with strays of two addresses there are no others than %v", addr)
		}
	}
	if s.others(1, there, 100+strayAge) || !s.others(1, here, 149+strayAge) || s.others(1, here, 150+strayAge) {
		t.Error("strays of others count for too short or too long a time")
	}
	s.note(3, here, 100)
	s.note(3, there, 100)
	if s.others(3, elsewhere, 100) {
		t.Error("two strays of a user count")
	}
}

// TestStraysAreBounded: the oldest are evicted, and all expire. As long as an
// evicted stray would count, other addresses may be guessing at each user's login.
func TestStraysAreBounded(t *testing.T) {
	s := newStrays()
	for range straysFree + 1 {
		s.note(1, here, 100)
	}
	for i := range straysMax - 1 {
		s.note(proto.UserID(2+i), there, 100)
	}
	if !s.waits(1, here, 100) || s.pairs.order.Len() != straysMax {
		t.Fatalf("%d pairs at the bound; the first waits: %v", s.pairs.order.Len(), s.waits(1, here, 100))
	}
	if s.others(2, elsewhere, 100) {
		t.Error("others guess although nothing was forgotten")
	}
	s.note(1_000_000, there, 100)
	for at, want := range map[shard.Tick]bool{100: true, 99 + strayAge: true, 100 + strayAge: false} {
		if got := s.others(2_000_000, elsewhere, at); got != want {
			t.Errorf("at tick %d others may guess: %v, want %v", at, got, want)
		}
	}
	if s.waits(1, here, 100) || s.pairs.order.Len() != straysMax || s.users.order.Len() != straysMax || len(s.pairs.byKey) != straysMax {
		t.Errorf("%d pairs, %d users past the bound", s.pairs.order.Len(), s.users.order.Len())
	}
	s.note(5, there, 200)
	s.expire(99 + strayAge)
	if s.pairs.order.Len() != straysMax {
		t.Error("strays are forgotten too early")
	}
	s.expire(100 + strayAge)
	if s.pairs.order.Len() != 1 || len(s.users.byKey) != 1 {
		t.Errorf("%d pairs, %d users are left, want the last of each", s.pairs.order.Len(), len(s.users.byKey))
	}
}

// TestElsewhere lists where a client without a ticket may connect from.
func TestElsewhere(t *testing.T) {
	policy := admission.DefaultPolicy()
	policy.Trusted = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	addr := netip.MustParseAddr
	for name, c := range map[string]struct {
		rule    proto.AddressRule
		logins  []netip.Addr
		from    origin
		strays  bool // other addresses send strays
		refused bool
	}{
		"the same":                        {proto.AddressSame, []netip.Addr{here}, origin{addr: here}, true, false},
		"another":                         {proto.AddressSame, []netip.Addr{here}, origin{addr: there}, false, true},
		"another, any":                    {proto.AddressAny, []netip.Addr{here}, origin{addr: there}, true, false},
		"another, auto":                   {proto.AddressAuto, []netip.Addr{here}, origin{addr: there}, false, false},
		"another, auto, others guess":     {proto.AddressAuto, []netip.Addr{here}, origin{addr: there}, true, true},
		"the same, auto, others guess":    {proto.AddressAuto, []netip.Addr{here}, origin{addr: here}, true, false},
		"an older login's":                {proto.AddressSame, []netip.Addr{here, there}, origin{addr: here}, false, false},
		"of too many logins":              {proto.AddressSame, []netip.Addr{here, there, elsewhere, addr("203.0.113.4"), addr("203.0.113.5")}, origin{addr: here}, false, true},
		"of logins that come again":       {proto.AddressSame, []netip.Addr{here, there, there, there, there, there}, origin{addr: here}, false, false},
		"a network of IPv6":               {proto.AddressSame, []netip.Addr{addr("2001:db8::1")}, origin{addr: addr("2001:db8::2")}, false, false},
		"another network of IPv6":         {proto.AddressSame, []netip.Addr{addr("2001:db8::1")}, origin{addr: addr("2001:db8:0:1::1")}, false, true},
		"mapped":                          {proto.AddressSame, []netip.Addr{here}, origin{addr: addr("::ffff:203.0.113.1")}, false, false},
		"loopback, both kinds":            {proto.AddressSame, []netip.Addr{addr("::1")}, origin{addr: addr("127.0.0.1")}, false, false},
		"another loopback address":        {proto.AddressSame, []netip.Addr{addr("127.0.0.1")}, origin{addr: addr("127.0.0.2")}, false, true},
		"from the server's own address":   {proto.AddressSame, []netip.Addr{addr("127.0.0.1")}, origin{addr: here, own: true}, false, false},
		"own address, login elsewhere":    {proto.AddressSame, []netip.Addr{there}, origin{addr: here, own: true}, false, true},
		"a proxy":                         {proto.AddressSame, []netip.Addr{here}, origin{addr: addr("10.1.2.3")}, true, false},
		"a login whose address is hidden": {proto.AddressSame, []netip.Addr{{}}, origin{addr: here}, true, false},
	} {
		d := newDirectory(LoginGranted, RepeatRefuse, false, policy)
		if c.strays {
			for range straysFree + 1 {
				d.strays.note(ann.ID, addr("198.51.100.9"), 90)
			}
		}
		p := pending{name: ann.Name, rule: c.rule}
		p.open(c.logins[0], 100)
		d.grant(ann.ID, 1, p, c.logins[0])
		for _, login := range c.logins[1:] {
			d.join(ann.ID, 1, pending{rule: c.rule, at: 100}, login)
		}
		_, refused := d.claim(ann.ID, &proto.View{Text: []byte(ann.Name), ID: int64(ann.ID)}, shard.Ref{Slot: 1, Reuse: 1}, c.from, 101)
		want := refusal{}
		if c.refused {
			want = refusal{proto.ReasonNoGrant, guardAddress}
		}
		if refused != want {
			t.Errorf("%s: %+v, want %+v", name, refused, want)
		}
	}
}

// TestGuessedLogins: a stranger at the client port repeats the login of a client of
// the original until the user logs in over HTTP. The stranger does not get the
// session, in any dialect. The user does, from another address at once, from the
// same address after a wait. Clients with tickets never wait.
func TestGuessedLogins(t *testing.T) {
	frames := map[string][]byte{
		"v2":   proto.AppendLogin(nil, ann, proto.DialectV2, proto.Ticket{}),
		"v1":   proto.AppendV1Login(nil, ann),
		"ours": proto.AppendLogin(nil, ann, proto.DialectCIM, proto.Ticket{}),
	}
	for name, frame := range frames {
		for _, stranger := range []string{"127.0.0.1", "127.0.0.2"} {
			t.Run(name+" from "+stranger, func(t *testing.T) {
				w := start(t, nil)
				guess := func() {
					p := w.dialFrom(stranger)
					p.write(frame)
					if name == "ours" {
						if a := p.read(); a.Reason != proto.ReasonNoGrant {
							t.Errorf("a guess is answered %v, want no grant", a.Reason)
						}
					}
					p.end()
				}
				login := func(generation proto.Generation) {
					if v := w.route.ask(proto.Record{
						Kind: proto.RecordGrant, User: ann.ID, Generation: generation, Name: []byte(ann.Name),
						Body: proto.AppendGrant(nil, proto.Grant{Ticket: ticket, From: netip.MustParseAddr("127.0.0.1")}),
					}); v != proto.VerdictTaken {
						t.Fatalf("grant: %v", v)
					}
				}
				for range 5 { // then the wait is 4 s
					guess()
				}
				login(1)
				guess()
				if stranger == "127.0.0.1" {
					w.leap(4 * time.Duration(strayWaitMin) * shard.TickMillis * time.Millisecond)
					login(2)
				}
				p := w.dialFrom("127.0.0.1")
				p.write(proto.AppendLogin(nil, ann, proto.DialectV2, proto.Ticket{}))
				p.write([]byte(proto.Ping))
				if m := p.read(); m.Command != proto.CommandPing {
					t.Errorf("the user: %+v, want a pong", m)
				}
				if n := w.server.metrics.guarded[guardWait].Get(); n != 1 {
					t.Errorf("%d logins had to wait, want the stranger's", n)
				}
				w.login(bob, 1, proto.DialectCIM)
			})
		}
	}
}

// TestGuessesFromManyAddresses: each address guesses once; then only the address of
// the login over HTTP gets the session.
func TestGuessesFromManyAddresses(t *testing.T) {
	w := start(t, nil)
	frame := proto.AppendLogin(nil, ann, proto.DialectV2, proto.Ticket{})
	for i := range 3 {
		p := w.dialFrom("127.0.0." + strconv.Itoa(10+i))
		p.write(frame)
		p.end()
	}
	if v := w.route.ask(proto.Record{
		Kind: proto.RecordGrant, User: ann.ID, Generation: 1, Name: []byte(ann.Name),
		Body: proto.AppendGrant(nil, proto.Grant{Ticket: ticket, From: netip.MustParseAddr("127.0.0.1")}),
	}); v != proto.VerdictTaken {
		t.Fatal(v)
	}
	p := w.dialFrom("127.0.0.20")
	p.write(frame)
	p.end()
	if n := w.server.metrics.guarded[guardAddress].Get(); n != 1 {
		t.Errorf("%d logins were refused for their address, want the stranger's", n)
	}
	p = w.dialFrom("127.0.0.1")
	p.write(append(frame, proto.Ping...))
	if m := p.read(); m.Command != proto.CommandPing {
		t.Errorf("the user: %+v, want a pong", m)
	}
}
