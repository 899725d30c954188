package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"time"

	"cim/proto"
)

// steps is a Backoff without pauses that remembers its attempts.
type steps struct {
	mu       sync.Mutex
	attempts []int
}

// Pause implements Backoff.
func (s *steps) Pause(attempt int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts = append(s.attempts, attempt)
	return 0
}

func (s *steps) asked() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int(nil), s.attempts...)
}

// TestRetries gives up after as many logins as were allowed, with the pauses of
// the user's Backoff between them.
func TestRetries(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	pauses := &steps{}
	config.Retries, config.Backoff = 3, pauses
	seen := states(&config)
	c, p := f.logIn(config)
	f.now(func() { f.codes[proto.PathLogin] = proto.CodeNoServer })
	p.close()
	wantState(t, seen, StateReconnecting)
	wantState(t, seen, StateClosed)
	await(t, c.Done())
	if err := c.Err(); !errors.Is(err, ErrGaveUp) || !errors.Is(err, ErrNoServer) {
		t.Errorf("Err: %v, want ErrGaveUp and why", err)
	}
	if c.State() != StateClosed {
		t.Errorf("state %v, want closed", c.State())
	}
	if logins := len(f.asked); logins != config.Retries {
		t.Errorf("%d logins, want %d", logins, config.Retries)
	}
	if want := []int{1, 2, 3}; !reflect.DeepEqual(pauses.asked(), want) {
		t.Errorf("pauses before attempts %v, want %v", pauses.asked(), want)
	}
}

// TestRetriesEnough counts the logins of each loss from zero, while the attempts for pauses
// continue as long as no connection lasts.
func TestRetriesEnough(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	pauses := &steps{}
	config.Retries, config.Backoff = 1, pauses
	seen := states(&config)
	_, p := f.logIn(config)
	for range 3 {
		p.close()
		p = f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
		wantState(t, seen, StateReconnecting)
		wantState(t, seen, StateReady)
	}
	if want := []int{1, 2, 3}; !reflect.DeepEqual(pauses.asked(), want) {
		t.Errorf("pauses before attempts %v, want %v", pauses.asked(), want)
	}
}

// TestReconnectCheck asks the user whether to log in again, and why.
func TestReconnectCheck(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	config.Backoff = &steps{}
	type question struct {
		attempt int
		why     error
	}
	var asked []question // by the client's goroutine until Done
	config.Reconnect = func(attempt int, why error) bool {
		asked = append(asked, question{attempt, why})
		return attempt < 2
	}
	c, p := f.logIn(config)
	f.now(func() { f.codes[proto.PathLogin] = proto.CodeNoServer })
	p.write(proto.AppendClose(nil, proto.ReasonDraining))
	await(t, c.Done())
	if err := c.Err(); !errors.Is(err, ErrGaveUp) || !errors.Is(err, ErrNoServer) {
		t.Errorf("Err: %v, want ErrGaveUp and why", err)
	}
	var ended *Ended
	if len(asked) != 2 || asked[0].attempt != 1 || !errors.As(asked[0].why, &ended) || !errors.Is(asked[1].why, ErrNoServer) {
		t.Errorf("asked %v", asked)
	}
	if len(f.asked) != 1 {
		t.Errorf("%d logins, want 1", len(f.asked))
	}
}

// TestReconnectNotAsked ends without a call of Reconnect if a login is useless.
func TestReconnectNotAsked(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	config.Reconnect = func(int, error) bool {
		t.Error("asked although the user is logged in elsewhere")
		return true
	}
	c, p := f.logIn(config)
	p.write(proto.AppendClose(nil, proto.ReasonReplaced))
	await(t, c.Done())
	if !errors.Is(c.Err(), ErrReplaced) {
		t.Errorf("Err: %v, want ErrReplaced", c.Err())
	}
}

