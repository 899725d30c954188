package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/client"
	"cim/client/terminal"
	"cim/proto"
)

// exitTimeout is listen's exit status when its time has passed too early. It
// is that of timeout(1).
const exitTimeout = 124

type listenConfig struct {
	*identity
	json    bool
	count   int           // messages to end after; 0: no bound
	timeout time.Duration // from the login on; 0: no bound
}

func newListenCommand(p *program) *cobra.Command {
	c := listenConfig{identity: newIdentity()}
	s := p.newSettings(func(flags *pflag.FlagSet) {
		c.define(flags)
		flags.BoolVar(&c.json, "json", c.json, "one JSON object a line: id, time, sender, to, text, offline")
		numberVar(flags, &c.count, "count", 0, math.MaxInt32, "end after this many messages; 0: go on")
		flags.Lookup("count").Shorthand = "n"
		flags.DurationVar(&c.timeout, "timeout", c.timeout, "end after this time; 0: go on")
	}, settingToken)
	cmd := &cobra.Command{
		Use:   "listen",
		Short: "Print what arrives for a user, a line each",
		Long: `  cim listen --name robot --json
  cim listen --name robot --json -n 1 --timeout 10s | jq -r .text
  cim listen --name robot --json | while read -r message; do ...; done

Logs in under --name, which is registered if it is new, and prints each
message as it arrives, first those that were stored while the user was away.
It says on standard error when it is logged in, and when it has lost the
connection and has it again. Without --json a line is made for a person: control
characters are made harmless, line breaks become spaces, and [all] stands in
front of the sender of a message to all.

The time of a message is when it was sent. Where a server does not say that, as
one of the original, it is when the message came, with "timeOf":"arrival".
"to":"all" is a message to all; without it the message is for this user alone.

It ends after -n messages, or when its output is closed. A message counts as
received once it is written: what came behind the last one, and what was not
written when the command was killed, comes the next time, in its order. Messages
to all do not: they are for clients that are online, and are never stored. From a
server or route of an older release, what was handed over and not written is
stored again at the end, behind what is stored already and under new ids, and is
lost if the command is killed.

A user has one session: while ann chats, no other client can listen as ann.

Exit status: 0 done, 1 failed (no route, the user is logged in elsewhere),
2 wrong usage, 124 --timeout passed before -n messages had come, 130
interrupted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.read(p, cmd, func() error { return errors.Join(c.complete(s), c.check()) }); err != nil {
				return err
			}
			signal.Ignore(syscall.SIGPIPE) // a write reports that the reader has gone
			return failed(listen(endAtHangup(cmd.Context()), c, cmd.OutOrStdout(), cmd.ErrOrStderr()))
		},
	}
	s.offerIdentity(cmd)
	return cmd
}

func (c listenConfig) check() error {
	err := c.identity.check()
	if c.timeout < 0 {
		err = errors.Join(err, fmt.Errorf("timeout %v is negative", c.timeout))
	}
	return err
}

const (
	// listenCloseMax bounds the end: the goodbye, and storing the rest again.
	listenCloseMax = 10 * time.Second
	// printMax bounds how long the end waits for an output that is not read.
	printMax = 500 * time.Millisecond
)

// listen prints what arrives until one of its ends has come.
func listen(ctx context.Context, c listenConfig, out, stderr io.Writer) error {
	l := &listener{config: c, out: out, stderr: stderr, full: make(chan struct{}), ending: make(chan struct{})}
	id, err := c.registerUser(ctx, stderr)
	if err != nil {
		return orInterrupted(ctx, err)
	}
	session, err := client.Dial(ctx, client.Config{Routes: c.routes, Name: c.name, UserID: id, Token: c.tokens(), Accept: l.accept, OnState: l.state, OnLeftOut: l.leftOut})
	if err != nil {
		return orInterrupted(ctx, plainLogin(c.name, err))
	}
	report(stderr, fmt.Errorf("listening as %s, id %d", session.User().Name, session.User().ID))
	late := l.wait(ctx, session)
	close(l.ending)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), listenCloseMax)
	defer cancel()
	if err := l.leave(closing, session); err != nil {
		return errors.Join(err, orInterrupted(ctx, nil))
	}
	if err := l.putBack(closing, session); err != nil {
		return err
	}
	return l.verdict(ctx, late, session.Err())
}

// listener prints messages. The client's one worker calls accept and state; the other methods are
// used after it has ended.
type listener struct {
	config  listenConfig
	out     io.Writer
	stderr  io.Writer
	full    chan struct{} // closed when no more is printed
	ending  chan struct{} // closed when an output that is not read is given up
	ended   bool          // full is closed
	printed int
	fault   error            // of out
	left    []client.Message // that arrived after the last printed one, and that the server does not keep
}

// accept prints m, and reports whether that is done: if not, it arrives again, provided that the
// server keeps it.
func (l *listener) accept(m client.Message) bool {
	if !l.ended {
		l.fault = l.tryPrint(m)
	}
	done := !l.ended && l.fault == nil
	switch {
	case done:
		l.printed++
	case !m.Kept:
		l.left = append(l.left, m)
	}
	if !l.ended && (l.fault != nil || l.printed == l.config.count) {
		l.ended = true
		close(l.full)
	}
	return done
}

// errUnread is the error of an output that is open and not read.
var errUnread = errors.New("it is not read")

// tryPrint prints m. It gives up if the output does not take m and the command ends; the write then
// continues until the process ends.
func (l *listener) tryPrint(m client.Message) error {
	printed := make(chan error, 1)
	go func() { printed <- l.print(m) }()
	select {
	case err := <-printed:
		return err
	case <-l.ending:
	}
	timer := time.NewTimer(printMax)
	defer timer.Stop()
	select {
	case err := <-printed:
		return err
	case <-timer.C:
		return errUnread
	}
}

func (l *listener) state(state client.State, why error) {
	switch state {
	case client.StateReady:
		report(l.stderr, errors.New("connected again"))
	case client.StateReconnecting:
		report(l.stderr, fmt.Errorf("connection lost, connecting again: %w", why))
	} // the end is listen's error
}

func (l *listener) leftOut(texts uint64) {
	report(l.stderr, fmt.Errorf("%d messages to all were left out: this command read too slowly", texts))
}

// wait returns at the first of the ends, and whether that is the time.
func (l *listener) wait(ctx context.Context, session *client.Client) (late bool) {
	var passed <-chan time.Time
	if l.config.timeout > 0 {
		timer := time.NewTimer(l.config.timeout)
		defer timer.Stop()
		passed = timer.C
	}
	select {
	case <-l.full:
	case <-session.Done():
	case <-ctx.Done():
	case <-passed:
		return true
	}
	return false
}

// leave says goodbye. If the goodbye reaches no route that is no error, since the server notices
// soon. The error is that the session has not ended.
func (l *listener) leave(ctx context.Context, session *client.Client) error {
	err := session.Close(ctx)
	select {
	case <-session.Done():
	default:
		return err
	}
	if err != nil {
		report(l.stderr, fmt.Errorf("warning: %w", err))
	}
	return nil
}

// verdict is how the command ends. A reader that has gone away is no fault.
func (l *listener) verdict(ctx context.Context, late bool, ended error) error {
	enough := l.config.count > 0 && l.printed == l.config.count
	switch {
	case l.fault != nil && !errors.Is(l.fault, syscall.EPIPE):
		return errors.Join(fmt.Errorf("standard output: %w", l.fault), orInterrupted(ctx, nil))
	case l.fault != nil || enough:
		return nil
	case ctx.Err() != nil:
		return orInterrupted(ctx, nil)
	case ended != nil:
		return plainLogin(l.config.name, ended)
	case late && l.config.count > 0:
		return ending{fmt.Errorf("%d of %d messages came within %v", l.printed, l.config.count, l.config.timeout), exitTimeout}
	}
	return nil
}

// putBack stores messages that were not printed and that the server does not keep, such as those of
// an older release. The user has said goodbye, so they wait for the next login. It reports those
// that cannot be stored.
func (l *listener) putBack(ctx context.Context, session *client.Client) error {
	if len(l.left) == 0 {
		return nil
	}
	api, err := client.NewAPI(l.config.routes, l.config.tokens())
	if err != nil {
		return err
	}
	defer api.Close()
	lost, why := 0, error(nil)
	toAll := 0
	for _, m := range l.left {
		if m.ToAll {
			toAll++
			continue
		}
		result, err := api.PutBack(ctx, session.User().ID, m)
		if err = cmp.Or(err, result.Err()); err != nil {
			lost, why = lost+1, err
		}
	}
	if lost > 0 {
		return fmt.Errorf("%d of %d messages that came behind the last one printed are lost: %w", lost, len(l.left), why)
	}
	if toAll > 0 {
		report(l.stderr, fmt.Errorf("not printed, and not stored since they went to all: %d messages that came behind the last one printed", toAll))
	}
	if private := len(l.left) - toAll; private > 0 {
		report(l.stderr, fmt.Errorf("stored again: %d messages that came behind the last one printed", private))
	}
	return nil
}

// plainLogin says why name has no session, and what to do about it.
func plainLogin(name string, err error) error {
	var ended *client.Ended
	switch {
	case errors.As(err, &ended) && ended.Reason == proto.ReasonKicked:
		return fmt.Errorf("an operator has ended the session of %s", name)
	case errors.Is(err, client.ErrRepeatLogin):
		return fmt.Errorf("%s is logged in elsewhere, and a user has one session: end that one, or listen under another name", name)
	case errors.Is(err, client.ErrReplaced):
		return fmt.Errorf("%s has logged in elsewhere, which ends this session", name)
	}
	return err
}

// receivedJSON is what --json writes of a message. Names are never changed, only
// new ones are added.
type receivedJSON struct {
	ID      string   `json:"id,omitempty"`     // absent: from a server of the original
	Time    string   `json:"time"`             // when it was sent
	TimeOf  string   `json:"timeOf,omitempty"` // "arrival": Time is when it arrived, since the time of sending is unknown
	Sender  userJSON `json:"sender"`
	To      string   `json:"to,omitempty"` // "all": a group message; absent: this user
	Text    string   `json:"text"`
	Offline bool     `json:"offline"` // stored while the user was away
}

// receivedTime is RFC 3339 with milliseconds.
const receivedTime = "2006-01-02T15:04:05.000Z"

func (l *listener) print(m client.Message) error {
	now := time.Now()
	if !l.config.json {
		_, err := fmt.Fprintln(l.out, receivedLine(m, now))
		return err
	}
	shown := receivedJSON{Sender: userJSON(m.Sender), Text: m.Text, Offline: m.Offline}
	at := m.Sent
	if at.IsZero() {
		at, shown.TimeOf = now, "arrival"
	}
	shown.Time = at.UTC().Format(receivedTime)
	if m.ToAll {
		shown.To = toAll
	}
	if m.ID != 0 {
		shown.ID = strconv.FormatUint(uint64(m.ID), 10)
	}
	return writeLine(l.out, shown)
}

// receivedLine is a message for a person. The day of one that was sent on another
// day is there too.
func receivedLine(m client.Message, now time.Time) string {
	at, layout, mark, away := now, time.TimeOnly, "", ""
	if !m.Sent.IsZero() {
		at = m.Sent.In(now.Location())
	}
	if at.Format(time.DateOnly) != now.Format(time.DateOnly) {
		layout = time.DateTime
	}
	if m.ToAll {
		mark = terminal.ToAll
	}
	if m.Offline {
		away = " (while you were away)"
	}
	name := terminal.HarmlessName(m.Sender.Name)
	return fmt.Sprintf("%s %s%s (%d)%s: %s", at.Format(layout), mark, name, m.Sender.ID, away, terminal.Harmless(m.Text))
}
