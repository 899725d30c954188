package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"cim/proto"
)

const (
	ticketOne = "000102030405060708090a0b0c0d0e0f"
	ticketTwo = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
)

// states is a config's OnState that can be waited for.
func states(config *Config) <-chan State {
	seen := make(chan State, 100)
	config.OnState = func(s State, _ error) { seen <- s }
	return seen
}

func wantState(t *testing.T, seen <-chan State, want State) {
	t.Helper()
	if got := await(t, seen); got != want {
		t.Fatalf("state %v, want %v", got, want)
	}
}

// TestLogin reads what a client of ours says to a route and a server of ours,
// from its registration to its goodbye.
func TestLogin(t *testing.T) {
	f := newFake(t, ticketOne)
	done := dial(f.config())
	if a := f.expect(proto.PathRegister); a.body["userName"] != ann.Name {
		t.Errorf("register %v, want ann's name", a.body)
	}
	a := f.expect(proto.PathLogin)
	want := map[string]any{"userId": float64(ann.ID), "userName": ann.Name, "client": float64(1)}
	if !reflect.DeepEqual(a.body, want) {
		t.Errorf("login %v, want %v", a.body, want)
	}
	p := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	if got := fmt.Sprintf("%x", p.view.Ticket); got != ticketOne {
		t.Errorf("login frame shows the ticket %s, want the route's", got)
	}
	if string(p.view.Text) != ann.Name {
		t.Errorf("login frame names %q, want %q", p.view.Text, ann.Name)
	}
	d := await(t, done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	if d.client.User() != ann {
		t.Errorf("User() = %v, want %v", d.client.User(), ann)
	}
	shut(t, d.client)
	p.ended()
	bye := f.expect(proto.PathOffLine)
	want = map[string]any{"userId": float64(ann.ID), "msg": proto.GoodbyeMsg, "ticket": ticketOne}
	if !reflect.DeepEqual(bye.body, want) {
		t.Errorf("goodbye %v, want %v", bye.body, want)
	}
	if _, err := d.client.SendGroup(t.Context(), "late"); !errors.Is(err, ErrClosed) {
		t.Errorf("SendGroup after Close: %v, want ErrClosed", err)
	}
}

// TestLoginRefused ends Dial with what the route or the server said.
func TestLoginRefused(t *testing.T) {
	t.Run("route", func(t *testing.T) {
		f := newFake(t, ticketOne)
		f.codes[proto.PathLogin] = proto.CodeRepeatLogin
		var refusal *Refusal
		if d := await(t, dial(f.config())); !errors.As(d.err, &refusal) || refusal.Code != proto.CodeRepeatLogin {
			t.Errorf("Dial: %v, want code 5000", d.err)
		}
	})
	t.Run("server", func(t *testing.T) {
		f := newFake(t, ticketOne)
		done := dial(f.config())
		f.takeLogin(proto.LoginAnswer{Reason: proto.ReasonFull}).ended()
		var ended *Ended
		if d := await(t, done); !errors.As(d.err, &ended) || ended.Reason != proto.ReasonFull {
			t.Errorf("Dial: %v, want the reason full", d.err)
		}
	})
}

// TestRoutes logs in at the second route when the first is not there, and
// when it has no server.
func TestRoutes(t *testing.T) {
	t.Run("down", func(t *testing.T) {
		f := newFake(t, ticketOne)
		config := f.config()
		config.Routes = []string{"http://" + unused(t), f.http.URL + "/"}
		f.logIn(config)
	})
	t.Run("refuses", func(t *testing.T) {
		poor, f := newFake(t, ticketOne), newFake(t, ticketOne)
		poor.codes[proto.PathLogin] = proto.CodeNoServer
		config := f.config()
		config.Routes = []string{poor.http.URL, f.http.URL}
		done := dial(config)
		f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
		d := await(t, done)
		if d.err != nil {
			t.Fatal(d.err)
		}
		shut(t, d.client)
		f.expect(proto.PathLogin) // the first one has told the id
	})
}

// TestRoutesOnce asks each of several routes once, whatever becomes of it.
func TestRoutesOnce(t *testing.T) {
	config := Config{Name: ann.Name}
	var poor []*fake
	for range 3 {
		f := newFake(t, ticketOne)
		f.codes[proto.PathLogin] = proto.CodeNoServer
		poor = append(poor, f)
		config.Routes = append(config.Routes, "http://"+unused(t), f.http.URL)
	}
	_, err := Dial(t.Context(), config)
	if !errors.Is(err, ErrNoServer) {
		t.Fatalf("Dial: %v, want ErrNoServer", err)
	}
	if tries := strings.Count(err.Error(), "refused"); tries != 3 {
		t.Errorf("%d connects to routes that are down, want 3: %v", tries, err)
	}
	poor[0].expect(proto.PathRegister)
	for i, f := range poor {
		f.expect(proto.PathLogin)
		if len(f.asked) != 0 {
			t.Errorf("route %d was asked more than once", i)
		}
	}
}

// TestNoRoute says that a URL is of something else than a route.
func TestNoRoute(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	_, err := Dial(t.Context(), Config{Routes: []string{other.URL}, Name: ann.Name})
	if err == nil || !strings.Contains(err.Error(), other.URL) || !strings.Contains(err.Error(), "not of a cim route: HTTP status 404") {
		t.Errorf("Dial: %v, want it to say that this is no route", err)
	}
}

// TestUnanswered says of a route that does not answer which it is and why, as a
// person would.
func TestUnanswered(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Close()
	}))
	defer silent.Close()
	down := "http://" + unused(t)
	for route, why := range map[string]string{
		down: "connection refused: is it running there?", silent.URL: "it closed the connection",
		strings.Replace(silent.URL, "http", "https", 1): "http: server gave HTTP response to HTTPS client",
	} {
		_, err := Dial(t.Context(), Config{Routes: []string{route}, Name: ann.Name})
		if want := "client: the route " + route + " does not answer: " + why; err == nil || err.Error() != want {
			t.Errorf("Dial: %v, want %q", err, want)
		}
	}
	for want, err := range map[string]error{
		"invalid port":       &url.Error{Op: "Get", URL: "http://x", Err: &net.OpError{Op: "dial", Err: errors.New("invalid port")}},
		"no such host":       &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "x", Server: "192.0.2.1"}},
		"it took too long":   &url.Error{Op: "Post", URL: "http://x", Err: context.DeadlineExceeded},
		"context canceled":   &url.Error{Op: "Post", URL: "http://x", Err: context.Canceled},
		"something is wrong": errors.New("something is wrong"),
	} {
		fault := unanswered{"the route http://x", err}
		if got := fault.Error(); got != "the route http://x does not answer: "+want || !errors.Is(fault, err) {
			t.Errorf("%v: %s", err, got)
		}
	}
}