// TestEvents reads a client's events, from its login to its end.
func TestEvents(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	config.Backoff = &steps{}
	events := make(chan Event, 100)
	config.Events = func(e Event) { events <- e }
	want := func(kind EventKind) Event {
		t.Helper()
		e := await(t, events)
		if e.Kind != kind {
			t.Fatalf("event %+v, want that it %s", e, kind)
		}
		return e
	}
	c, p := f.logIn(config)
	if e := want(EventLoggedIn); e.Server != c.Server() || e.Server.Address() != f.listen.Addr().String() {
		t.Errorf("logged in at %+v, want %s", e.Server, f.listen.Addr())
	}
	p.deliver(5, "secret")
	p.deliver(5, "secret")
	if e := want(EventReceived); e.User != ann.ID || e.ID != 5 {
		t.Errorf("received %+v", e)
	}
	if e := want(EventDuplicate); e.User != ann.ID || e.ID != 5 {
		t.Errorf("duplicate %+v", e)
	}
	p.write(proto.AppendGap(nil, 3))
	if e := want(EventLeftOut); e.Texts != 3 {
		t.Errorf("left out %+v", e)
	}
	done := sending(t, c, "to all")
	p.write(proto.AppendOutcome(nil, p.read().MessageID, 6, proto.OutcomeBusy, proto.CodeLimit))
	if e := want(EventSent); e.ID != 6 || e.User != 0 || !errors.Is(e.Result.Err(), ErrBusy) || e.Err != nil {
		t.Errorf("sent %+v", e)
	}
	if err := await(t, done); err != nil {
		t.Error(err)
	}
	f.now(func() { f.codes[proto.PathLogin] = proto.CodeNoServer })
	p.write(proto.AppendMove(nil, proto.ReasonDraining))
	if e := want(EventMoveFailed); !errors.Is(e.Err, ErrNoServer) {
		t.Errorf("no move: %+v", e)
	}
	p.write(proto.AppendClose(nil, proto.ReasonDraining))
	f.now(func() { f.codes[proto.PathLogin] = proto.CodeRepeatLogin })
	await(t, c.Done())
	var last Event
	kinds := map[EventKind]int{}
	for len(events) > 0 {
		last = <-events
		kinds[last.Kind]++
	}
	if kinds[EventLost] != 1 || kinds[EventLoginFailed] == 0 || last.Kind != EventEnded || !errors.Is(last.Err, ErrRepeatLogin) {
		t.Errorf("at the end it reported %v, and last %+v", kinds, last)
	}
}

// TestServer: where a client is logged in, and its states.
func TestServer(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	seen := states(&config)
	c, p := f.logIn(config)
	port := f.listen.Addr().(*net.TCPAddr).Port
	want := ServerInfo{Host: "127.0.0.1", Port: port, HTTPPort: 1, Dialect: proto.DialectCIM, Heartbeat: 30 * time.Second}
	if c.State() != StateReady || c.Server() != want {
		t.Errorf("state %v at %+v, want ready at %+v", c.State(), c.Server(), want)
	}
	p.close()
	wantState(t, seen, StateReconnecting)
	if c.State() != StateReconnecting || c.Server() != want {
		t.Errorf("state %v at %+v, want reconnecting, last at %+v", c.State(), c.Server(), want)
	}
	shut(t, c)
	if c.State() != StateClosed {
		t.Errorf("state %v, want closed", c.State())
	}
	if address := (ServerInfo{}).Address(); address != "" {
		t.Errorf("the address of nowhere is %q", address)
	}
}

