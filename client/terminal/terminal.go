// Package terminal is the line client of cim chat: a line of its input is a
// message or a command, what arrives becomes lines of its output.
//
// One goroutine reads the input, and the client's own one writes what arrives;
// a lock keeps their lines apart. It shows no control character that somebody
// else sent, and keeps no history.
package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"cim/client"
	"cim/proto"
)

// goodbyeMax bounds what whoever leaves has to wait for.
const goodbyeMax = 2 * time.Second

// Run logs in and chats until in ends, somebody types :q!, ctx ends, or the
// user cannot be logged in any more, which is an error. It says goodbye then,
// if it can within goodbyeMax. If in blocks, the
// goroutine that reads it ends with its next line.
func Run(ctx context.Context, config client.Config, in io.Reader, out io.Writer) error {
	s := &screen{out: out}
	config.OnMessage, config.OnState = s.message, s.state
	c, err := client.Dial(ctx, config)
	if err != nil {
		return plain(config.Name, err)
	}
	s.line("logged in as %s, :all shows the commands", shown(c.User()))
	t := &terminal{client: c, screen: s}
	err = t.chat(ctx, in)
	goodbye, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeMax)
	defer cancel()
	// A goodbye that reaches nobody is no fault of the user's: the server
	// misses him soon.
	_ = c.Close(goodbye)
	return errors.Join(err, plain(config.Name, c.Err()), s.fault())
}

// terminal does what the lines of the input say.
type terminal struct {
	client *client.Client
	screen *screen
}

// chat takes lines one after the other, each only when the one before has its
// outcome: so messages keep their order.
func (t *terminal) chat(ctx context.Context, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan string)
	ended := make(chan error, 1)
	go func() { ended <- readLines(ctx, in, lines) }()
	for {
		select {
		case line := <-lines:
			if !t.do(ctx, line) {
				return nil
			}
		case err := <-ended:
			return err
		case <-t.client.Done():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// do does what one line says, and reports whether to go on.
func (t *terminal) do(ctx context.Context, text string) bool {
	l := parseLine(text)
	switch l.kind {
	case lineEmpty:
	case lineQuit:
		return false
	case lineOnline:
		t.online(ctx)
	case lineGroup:
		t.group(ctx, l.text)
	case linePrivate:
		t.private(ctx, l.receiver, l.text)
	case lineUnknown:
		t.screen.line("unknown command %s\n%s", harmless(l.text), commands)
	case lineWrong:
		t.screen.line("%s", l.text)
	default:
		t.screen.line("%s", commands)
	}
	return true
}

func (t *terminal) group(ctx context.Context, text string) {
	result, err := t.client.SendGroup(ctx, text)
	t.tell("everyone", result, err)
}

func (t *terminal) private(ctx context.Context, receiver proto.UserID, text string) {
	result, err := t.client.Send(ctx, receiver, text)
	t.tell(fmt.Sprint(receiver), result, err)
}

// tell shows what became of a message, unless it simply arrived.
func (t *terminal) tell(to string, result client.Result, err error) {
	switch {
	case errors.Is(err, client.ErrUnknown):
		t.screen.line("! to %s: the connection was lost, the message may have arrived or not", to)
	case errors.Is(err, client.ErrNotConnected):
		t.screen.line("! to %s: not sent, there is no connection", to)
	case err != nil:
		t.screen.line("! to %s: not sent: %s", to, harmless(err.Error()))
	case result.Outcome == proto.OutcomeStored:
		t.screen.line("! to %s: not online, kept for later", to)
	case result.Outcome == proto.OutcomeBusy:
		t.screen.line("! to %s: not sent, the server is busy; try again", to)
	case result.Code == proto.CodeAccountMismatch:
		t.screen.line("! to %s: not sent: no such user", to)
	case result.Outcome != proto.OutcomeDelivered:
		t.screen.line("! to %s: not sent: %s", to, harmless(result.Code.Message()))
	}
}

func (t *terminal) online(ctx context.Context) {
	users, err := t.client.Online(ctx)
	if err != nil {
		t.screen.line("! who is online is not known: %s", harmless(err.Error()))
		return
	}
	t.screen.line("%d online", len(users))
	for _, u := range users {
		t.screen.line("  %s", shown(u))
	}
}

// screen writes lines whole.
type screen struct {
	mu  sync.Mutex
	out io.Writer
	err error // the first one of out, which ends all writing
}

func (s *screen) line(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.out, format+"\n", args...)
	}
}

func (s *screen) fault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *screen) message(m client.Message) {
	when := ""
	if m.Offline {
		when = " (while you were away)"
	}
	s.line("%s%s: %s", shown(m.Sender), when, harmless(m.Text))
}

func (s *screen) state(state client.State, why error) {
	switch state {
	case client.StateReady:
		s.line("! connected again")
	case client.StateReconnecting:
		s.line("! connection lost, connecting again: %s", harmless(why.Error()))
	} // the end is Run's error
}

// shown is a user as lines have it.
func shown(u proto.User) string { return fmt.Sprintf("%s (%d)", harmless(u.Name), u.ID) }
