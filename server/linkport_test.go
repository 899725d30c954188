package server

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"cim/internal/link"
	"cim/internal/metrics"
	"cim/proto"
)

const linkSecret = "sixteen bytes of it"

func withSecret(c *Config) { c.LinkSecret = linkSecret }

// dialLink makes a link to w's server as a route does.
func (w *world) dialLink(secret string, epoch proto.Epoch) (*link.Conn, error) {
	return link.Dial(w.Context(), w.server.Member().Link, link.Config{Secret: secret, Epoch: epoch, WaitingMax: 8 << 20})
}

// overTCP is a second route, whose link is a TCP connection, after the server has
// added the link.
func (w *world) overTCP() *routeEnd {
	w.Helper()
	conn, err := w.dialLink(linkSecret, w.server.epoch)
	if err != nil {
		w.Fatal(err)
	}
	r := &routeEnd{t: w.T, conn: conn, records: make(chan proto.Record, 1<<16), ended: make(chan struct{})}
	go r.read()
	w.Cleanup(func() { conn.Close(); <-r.ended })
	r.ask(proto.Record{Kind: proto.RecordConfirm})
	return r
}

// TestLinkPort serves a link over TCP, and ends it with the server.
func TestLinkPort(t *testing.T) {
	w := start(t, withSecret)
	m := w.server.Member()
	if _, port, err := net.SplitHostPort(m.Link); err != nil || port == "0" || m.Version != proto.LinkVersion {
		t.Errorf("member %+v", m)
	}
	route := w.overTCP()
	if v := route.grant(ann, 1, false); v != proto.VerdictTaken {
		t.Fatalf("grant: %v", v)
	}
	p := w.dial()
	p.write(proto.AppendLogin(nil, ann, proto.DialectV2, proto.Ticket{}))
	p.write([]byte(proto.Ping))
	p.read()
	v := route.ask(proto.Record{Kind: proto.RecordPush, User: ann.ID, Generation: 1, Flags: proto.FlagOffline, Body: body(bob, "hello")})
	if m := p.read(); v != proto.VerdictTaken || string(m.Text) != "hello" {
		t.Errorf("%v, %+v", v, m)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.server.Drain(ctx); err != nil {
		t.Errorf("drain: %v", err)
	}
	<-route.ended
	if _, err := net.Dial("tcp", m.Link); err == nil {
		t.Error("the link port is still open")
	}
}

// TestLinkRefused: strangers, and routes that expect another run, get no link, and
// the server continues.
func TestLinkRefused(t *testing.T) {
	w := start(t, withSecret)
	for _, test := range []struct {
		secret string
		epoch  proto.Epoch
		want   proto.LinkRefusal
	}{
		{"another secret of a cluster", w.server.epoch, proto.LinkRefusedSecret},
		{linkSecret, w.server.epoch + 1, proto.LinkRefusedEpoch},
	} {
		var refused *link.RefusedError
		if _, err := w.dialLink(test.secret, test.epoch); !errors.As(err, &refused) || refused.Refusal != test.want {
			t.Errorf("%v, want %v", err, test.want)
		}
	}
	conn, err := net.Dial("tcp", w.server.Member().Link)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, strings.Repeat("GET / HTTP/1.1\r\n", 10))
	_ = conn.SetDeadline(time.Now().Add(patience))
	if n, _ := io.Copy(io.Discard, conn); n != 0 {
		t.Errorf("a stranger was answered %d bytes", n)
	}
	w.overTCP()
	if n := len(w.server.links.all()); n > 2 {
		t.Errorf("%d links, want 2", n)
	}
}

// TestLinksMax makes linksMax links; one more is refused as full until one ends.
func TestLinksMax(t *testing.T) {
	w := start(t, withSecret)
	w.overTCP()
	w.server.linkPort.served.Add(linksMax - 2)
	last, err := w.dialLink(linkSecret, w.server.epoch)
	if err != nil {
		t.Fatalf("the last link: %v", err)
	}
	var refused *link.RefusedError
	if _, err := w.dialLink(linkSecret, w.server.epoch); !errors.As(err, &refused) || refused.Refusal != proto.LinkRefusedFull {
		t.Errorf("one more: %v", err)
	}
	last.Close()
	deadline := time.Now().Add(patience)
	for again := (*link.Conn)(nil); again == nil; {
		if again, err = w.dialLink(linkSecret, w.server.epoch); err == nil {
			again.Close()
		} else if !errors.As(err, &refused) || time.Now().After(deadline) {
			t.Fatalf("after one has ended: %v", err)
		}
	}
	w.server.linkPort.served.Add(-(linksMax - 2))
}