// TestCloseAway closes while the connection is lost: no state is told of that.
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

// unused is an address that nobody listens on.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// TestMessages brings private, group and stored messages, in their order, one
// call for each text, and torn at every byte.
func TestMessages(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	got := make(chan Message, 100)
	config.OnMessage = func(m Message) { got <- m }
	_, p := f.logIn(config)
	bob := proto.User{ID: 9, Name: "bob"}
	live := proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, bob, 0, []string{"one"}))
	stored := proto.AppendBody(nil, proto.MessageFrom(proto.CommandOffline, bob, 0, []string{"two", "three"}))
	stream := proto.AppendDelivery(nil, live, ann.ID)
	stream = append(stream, proto.Pong...)
	stream = proto.AppendDelivery(stream, stored, ann.ID)
	for i := range stream {
		p.write(stream[i : i+1])
	}
	for _, want := range []Message{{0, bob, "one", false}, {0, bob, "two", true}, {0, bob, "three", true}} {
		if m := await(t, got); m != want {
			t.Errorf("message %+v, want %+v", m, want)
		}
	}
}

// TestSend pairs each message with its outcome, whatever their order.
func TestSend(t *testing.T) {
	f := newFake(t, ticketOne)
	c, p := f.logIn(f.config())
	type sent struct {
		result Result
		err    error
	}
	group, private := make(chan sent, 1), make(chan sent, 1)
	go func() {
		r, err := c.SendGroup(t.Context(), "to all")
		group <- sent{r, err}
	}()
	first := *p.read()
	if first.Command != proto.CommandSend || first.Receiver != 0 || string(first.Text) != "to all" {
		t.Errorf("group message %+v", first)
	}
	go func() {
		r, err := c.Send(t.Context(), 9, "to bob")
		private <- sent{r, err}
	}()
	second := *p.read()
	if second.Command != proto.CommandSend || second.Receiver != 9 || string(second.Text) != "to bob" {
		t.Errorf("private message %+v", second)
	}
	p.write(proto.AppendOutcome(nil, second.MessageID, 77, proto.OutcomeStored, proto.CodeOffline))
	if s := await(t, private); s.err != nil || s.result != (Result{Outcome: proto.OutcomeStored, Code: proto.CodeOffline, ID: 77}) {
		t.Errorf("private: %+v, want stored", s)
	}
	p.write(proto.AppendOutcome(nil, first.MessageID, 0, proto.OutcomeDelivered, proto.CodeSuccess))
	if s := await(t, group); s.err != nil || s.result != (Result{Outcome: proto.OutcomeDelivered, Code: proto.CodeSuccess}) {
		t.Errorf("group: %+v, want delivered", s)
	}
}