// TestUserID logs in with an id and a name as they are, registering nothing.
func TestUserID(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	config.UserID = ann.ID
	done := dial(config)
	f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	d := await(t, done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	f.expect(proto.PathLogin)
	if d.client.User() != ann {
		t.Errorf("User() = %v, want %v", d.client.User(), ann)
	}
	shut(t, d.client)
	f.expect(proto.PathOffLine)
}

// TestFind asks for a name without registering it.
func TestFind(t *testing.T) {
	f := newFake(t, ticketOne)
	c, _ := f.logIn(f.config())
	user, err := c.Find(t.Context(), ann.Name)
	if err != nil || user != ann {
		t.Errorf("Find: %v, %v, want %v", user, err, ann)
	}
	if a := f.expect(proto.PathRegister); a.body["find"] != 1.0 || a.body["userName"] != ann.Name {
		t.Errorf("the route was asked %v, want that it only finds", a.body)
	}
	f.now(func() { f.codes[proto.PathRegister] = proto.CodeAccountMismatch })
	if _, err := c.Find(t.Context(), "nobody"); !errors.Is(err, ErrNoSuchUser) {
		t.Errorf("Find of an unknown name: %v, want ErrNoSuchUser", err)
	}
	f.expect(proto.PathRegister)
	f.now(func() { clear(f.codes) })
	if user, err := c.Register(t.Context(), ann.Name); err != nil || user != ann {
		t.Errorf("Register: %v, %v, want %v", user, err, ann)
	}
	if a := f.expect(proto.PathRegister); a.body["find"] != nil {
		t.Errorf("the route was asked %v, want that it registers", a.body)
	}
	if _, err := c.Find(t.Context(), " bad"); err == nil {
		t.Error("Find of a bad name: no error")
	}
}

// TestOnlineSelf: the list has the client's own user, whose session a route may not know yet.
func TestOnlineSelf(t *testing.T) {
	f := newFake(t, ticketOne)
	c, p := f.logIn(f.config())
	other := proto.User{ID: 7000, Name: "zoe"}
	c.user = other // which the fake route does not list
	users, err := c.Online(t.Context())
	if want := []proto.User{ann, {ID: 9, Name: "bob"}, other}; err != nil || !reflect.DeepEqual(users, want) {
		t.Errorf("Online() = %v, %v, want %v", users, err, want)
	}
	c.user = ann
	_ = p
}

// TestNamedErrors finds the errors that are named in what routes and servers
// answer, and no other.
func TestNamedErrors(t *testing.T) {
	named := []error{ErrNoSuchUser, ErrRepeatLogin, ErrReplaced, ErrNoServer, ErrBusy, ErrUnknown, ErrClosed, ErrGaveUp}
	for _, c := range []struct{ is, want error }{
		{&Refusal{Code: proto.CodeAccountMismatch}, ErrNoSuchUser},
		{&Refusal{Code: proto.CodeRepeatLogin}, ErrRepeatLogin},
		{&Refusal{Code: proto.CodeNoServer}, ErrNoServer},
		{&Refusal{Code: proto.CodeLimit}, ErrBusy},
		{&Refusal{Code: proto.CodeFailure}, nil},
		{&Ended{proto.ReasonReplaced}, ErrReplaced},
		{&Ended{proto.ReasonRepeatLogin}, ErrRepeatLogin},
		{&Ended{proto.ReasonAccountMismatch}, ErrNoSuchUser},
		{&Ended{proto.ReasonDraining}, nil},
		{Result{Outcome: proto.OutcomeFailed, Code: proto.CodeAccountMismatch}.Err(), ErrNoSuchUser},
		{Result{Outcome: proto.OutcomeBusy, Code: proto.CodeLimit}.Err(), ErrBusy},
	} {
		for _, name := range named {
			if errors.Is(fmt.Errorf("wrapped: %w", c.is), name) != (name == c.want) {
				t.Errorf("%v is %v: %t", c.is, name, name != c.want)
			}
		}
	}
	for _, good := range []proto.Outcome{proto.OutcomeDelivered, proto.OutcomeStored} {
		if err := (Result{Outcome: good}).Err(); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
}

// TestCheckNumbers refuses what lies past the bounds of a config, and both ways
// of receiving at once.
func TestCheckNumbers(t *testing.T) {
	good := Config{
		Routes: []string{"http://h:1"}, Name: "ann", UserID: 1, Workers: workersMax, Heartbeat: heartbeatMin, Retries: 1,
		Messages: make(chan Message),
	}
	if err := good.Check(); err != nil {
		t.Errorf("Check() = %v", err)
	}
	for name, spoil := range map[string]func(c *Config){
		"workers":   func(c *Config) { c.Workers = workersMax + 1 },
		"-1":        func(c *Config) { c.Workers = -1 },
		"heartbeat": func(c *Config) { c.Heartbeat = heartbeatMin - 1 },
		"retries":   func(c *Config) { c.Retries = -1 },
		"user id":   func(c *Config) { c.UserID = -1 },
		"OnMessage": func(c *Config) { c.OnMessage = func(Message) {} },
	} {
		bad := good
		spoil(&bad)
		if _, err := Dial(context.Background(), bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestHeartbeat settles the pause between pings, and what silence is borne.
func TestHeartbeat(t *testing.T) {
	for _, c := range []struct {
		dialect                       proto.Dialect
		says, wants, pause, heartbeat time.Duration
	}{
		{proto.DialectCIM, 30, 0, 10, 30},
		{proto.DialectCIM, 30, 4, 4, 30},
		{proto.DialectCIM, 30, 20, 10, 30},
		{proto.DialectV2, 30, 0, 10, 30},
		{proto.DialectV2, 30, 4, 4, 30},
		{proto.DialectV2, 30, 20, 20, 60},
	} {
		s := &session{dialect: c.dialect, heartbeat: c.says * time.Second, pause: c.wants * time.Second}
		s.settleHeartbeat()
		if s.pause != c.pause*time.Second || s.heartbeat != c.heartbeat*time.Second || s.info.Heartbeat != s.heartbeat {
			t.Errorf("%+v: a ping each %v, and %v of silence", c, s.pause, s.heartbeat)
		}
	}
}

// TestReconnect loses the connection: the next login shows the last ticket,
// and messages arrive again.
func TestReconnect(t *testing.T) {
	for _, lost := range []struct {
		name string
		how  func(p *peer)
	}{
		{"closed", (*peer).close},
		{"draining", func(p *peer) { p.write(proto.AppendClose(nil, proto.ReasonDraining)) }},
		{"lease", func(p *peer) { p.write(proto.AppendClose(nil, proto.ReasonLease)) }},
		{"malformed", func(p *peer) { p.write([]byte{0x01, 0xff}) }},
		{"too large", func(p *peer) { p.write([]byte{0xff, 0xff, 0xff, 0x7f}) }},
	} {
		t.Run(lost.name, func(t *testing.T) {
			f := newFake(t, ticketOne)
			config := f.config()
			seen := states(&config)
			c, p := f.logIn(config)
			lost.how(p)
			wantState(t, seen, StateReconnecting)
			if _, err := c.SendGroup(t.Context(), "now?"); !errors.Is(err, ErrNotConnected) {
				t.Errorf("SendGroup: %v, want ErrNotConnected", err)
			}
			if a := f.expect(proto.PathLogin); a.body["ticket"] != ticketOne {
				t.Errorf("login shows the ticket %v, want %s", a.body["ticket"], ticketOne)
			}
			p = f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
			wantState(t, seen, StateReady)
			go func() {
				p.write(proto.AppendOutcome(nil, p.read().MessageID, 0, proto.OutcomeDelivered, proto.CodeSuccess))
			}()
			if _, err := c.SendGroup(t.Context(), "now!"); err != nil {
				t.Errorf("SendGroup: %v", err)
			}
		})
	}
}

// TestFinal ends the client for good when it must not come back.
func TestFinal(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	seen := states(&config)
	c, p := f.logIn(config)
	p.write(proto.AppendClose(nil, proto.ReasonReplaced))
	wantState(t, seen, StateClosed)
	await(t, c.Done())
	var ended *Ended
	if !errors.As(c.Err(), &ended) || ended.Reason != proto.ReasonReplaced {
		t.Errorf("Err: %v, want the reason replaced", c.Err())
	}
	shut(t, c)
	if len(f.asked) != 0 {
		t.Errorf("the route was asked %v; the user's session is another's now", await(t, f.asked))
	}
}

// TestCloseAway closes while the connection is lost: no state is reported for that.
func TestCloseAway(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	seen := states(&config)
	c, p := f.logIn(config)
	p.close()
	wantState(t, seen, StateReconnecting)
	f.expect(proto.PathLogin)
	shut(t, c)
	select {
	case s := <-seen:
		t.Errorf("state %v after Close", s)
	default:
	}
}

// TestCloseAwayReads closes a client while it logs in again: messages that arrive with the login
// are passed, and the server gets a goodbye.
func TestCloseAwayReads(t *testing.T) {
	const texts = 100
	f := newFake(t, ticketOne)
	config := f.config()
	got := make(chan Message, texts)
	config.OnMessage = func(m Message) { got <- m }
	c, p := f.logIn(config)
	f.now(func() { f.ticket = ticketTwo })
	p.close()
	f.expect(proto.PathLogin)
	next := await(t, f.conns)
	t.Cleanup(func() { _ = next.conn.Close() })
	next.read()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		shut(t, c)
	}()
	for !c.outbox.isClosed() { // Close has started
		runtime.Gosched()
	}
	frames := proto.AppendLoginAnswer(nil, proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	for i := range texts {
		body := proto.AppendBody(nil, proto.MessageFrom(proto.CommandOffline, ann, proto.TextID(i+1), []string{fmt.Sprint(i)}))
		frames = proto.AppendDelivery(frames, body, ann.ID)
	}
	next.write(frames)
	await(t, closed)
	if len(got) != texts {
		t.Errorf("%d messages, want %d", len(got), texts)
	}
	if bye := f.expect(proto.PathOffLine); bye.body["ticket"] != ticketTwo {
		t.Errorf("goodbye shows the ticket %v, want the new one", bye.body["ticket"])
	}
}
