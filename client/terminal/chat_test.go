package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"cim/client"
	"cim/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNetwork gives the answers that a test sets.
type fakeNetwork struct {
	send   func(receiver proto.UserID, text string) (client.Result, error)
	ids    []proto.TextID // of texts sent to one user
	users  []proto.User
	broken error         // of Online and Find
	asked  chan struct{} // Online waits for it; nil: it does not
	done   chan struct{}
}

func (f *fakeNetwork) SendWith(_ context.Context, receiver proto.UserID, text string, options client.SendOptions) (client.Result, error) {
	f.ids = append(f.ids, options.ID)
	return f.send(receiver, text)
}

func (f *fakeNetwork) SendGroup(_ context.Context, text string) (client.Result, error) {
	return f.send(0, text)
}

func (f *fakeNetwork) Online(context.Context) ([]proto.User, error) {
	if f.asked != nil {
		<-f.asked
	}
	return f.users, f.broken
}

func (f *fakeNetwork) Find(_ context.Context, name string) (proto.User, error) {
	for _, u := range f.users {
		if u.Name == name {
			return u, f.broken
		}
	}
	return proto.User{}, errors.Join(f.broken, client.ErrNoSuchUser)
}

func (f *fakeNetwork) User() proto.User          { return proto.User{ID: 7, Name: "ann"} }
func (f *fakeNetwork) Server() client.ServerInfo { return client.ServerInfo{} }
func (f *fakeNetwork) Done() <-chan struct{}     { return f.done }

var delivered = client.Result{Outcome: proto.OutcomeDelivered, Code: proto.CodeSuccess}

// newTestChat is a chat whose messages are all delivered.
func newTestChat() (*terminal, *fakeNetwork) {
	chat := newTerminal(Config{})
	network := &fakeNetwork{
		users: []proto.User{{ID: 9, Name: "bob"}, {ID: 10, Name: "boris"}},
		done:  make(chan struct{}),
		send:  func(proto.UserID, string) (client.Result, error) { return delivered, nil },
	}
	chat.network = network
	return chat, network
}