// TestSendRefused refuses before anything is sent what no server takes.
func TestSendRefused(t *testing.T) {
	f := newFake(t, ticketOne)
	c, p := f.logIn(f.config())
	for text, want := range map[string]string{
		strings.Repeat("x", proto.TextMax+1): "want at most", "\xff": "not valid UTF-8",
	} {
		if _, err := c.SendGroup(t.Context(), text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("SendGroup of %d bytes: %v, want %q", len(text), err, want)
		}
	}
	if _, err := c.Send(t.Context(), 0, "hi"); err == nil {
		t.Error("Send to nobody: no error")
	}
	edge := strings.Repeat("x", proto.TextMax)
	go func() {
		frame := p.read()
		p.write(proto.AppendOutcome(nil, frame.MessageID, 0, proto.OutcomeDelivered, proto.CodeSuccess))
	}()
	if _, err := c.SendGroup(t.Context(), edge); err != nil {
		t.Errorf("SendGroup of %d bytes: %v", len(edge), err)
	}
}

// TestOutcomesBound fills the places for outcomes, and asks for one more.
func TestOutcomesBound(t *testing.T) {
	s := &session{outcomes: map[uint64]chan Result{}}
	for i := range outcomesMax {
		if _, outcome := s.expect(); outcome == nil {
			t.Fatalf("no place for message %d of %d", i+1, outcomesMax)
		}
	}
	if _, outcome := s.expect(); outcome != nil {
		t.Error("a place for one more")
	}
	s.forget(1)
	if _, outcome := s.expect(); outcome == nil {
		t.Error("no place after one became free")
	}
}

// TestOutcomeTwice takes the first outcome that a server sends for a message
// and no other.
func TestOutcomeTwice(t *testing.T) {
	s := &session{outcomes: map[uint64]chan Result{}}
	id, outcome := s.expect()
	first := Result{Outcome: proto.OutcomeDelivered, Code: proto.CodeSuccess}
	s.resolve(id, first)
	s.resolve(id, Result{Outcome: proto.OutcomeFailed, Code: proto.CodeFailure})
	s.resolve(id+1, first)
	if got := <-outcome; got != first {
		t.Errorf("outcome %+v, want the first, %+v", got, first)
	}
}

// TestUnknown ends the connection while a message is out.
func TestUnknown(t *testing.T) {
	f := newFake(t, ticketOne)
	c, p := f.logIn(f.config())
	result := make(chan error, 1)
	go func() {
		_, err := c.SendGroup(t.Context(), "hello?")
		result <- err
	}()
	p.read()
	p.close()
	if err := await(t, result); !errors.Is(err, ErrUnknown) {
		t.Errorf("SendGroup: %v, want ErrUnknown", err)
	}
}