// TestHellosMax: a route gets its link while hellosMax strangers are connected and
// not authenticated, whatever they have sent.
func TestHellosMax(t *testing.T) {
	w := start(t, withSecret)
	first := proto.AppendHello(nil, proto.Hello{Version: proto.LinkVersion, Epoch: w.server.epoch})
	for _, sends := range [][]byte{nil, first[:1], first} {
		for range hellosMax {
			conn, err := net.Dial("tcp", w.server.Member().Link)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = conn.Write(sends)
		}
		conn, err := w.dialLink(linkSecret, w.server.epoch)
		if err != nil {
			t.Fatalf("beside %d strangers that sent %d bytes: %v", hellosMax, len(sends), err)
		}
		conn.Close()
	}
}

// TestHelloPlaces: when all places are taken, the oldest unauthenticated connection
// is closed, and no other.
func TestHelloPlaces(t *testing.T) {
	w := start(t, withSecret)
	p := &w.server.linkPort
	ours, theirs := make([]net.Conn, hellosMax+1), make([]net.Conn, hellosMax+1)
	places := make([]hello, len(ours))
	for i := range ours {
		ours[i], theirs[i] = net.Pipe()
		defer ours[i].Close()
		if places[i] = p.enter(ours[i]); places[i] == nil {
			t.Fatalf("connection %d has no place", i)
		}
	}
	for i := range theirs {
		_ = theirs[i].SetReadDeadline(time.Now())
		if _, err := theirs[i].Read(make([]byte, 1)); (err == io.EOF) != (i == 0) {
			t.Errorf("connection %d: %v, want only the oldest closed", i, err)
		}
	}
	if n := w.server.metrics.hellosEvicted.Get(); n != 1 {
		t.Errorf("%d made way, want 1", n)
	}
	for _, place := range places {
		p.leave(place)
	}
	if n := p.hellos.Len() + p.hellos.Closing(); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
}

// TestNewLinkSendsSessions: a link that comes up sends all sessions with a grant,
// in chunks, one at a time.
func TestNewLinkSendsSessions(t *testing.T) {
	w := start(t, func(c *Config) { c.LinkSecret = linkSecret; c.Login = LoginOpen })
	w.login(ann, 3, proto.DialectCIM)
	d := w.server.directory
	want := []proto.Session{{User: ann.ID, Generation: 3}}
	add := func(user proto.UserID, e entry) {
		s := d.stripe(user)
		s.mu.Lock()
		d.put(s, user, e)
		s.mu.Unlock()
	}
	for i := range 2*proto.SessionsMax - 1 {
		s := proto.Session{User: proto.UserID(5000 + i), Generation: proto.Generation(i + 1)}
		add(s.User, entry{generation: s.Generation})
		want = append(want, s)
	}
	add(90_001, entry{})                                             // a session without a grant
	add(90_002, entry{generation: 4, grant: &pending{name: "carl"}}) // a grant

	route := w.overTCP()
	var got []proto.Session
	for range 2 {
		r := route.kind(proto.RecordSessions)
		if v := route.grant(bob, 1, false); v == 0 { // its answer would come after a second chunk
			t.Fatal(v)
		}
		if slices.ContainsFunc(route.aside, func(r proto.Record) bool { return r.Kind == proto.RecordSessions }) {
			t.Error("a chunk came before its time")
		}
		chunk, err := proto.ParseSessions(r.Body)
		if err != nil || len(chunk) != proto.SessionsMax {
			t.Fatalf("%d sessions, %v", len(chunk), err)
		}
		got = append(got, chunk...)
		if err := route.conn.Send(&proto.Record{Kind: proto.RecordChecked, ID: r.ID}); err != nil {
			t.Fatal(err)
		}
	}
	byUser := func(a, b proto.Session) int { return int(a.User - b.User) }
	slices.SortFunc(got, byUser)
	slices.SortFunc(want, byUser)
	if !slices.Equal(got, want) {
		t.Errorf("received %d sessions, want %d, the same", len(got), len(want))
	}
	// A RecordChecked too many answers nothing.
	if err := route.conn.Send(&proto.Record{Kind: proto.RecordChecked, ID: 2}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-route.ended:
	case <-time.After(patience):
		t.Error("the link goes on after a checked that answers nothing")
	}
}