// run runs a chat on lines in a pipe, and returns what it shows after the
// first line.
func run(t *testing.T, chat *terminal, lines ...string) string {
	t.Helper()
	var out bytes.Buffer
	chat.display = &pipe{in: strings.NewReader(strings.Join(lines, "\n")), out: &out}
	if err := chat.chat(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(out.String(), "\n")
	if first != "logged in as ann (7), :all shows the commands" {
		t.Errorf("it begins with %q", first)
	}
	return rest
}

// TestAnswers has what each line gets in a pipe.
func TestAnswers(t *testing.T) {
	for line, want := range map[string]string{
		"":                      "",
		"hello":                 "+ to everyone: delivered\n",
		"9;;hi":                 "+ to 9: delivered\n",
		"bob;;hi":               "+ to bob: delivered\n",
		"carl;;hi":              "! to carl: not sent: no user has this name\n",
		":olu":                  "2 online\n  bob (9)\n  boris (10)\n",
		":pu bor":               "1 of 2 online are called bor...\n  boris (10)\n",
		":q x":                  "! there is no history folder to search\n",
		":all":                  commands + "\n",
		":fo\x1bo":              "unknown command :fo\ufffdo\n" + commands + "\n",
		":again":                "nothing has failed\n",
		":ai\n你好吗?\n:qai\nyou?": "AI 上线了，有什么想问我的吗？\nAI: 我好!\nAI 下线了，下次再聊！\n+ to everyone: delivered\n",
		":q!\nhello":            "",
		":info":                 "name     ann\nid       7\nroute    \nserver    (connected)\nhistory  none\n",
	} {
		chat, _ := newTestChat()
		if got := run(t, chat, line); got != want {
			t.Errorf("%q gets %q, want %q", line, got, want)
		}
	}
}

// TestLeftOut: a chat shows how many group messages it missed.
func TestLeftOut(t *testing.T) {
	chat, _ := newTestChat()
	chat.showLeftOut(1)
	chat.showLeftOut(12)
	chat.early.over()
	const want = "! 1 message to everyone was left out: this chat read too slowly\n! 12 messages to everyone were left out: this chat read too slowly\n"
	if got := run(t, chat, ":q!"); got != want {
		t.Errorf("it shows %q", got)
	}
}

// TestFailures: each way in which a message or a question fails.
func TestFailures(t *testing.T) {
	result := func(o proto.Outcome, c proto.Code) func() (client.Result, error) {
		return func() (client.Result, error) { return client.Result{Outcome: o, Code: c}, nil }
	}
	fault := func(err error) func() (client.Result, error) {
		return func() (client.Result, error) { return client.Result{}, err }
	}
	for _, c := range []struct {
		send  func() (client.Result, error)
		want  string
		again bool
	}{
		{result(proto.OutcomeStored, proto.CodeOffline), "~ to 9: not received yet, kept for later", false},
		{result(proto.OutcomeBusy, proto.CodeLimit), "! to 9: not sent, the server is busy", true},
		{result(proto.OutcomeFailed, proto.CodeOfflineStore), "! to 9: not sent: not online, and not kept for later: too many messages may wait there already", true},
		{result(proto.OutcomeFailed, proto.CodeAccountMismatch), "! to 9: not sent: no such user", false},
		{fault(fmt.Errorf("%w: x", client.ErrUnknown)), "! to 9: not certain: the message may have arrived or not", true},
		{fault(client.ErrClosed), "! to 9: not sent, the session has ended", false},
		{fault(errors.New("client: \x1bx")), "! to 9: not sent: \ufffdx", true},
	} {
		chat, network := newTestChat()
		network.send = func(proto.UserID, string) (client.Result, error) { return c.send() }
		want := c.want + "\n"
		if c.again {
			want = c.want + "; :again sends it again\n"
		}
		if got := run(t, chat, "9;;hi"); got != want {
			t.Errorf("shown %q, want %q", got, want)
		}
	}
	chat, network := newTestChat()
	network.broken = io.ErrUnexpectedEOF
	want := "! who is online is not known: unexpected EOF\n! to bob: not sent: unexpected EOF; :again sends it again\n"
	if got := run(t, chat, ":olu", "bob;;hi"); got != want {
		t.Errorf("without a route it shows %q", got)
	}
}

// TestAgain sends failed messages in order, each once.
func TestAgain(t *testing.T) {
	chat, network := newTestChat()
	var sent []string
	broken := true
	network.send = func(_ proto.UserID, text string) (client.Result, error) {
		sent = append(sent, text)
		if broken = broken && text != "works"; broken {
			return client.Result{}, client.ErrBusy
		}
		return delivered, nil
	}
	said := run(t, chat, "one", "two", ":again", "works", ":again", ":again")
	if want := []string{"one", "two", "one", "two", "works", "one", "two"}; !slices.Equal(sent, want) {
		t.Errorf("sent %q, want %q", sent, want)
	}
	if !strings.HasSuffix(said, "nothing has failed\n") {
		t.Errorf("it says %q", said)
	}
	chat, network = newTestChat()
	network.send = func(proto.UserID, string) (client.Result, error) { return client.Result{}, client.ErrBusy }
	said = run(t, chat, slices.Repeat([]string{"x"}, waitingMax+1)...)
	if strings.Count(said, ":again sends it again") != waitingMax || !strings.HasSuffix(said, "too many have failed to keep it for :again\n") {
		t.Errorf("behind %d failures it says %q", waitingMax, said[len(said)-100:])
	}
}

// TestConnectionLost holds messages back while there is no connection, sends
// them in their order when there is, and gives up at a bound.
func TestConnectionLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chat, network := newTestChat()
		lost := true // and not reported yet
		network.send = func(proto.UserID, string) (client.Result, error) {
			if lost {
				return client.Result{}, client.ErrNotConnected
			}
			return delivered, nil
		}
		go func() {
			<-chat.started
			time.Sleep(time.Second)
			chat.changed(client.StateReconnecting, io.EOF)
			time.Sleep(time.Second)
			lost = false
			chat.changed(client.StateReady, nil)
		}()
		chat.early.over()
		want := "! connection lost, connecting again: the server has closed it\n" +
			"---- connected again, away for 1s; below is what was missed, of private messages only ----\n+ to everyone: delivered\n"
		if got := run(t, chat, "held back"); got != want {
			t.Errorf("it shows %q", got)
		}

		chat, _ = newTestChat()
		chat.connection.down(time.Now())
		start := time.Now()
		if got := run(t, chat, "x"); got != "! to everyone: not sent, there is no connection; :again sends it again\n" {
			t.Errorf("it shows %q", got)
		}
		if waited := time.Since(start); waited != connectMax {
			t.Errorf("a message waits %v for a connection, want %v", waited, connectMax)
		}
	})
}