// TestSendDeadline gives up with the caller's context.
func TestSendDeadline(t *testing.T) {
	f := newFake(t, ticketOne)
	c, _ := f.logIn(f.config())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := c.SendGroup(ctx, "hello?")
	if !errors.Is(err, ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("SendGroup: %v, want ErrUnknown and the context's error", err)
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

// TestFinalReasons holds the choice of who comes back against the protocol's.
func TestFinalReasons(t *testing.T) {
	for reason := range proto.Reason(proto.ReasonCount) {
		if final(&Ended{reason}) == reason.Returns() {
			t.Errorf("final(%s) = %t", reason, !reason.Returns())
		}
	}
	for code, want := range map[proto.Code]bool{
		proto.CodeRepeatLogin: true, proto.CodeAccountMismatch: true, proto.CodeInvalid: true,
		proto.CodeNoServer: false, proto.CodeLimit: false, proto.CodeFailure: false,
	} {
		if final(&Refusal{Code: code}) != want {
			t.Errorf("final(code %s) = %t", code, !want)
		}
	}
}

// TestSilence leaves a server that does not answer pings any more, and pings
// before that.
func TestSilence(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	seen := states(&config)
	done := dial(config)
	p := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 1})
	d := await(t, done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	defer shut(t, d.client)
	began := time.Now()
	if ping := p.read(); ping.Command != proto.CommandPing {
		t.Errorf("an idle client sends %+v, want a ping", ping)
	}
	wantState(t, seen, StateReconnecting)
	if bore := time.Since(began); bore >= loginMax {
		t.Errorf("the client bore %v of silence, want its heartbeat of 1s", bore)
	}
}

// TestJitter walks the pauses up to their bound.
func TestJitter(t *testing.T) {
	for i, most := range []time.Duration{1, 2, 4, 8, 15, 15} {
		most *= time.Second
		if pause := (Config{}).pause(i + 1); pause < 0 || pause >= most {
			t.Errorf("pause %v before attempt %d, want less than %v", pause, i+1, most)
		}
		if got := longest(i + 1); got != most {
			t.Errorf("the longest pause before attempt %d is %v, want %v", i+1, got, most)
		}
	}
	if got := longest(1 << 40); got != pauseMax {
		t.Errorf("the longest pause after many is %v, want %v", got, pauseMax)
	}
}

// TestOnline lists who is online.
func TestOnline(t *testing.T) {
	f := newFake(t, ticketOne)
	c, _ := f.logIn(f.config())
	users, err := c.Online(t.Context())
	if want := []proto.User{ann, {ID: 9, Name: "bob"}}; err != nil || !reflect.DeepEqual(users, want) {
		t.Errorf("Online() = %v, %v, want %v", users, err, want)
	}
}

// TestCheck reports all faults of a config at once.
func TestCheck(t *testing.T) {
	err := Config{Routes: []string{"127.0.0.1:8083", "ftp://x"}, Name: " ann"}.Check()
	for _, want := range []string{`"127.0.0.1:8083"`, `"ftp://x"`, `" ann"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check() = %v, want it to name %s", err, want)
		}
	}
	if err := (Config{Name: "ann"}).Check(); err == nil {
		t.Error("Check() without a route: no error")
	}
	if err := (Config{Routes: []string{"http://h:1"}, Name: "ann"}).Check(); err != nil {
		t.Errorf("Check() = %v", err)
	}
}

// TestSlowListener lets more messages arrive than may wait; none is lost, and
// the outcome behind them comes once they are taken.
func TestSlowListener(t *testing.T) {
	const texts = 2*eventsMax + 10
	f := newFake(t, ticketOne)
	config := f.config()
	release, got := make(chan struct{}), make(chan string, texts)
	config.OnMessage = func(m Message) { <-release; got <- m.Text }
	_, p := f.logIn(config)
	for i := range texts {
		m := proto.MessageFrom(proto.CommandMessage, ann, 0, []string{fmt.Sprint(i)})
		p.write(proto.AppendDelivery(nil, proto.AppendBody(nil, m), ann.ID))
	}
	close(release)
	for i := range texts {
		if text := await(t, got); text != fmt.Sprint(i) {
			t.Fatalf("message %q, want %d", text, i)
		}
	}
}

// TestLargeFrame reads a frame as large as any, and keeps no buffer for it.
func TestLargeFrame(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	body := proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, ann, 1, []string{
		strings.Repeat("x", proto.TextMax), strings.Repeat("y", proto.FrameMax-proto.TextMax-1024),
	}))
	large := proto.AppendDelivery(nil, body, ann.ID)
	wrote := make(chan error, 1)
	go func() {
		_, err := theirs.Write(append(large, proto.Pong...))
		wrote <- errors.Join(err, theirs.Close())
	}()
	f := frames{conn: ours, silenceMax: waitMax}
	if frame, err := f.next(); err != nil || len(frame) < len(large)-5 {
		t.Fatalf("%d bytes, %v", len(frame), err)
	}
	if frame, err := f.next(); err != nil || string(frame) != proto.Pong[1:] {
		t.Errorf("behind it comes %q, %v", frame, err)
	}
	if _, err := f.next(); err == nil || len(f.buf) != readSize {
		t.Errorf("%v with a buffer of %d bytes, want the end with %d", err, len(f.buf), readSize)
	}
	if err := await(t, wrote); err != nil {
		t.Error(err)
	}
}

// TestRoutesRest finds no connection to a route open after a login.
func TestRoutesRest(t *testing.T) {
	f := newFake(t, ticketOne)
	f.logIn(f.config())
	began := time.Now()
	for f.open.Load() != 0 {
		await(t, f.closed)
	}
	if took := time.Since(began); took >= idleMax {
		t.Errorf("closed after %v, as any that nobody uses", took)
	}
}