// TestSuperseded ends sessions of all dialects for good, but none without a grant.
func TestSuperseded(t *testing.T) {
	for _, dialect := range []proto.Dialect{proto.DialectV2, proto.DialectCIM} {
		w := start(t, nil)
		p := w.login(ann, 3, dialect)
		revoke := proto.Record{Kind: proto.RecordRevoke, User: ann.ID, Generation: 2, Value: uint64(proto.RevokeSuperseded)}
		if v := w.route.ask(revoke); v != proto.VerdictAbsent {
			t.Errorf("an older generation: %v", v)
		}
		revoke.Generation = 3
		if v := w.route.ask(revoke); v != proto.VerdictTaken {
			t.Errorf("dialect %d: %v", dialect, v)
		}
		if dialect == proto.DialectCIM {
			if m := p.read(); m.Reason != proto.ReasonReplaced {
				t.Errorf("received %+v", m)
			}
		}
		p.end()
	}
	open := entry{}
	if open.mayEnd(proto.RevokeSuperseded, nil) {
		t.Error("a session without a grant may be superseded")
	}
}

// TestNextRoute: a record that may go to any route goes to the next one if the
// first has no room or is gone.
func TestNextRoute(t *testing.T) {
	var all links
	small, _ := link.Pair(1)
	gone, _ := link.Pair(1 << 10)
	gone.Close()
	good, far := link.Pair(1 << 10)
	for _, conn := range []*link.Conn{small, gone, good} {
		all.add(&linkEnd{conn: conn})
	}
	for user := range proto.UserID(6) {
		if !all.send(&proto.Record{Kind: proto.RecordDown, User: user}, 0) {
			t.Errorf("user %d: no link took it", user)
		}
	}
	good.Close()
	next := proto.UserID(0)
	_ = far.Run(t.Context(), func(r *proto.Record) error {
		if r.User != next {
			t.Errorf("received user %d, want %d", r.User, next)
		}
		next++
		return nil
	})
	if next != 6 || all.send(&proto.Record{Kind: proto.RecordDown}, 0) {
		t.Errorf("%d sent, want 6, and none after the end", next)
	}
}

// TestUpInTurn: repeated RecordUps go to each route in turn, so that they do not
// all go to a route that has stopped, and whose link still takes them.
func TestUpInTurn(t *testing.T) {
	w := start(t, withSecret)
	second := w.overTCP()
	w.route.grant(ann, 1, false)
	p := w.dial()
	p.write(proto.AppendLogin(nil, ann, proto.DialectV2, proto.Ticket{}))
	for _, route := range []*routeEnd{w.route, second} { // and the first does not handle it
		if r := route.kind(proto.RecordUp); r.User != ann.ID || r.Generation != 1 || r.Value != 1 {
			t.Errorf("received %+v", r)
		}
	}
}

// TestBadBody: a body that no receiver could parse ends the link that it came on,
// and neither the server nor any session.
func TestBadBody(t *testing.T) {
	w := start(t, withSecret)
	p := w.login(ann, 1, proto.DialectV2)
	old := w.login(bob, 1, proto.DialectV1)
	for _, kind := range []proto.RecordKind{proto.RecordPush, proto.RecordBroadcast} {
		for _, bad := range []string{"\xff", "\x0a\x02\xff\xfe", "\x0a\x05short"[:4]} {
			route := w.overTCP()
			r := proto.Record{Kind: kind, ID: 1, Body: []byte(bad)}
			if kind == proto.RecordPush {
				r.User, r.Generation = bob.ID, 1
			}
			if err := route.conn.Send(&r); err != nil {
				t.Fatal(err)
			}
			select {
			case <-route.ended:
			case <-time.After(patience):
				t.Fatalf("kind %d, body %x: the link goes on", kind, bad)
			}
		}
	}
	if v := w.route.ask(proto.Record{Kind: proto.RecordBroadcast, Body: body(bob, "still here")}); v != proto.VerdictTaken {
		t.Errorf("broadcast: %v", v)
	}
	if m := p.read(); string(m.Text) != "still here" {
		t.Errorf("read %+v", m)
	}
	if m := old.read(); string(m.Text) != bob.Name+":still here" {
		t.Errorf("read in dialect v1 %+v", m)
	}
}

// TestForwardSendRefused: a SEND that a link does not take is not counted as with a
// route, and only a link without room is counted as full.
func TestForwardSendRefused(t *testing.T) {
	s := &Server{metrics: newCounters(metrics.NewSet())}
	full, _ := link.Pair(1)
	gone, _ := link.Pair(1 << 10)
	gone.Close()
	for i, conn := range []*link.Conn{gone, full} {
		l := &linkEnd{server: s, conn: conn, sends: map[uint64]pendingSend{}}
		if l.forwardSend(&send{sender: ann, to: bob.ID, text: []byte("text")}, 0, nil) {
			t.Errorf("link %d took it", i)
		}
		if n := s.metrics.linkFull.Get(); n != uint64(i) || s.pairs.total.Load() != 0 || len(l.sends) != 0 {
			t.Errorf("after link %d: %d counted as full, %d with a route", i, n, s.pairs.total.Load())
		}
	}
}