// TestDelay sends when it is time, later if there is no connection then, and
// has a pipe wait for it.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chat, network := newTestChat()
		start := time.Now()
		var sent []string
		network.send = func(receiver proto.UserID, text string) (client.Result, error) {
			sent = append(sent, fmt.Sprintf("%d %s after %v", receiver, text, time.Since(start)))
			return delivered, nil
		}
		go func() {
			time.Sleep(4 * time.Second)
			chat.connection.down(time.Now())
			time.Sleep(56*time.Second + 2*connectMax)
			chat.connection.back()
		}()
		said := run(t, chat, ":delay bob;;second 60", ":delay first 2", "now")
		if want := []string{"0 now after 0s", "0 first after 2s", "9 second after 2m0s"}; !slices.Equal(sent, want) {
			t.Errorf("sent %q, want %q", sent, want)
		}
		if !strings.HasPrefix(said, "goes to bob in 60 s\ngoes to everyone in 2 s\n+ to everyone") {
			t.Errorf("it says %q", said)
		}

		chat, _ = newTestChat()
		said = run(t, chat, append(slices.Repeat([]string{":delay x 5"}, delayedMax+1), ":q!")...)
		if want := "! not sent: 100 messages are delayed already\n! 100 messages were not sent\n"; !strings.HasSuffix(said, want) {
			t.Errorf("behind too many it says %q", said)
		}
	})
}

// heldDisplay is a terminal at which line after line is typed.
type heldDisplay struct {
	pipe
	lines chan string
}

func (d *heldDisplay) read(ctx context.Context, lines chan<- string) error {
	for {
		select {
		case line, more := <-d.lines:
			if !more {
				return nil
			}
			lines <- line
		case <-ctx.Done():
			return nil
		}
	}
}

// TestTypingGoesOn takes lines while a message waits for its outcome, up to a bound, and sends them
// in order; answers to others do not wait. :q! waits for a moment, and shows what was not sent.
func TestTypingGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chat, network := newTestChat()
		chat.interactive = true
		goOn := make(chan struct{})
		var mu sync.Mutex
		var sent []string
		network.send = func(_ proto.UserID, text string) (client.Result, error) {
			<-goOn
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, text)
			return delivered, nil
		}
		var out bytes.Buffer
		display := &heldDisplay{pipe: pipe{out: &out}, lines: make(chan string)}
		chat.display = display
		ended := make(chan error)
		go func() { ended <- chat.chat(t.Context()) }()
		synctest.Wait()
		if names := chat.people.list(); len(names) != 2 {
			t.Errorf("before the first Tab the names %q are known", names)
		}
		for i := range waitingMax + 1 { // one of them is on its way
			display.lines <- fmt.Sprint(i)
			synctest.Wait()
		}
		display.lines <- "one too many"
		display.lines <- ":olu"
		synctest.Wait()
		if said := out.String(); !strings.Contains(said, "! to everyone: not sent, 256 others wait already; try again later\n2 online") {
			t.Errorf("it says %q", said)
		}
		goOn <- struct{}{}
		goOn <- struct{}{}
		synctest.Wait()
		go func() {
			time.Sleep(goodbyeMax + time.Second)
			close(goOn)
		}()
		display.lines <- ":q!"
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if len(sent) != 3 || sent[0] != "0" || sent[2] != "2" {
			t.Errorf("sent %q", sent)
		}
		if said := out.String(); !strings.HasSuffix(said, "! 254 messages were not sent\n") {
			t.Errorf("it ends with %q", said[len(said)-100:])
		}
	})
}

// TestPaste matches outcomes to lines that came faster than they were sent: all outcomes but the
// last show how their text starts.
func TestPaste(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chat, network := newTestChat()
		chat.interactive = true
		goOn := make(chan client.Result)
		network.send = func(proto.UserID, string) (client.Result, error) { return <-goOn, nil }
		var out bytes.Buffer
		display := &heldDisplay{pipe: pipe{out: &out}, lines: make(chan string)}
		chat.display = display
		ended := make(chan error)
		go func() { ended <- chat.chat(t.Context()) }()
		for _, line := range []string{"12345678901234567890", "bob;;123456789012345678901", "bob;;\x1b:beer:", "last"} {
			display.lines <- line
		}
		synctest.Wait()
		out.Reset()
		goOn <- delivered
		goOn <- client.Result{Outcome: proto.OutcomeStored, Code: proto.CodeOffline}
		goOn <- client.Result{Outcome: proto.OutcomeBusy, Code: proto.CodeLimit}
		goOn <- delivered
		synctest.Wait()
		display.lines <- ":again"
		goOn <- delivered
		display.lines <- ":q!"
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want := "+ to everyone, “12345678901234567890”: delivered\n" +
			"~ to bob, “12345678901234567890…”: not received yet, kept for later\n" +
			"! to bob, “\ufffd🍺”: not sent, the server is busy; :again sends it again\n" +
			"+ to everyone: delivered\n" +
			"+ to bob, “\ufffd🍺”: delivered\n"
		if got := out.String(); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	})
}

