// Package terminal is the line client of cim chat: a line of its input is a message or a command,
// and what arrives becomes lines of its output.
//
// On a terminal the user edits a line at the bottom while others are shown above it (console);
// elsewhere lines are read and written plainly (pipe). One goroutine reads lines, one (chat)
// handles them, and two more wait for other processes: one sends, one answers questions. Without a
// terminal the second does everything itself, one line after the other. The client's own goroutine
// shows what arrives.
//
// It shows no control character of another user's text. It keeps what is said in the user's history
// folder, never in a log.
package terminal

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"cim/client"
	"cim/internal/tty"
)

// Config holds the settings of a chat.
type Config struct {
	// Client is the user's client. Run sets OnMessage, OnState and OnLeftOut.
	Client client.Config
	// History is the folder of the history files; "" keeps none.
	History string
	// Term is the terminal's kind, as in the variable TERM.
	Term string
	// NoColour leaves the colours out.
	NoColour bool
	// LoggedIn, which may be nil, is called once after the login, before
	// anything is read or shown.
	LoggedIn func() error
}

// goodbyeMax bounds the wait for a goodbye.
const goodbyeMax = 2 * time.Second

// Interactive reports whether in and out are a terminal.
func Interactive(in io.Reader, out io.Writer) bool {
	return IsTerminal(in) && IsTerminal(out)
}

// IsTerminal reports whether a stream is one.
func IsTerminal(stream any) bool {
	file, isFile := stream.(*os.File)
	if !isFile {
		return false
	}
	return tty.Is(file)
}

// Run logs in and chats until in ends, the user types :q!, ctx ends, or the user cannot be logged
// in any more, which is an error. Without a terminal it waits after the end of in until all
// messages have their outcome; if some were not sent, that is an error. At the end it says goodbye,
// within goodbyeMax. If in blocks, the goroutine that reads it ends with its next line.
func Run(ctx context.Context, config Config, in io.Reader, out io.Writer) error {
	t := newTerminal(config)
	config.Client.OnMessage, config.Client.OnState, config.Client.OnLeftOut = t.arrived, t.changed, t.showLeftOut
	c, err := client.Dial(ctx, config.Client)
	if err != nil {
		return plain(config.Client.Name, err)
	}
	t.network = c
	t.early.over()
	if config.LoggedIn != nil {
		err = config.LoggedIn()
	}
	if err == nil {
		err = t.open(config, in, out)
	}
	if err == nil {
		err = errors.Join(t.chat(ctx), t.leftUndone(), t.display.close())
	} else {
		close(t.started)
	}
	goodbye, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeMax)
	defer cancel()
	// A goodbye that reaches no route is not the user's fault: the server notices soon.
	_ = c.Close(goodbye)
	return errors.Join(err, plain(config.Client.Name, c.Err()), t.history.close())
}

// open makes the parts that need the user.
func (t *terminal) open(config Config, in io.Reader, out io.Writer) error {
	user := t.network.User()
	t.history = newHistory(config.History, user, t.complain)
	if !Interactive(in, out) || config.Term == "dumb" || config.Term == "" {
		t.display = &pipe{in: in, out: out}
		return nil
	}
	t.style = style{escapes: true, colours: !config.NoColour}
	t.interactive = true
	console, err := newConsole(in, out, user.Name, sizeOf(out.(*os.File)), completer{t.names})
	if err != nil {
		return err
	}
	past, err := t.history.inputs()
	if err != nil {
		t.early.show = append(t.early.show, func() { t.history.note(&t.history.failed.inputs, err) })
	}
	if err := console.recall(past); err != nil {
		return err
	}
	t.display = console
	return nil
}

// complain shows that the history is not kept.
func (t *terminal) complain(err error) {
	t.display.show(t.fault("the history is not kept: %s", Harmless(err.Error())))
}