// TestCheckBody parses bodies without allocation.
func TestCheckBody(t *testing.T) {
	l, r := &linkEnd{}, &proto.Record{Kind: proto.RecordPush, Body: body(bob, "text")}
	if n := testing.AllocsPerRun(100, func() { _ = l.checkBody(r) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	var bad *proto.LinkError
	if err := l.checkBody(&proto.Record{Body: []byte("\xff")}); !errors.As(err, &bad) {
		t.Errorf("a bad body: %v", err)
	}
}

// TestLinkSettings: a secret is required if other machines reach the port, and has
// a minimum length.
func TestLinkSettings(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		fault  string
	}{
		"default":             {func(*Config) {}, ""},
		"no port":             {func(c *Config) { c.LinkPort, c.Bind = LinkPortNone, "192.0.2.1" }, ""},
		"below none":          {func(c *Config) { c.LinkPort = -2 }, "link-port -2"},
		"last port":           {func(c *Config) { c.LinkPort = 65535 }, ""},
		"past it":             {func(c *Config) { c.LinkPort = 65536 }, "link-port 65536"},
		"another address":     {func(c *Config) { c.Bind = "192.0.2.1" }, "link-secret is missing"},
		"with a secret":       {func(c *Config) { c.Bind, c.LinkSecret = "192.0.2.1", strings.Repeat("s", 16) }, ""},
		"a byte short":        {func(c *Config) { c.LinkSecret = strings.Repeat("s", 15) }, "link-secret has 15 bytes"},
		"wildcard, no secret": {func(c *Config) { c.Bind, c.Advertise = "0.0.0.0", "a.example" }, "link-secret is missing"},
	} {
		c := DefaultConfig()
		test.change(&c)
		err := c.Check()
		if test.fault == "" && err != nil || test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)) {
			t.Errorf("%s: %v, want %q", name, err, test.fault)
		}
		if err != nil && c.LinkSecret != "" && strings.Contains(err.Error(), c.LinkSecret) {
			t.Errorf("%s: the secret is in %q", name, err)
		}
	}
}

// TestSilentRoute: the link of a silent route ends. The outcomes that it owes
// become unknown, and the next SENDs of those senders, and ups and downs, go to
// another route. A route that sends keeps its link, and so does one in this
// process; a pause of the server is not silence.
func TestSilentRoute(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *Config) { withSecret(c); c.Heartbeat = heartbeatMax })
	hung := w.overTCP()
	w.eventually("its link is up", func() bool { return len(w.server.links.all()) == 2 })
	from := w.server.links.all()[1].from
	live := w.overTCP()
	w.eventually("three links are up", func() bool { return len(w.server.links.all()) == 3 })
	sender := proto.User{ID: 100, Name: "sender"} // its SENDs go to the route that hangs
	for w.server.links.choose(sender.ID).from != from {
		sender.ID++
	}
	p := w.login(sender, 1, proto.DialectCIM)
	pause := w.pause() // longer than the silence
	for _, route := range []*routeEnd{w.route, hung, live} {
		route.send(proto.Record{Kind: proto.RecordEcho, ID: pause})
		route.ask(proto.Record{Kind: proto.RecordConfirm}) // it arrives before the time goes on
	}
	w.age(silenceTest * 2 / 3)
	if v := live.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken {
		t.Fatalf("confirm: %v", v)
	}
	p.write(proto.AppendSend(nil, 1, 9999, "first"))
	hung.kind(proto.RecordSend)
	hung.broken.Store(true)
	w.age(silenceTest/3 + time.Second) // before the outcome is due
	p.wantOutcome(1, proto.OutcomeUnknown, proto.CodeFailure)
	<-hung.ended
	w.eventually("the others stay", func() bool { return len(w.server.links.all()) == 2 })
	p.write(proto.AppendSend(nil, 2, 9999, "second"))
	next := w.route
	if w.server.links.choose(sender.ID).from != "" {
		next = live
	}
	second := next.kind(proto.RecordSend)
	if string(second.Body) != "second" {
		t.Errorf("the other route was sent %+v", second)
	}
	next.send(proto.Record{Kind: proto.RecordOutcome, ID: second.ID, Value: uint64(proto.OutcomeStored), Code: proto.CodeOffline})
	p.wantOutcome(2, proto.OutcomeStored, proto.CodeOffline)
	if n := w.server.metrics.linksSilent.Get(); n != 1 {
		t.Errorf("%d links ended as silent, want 1", n)
	}
}