// TestQuestionsWait refuses a question behind too many that wait, and sends
// messages meanwhile.
func TestQuestionsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chat, network := newTestChat()
		chat.interactive = true
		network.asked = make(chan struct{})
		var out bytes.Buffer
		display := &heldDisplay{pipe: pipe{out: &out}, lines: make(chan string)}
		chat.display = display
		ended := make(chan error)
		go func() { ended <- chat.chat(t.Context()) }()
		synctest.Wait() // the names for Tab are asked for
		for range askingMax {
			display.lines <- ":olu"
		}
		synctest.Wait()
		if said := out.String(); strings.Contains(said, "not done") {
			t.Errorf("up to the bound it says %q", said)
		}
		display.lines <- ":olu"
		display.lines <- "hello"
		synctest.Wait()
		if said := out.String(); !strings.HasSuffix(said, "! not done, 16 others wait already; try again later\n+ to everyone: delivered\n") {
			t.Errorf("past the bound it says %q", said)
		}
		close(network.asked)
		display.lines <- ":q!"
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestEarly shows what came before the login was over once it can be shown,
// up to its bound.
func TestEarly(t *testing.T) {
	chat, _ := newTestChat()
	for i := range earlyMax + 2 {
		chat.arrived(client.Message{Sender: proto.User{ID: 9, Name: "bob"}, Text: fmt.Sprint(i)})
	}
	chat.early.over()
	said := run(t, chat)
	if !strings.HasPrefix(said, "bob (9): 0\nbob (9): 1\n") || strings.Count(said, "bob") != earlyMax {
		t.Errorf("it shows %q", said)
	}
	if !strings.HasSuffix(said, "! 2 messages came before the login and were too many to be kept\n") {
		t.Errorf("it ends with %q", said[len(said)-100:])
	}
}

// TestLost says why a connection ended.
func TestLost(t *testing.T) {
	for want, err := range map[string]error{
		"the server has closed it":           fmt.Errorf("client: connection: %w", io.EOF),
		"the server is going down":           &client.Ended{Reason: proto.ReasonDraining},
		"the server ended the session: slow": &client.Ended{Reason: proto.ReasonSlow},
		"connection: unexpected EOF":         fmt.Errorf("client: connection: %w", io.ErrUnexpectedEOF),
	} {
		if got := lost(err); got != want {
			t.Errorf("lost(%v) = %q, want %q", err, got, want)
		}
	}
}

// TestPlain says why a session ends for good.
func TestPlain(t *testing.T) {
	other := &client.Refusal{Code: proto.CodeNoServer}
	for _, c := range []struct {
		err  error
		want string
	}{
		{&client.Ended{Reason: proto.ReasonReplaced}, "ann logged in elsewhere; this chat ends"},
		{&client.Ended{Reason: proto.ReasonEnded}, "the session of ann was ended; this chat ends"},
		{&client.Ended{Reason: proto.ReasonKicked}, "an operator has ended the session of ann; this chat ends"},
		{&client.Ended{Reason: proto.ReasonRepeatLogin}, "ann is already logged in elsewhere"},
		{errors.Join(&client.Refusal{Code: proto.CodeRepeatLogin}), "ann is already logged in elsewhere"},
		{&client.Refusal{Code: proto.CodeAccountMismatch}, "no account has this id and the name ann"},
		{other, other.Error()},
	} {
		if got := plain("ann", c.err); got == nil || got.Error() != c.want {
			t.Errorf("plain(%v) = %v, want %q", c.err, got, c.want)
		}
	}
	if err := plain("ann", nil); err != nil {
		t.Errorf("plain(nil) = %v", err)
	}
}

// TestPipeFault keeps the first error of the output and writes no more.
func TestPipeFault(t *testing.T) {
	r, w := io.Pipe()
	broken := errors.New("broken")
	if err := r.CloseWithError(broken); err != nil {
		t.Fatal(err)
	}
	p := &pipe{out: w}
	p.show("one")
	p.show("two")
	if err := p.close(); !errors.Is(err, broken) {
		t.Errorf("close() = %v, want the output's", err)
	}
}
