package terminal

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"cim/client"
)

// connection is whether there is one. The zero value is up.
type connection struct {
	mu    sync.Mutex
	lost  time.Time     // zero: it is up
	count int           // connections that were lost
	up    chan struct{} // closed when it is up again; nil: no goroutine waits
}

// down says that it was lost.
func (c *connection) down(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost.IsZero() {
		c.lost = now
		c.count++
	}
}

// back says that it is up again.
func (c *connection) back() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = time.Time{}
	if c.up != nil {
		close(c.up)
		c.up = nil
	}
}

// away is how long it is lost; 0 if it is not.
func (c *connection) away(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost.IsZero() {
		return 0
	}
	return max(now.Sub(c.lost), 1)
}

func (c *connection) isUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost.IsZero()
}

// wait waits until the connection is up, and returns its number. A caller that finds it broken
// before the client reports that passes its number as after. 0 accepts any. up is false if ctx
// ended first.
func (c *connection) wait(ctx context.Context, after int) (number int, up bool) {
	for {
		number, changed := c.number(after)
		if changed == nil {
			return number, true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, false
		}
	}
}

// number is this connection's, or what to wait for until it has changed.
func (c *connection) number(after int) (int, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if number := c.count + 1; c.lost.IsZero() && number > after {
		return number, nil
	}
	if c.up == nil {
		c.up = make(chan struct{})
	}
	return 0, c.up
}

// earlyMax bounds what arrives before the login has ended.
const earlyMax = 256

// early holds what arrives before there is a display. The login waits for the client's functions,
// so those must not wait for the login.
type early struct {
	mu   sync.Mutex
	past bool // the login is over
	show []func()
	lost int
}

// add keeps a function for later, unless the login is over.
func (e *early) add(show func()) (kept bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.past:
		return false
	case len(e.show) == earlyMax:
		e.lost++
	default:
		e.show = append(e.show, show)
	}
	return true
}

func (e *early) over() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.past = true
}

// begin shows what arrived early, and lets later messages through.
func (t *terminal) begin() {
	for _, show := range t.early.show {
		show()
	}
	if lost := t.early.lost; lost > 0 {
		t.display.show(t.fault("%d messages came before the login and were too many to be kept", lost))
	}
	close(t.started)
}

// inTurn calls show once there is a display, or never if the chat cannot start.
func (t *terminal) inTurn(show func()) {
	if t.early.add(show) {
		return
	}
	<-t.started
	if t.display != nil {
		show()
	}
}

// arrived shows a message. The client calls it, one after the other with
// changed.
func (t *terminal) arrived(m client.Message) {
	t.inTurn(func() {
		t.people.seen(m.Sender.Name)
		now := time.Now()
		t.history.received(m, sentAt(m, now))
		t.display.show(t.shown(m, now))
	})
}

// ToAll stands in front of the sender of a group message, also without colours.
const ToAll = "[all] "

// shown is a message as a line: with the time at which it was sent where a person
// looks at it, and elsewhere if that was while the user was away.
func (t *terminal) shown(m client.Message, now time.Time) string {
	when, mark, away := "", "", ""
	switch {
	case t.interactive:
		when = t.style.paint(dim, timeText(sentAt(m, now), now, "15:04 "))
	case m.Offline && !m.Sent.IsZero():
		when = timeText(sentAt(m, now), now, "15:04:05 ")
	}
	if m.ToAll {
		mark = t.style.paint(dim, ToAll)
	}
	if m.Offline {
		away = t.style.paint(yellow, " (while you were away)")
	}
	return when + mark + t.style.user(m.Sender) + away + ": " + emojified(Harmless(m.Text))
}

// sentAt is when m was sent, or now if that is unknown or in the future, by a server whose clock is
// ahead.
func sentAt(m client.Message, now time.Time) time.Time {
	if m.Sent.IsZero() || m.Sent.After(now) {
		return now
	}
	return m.Sent.In(now.Location())
}

// timeText is a time in a layout of a day, with the day if that is not today.
func timeText(at, now time.Time, layout string) string {
	if at.Format(time.DateOnly) != now.Format(time.DateOnly) {
		layout = "2006-01-02 " + layout
	}
	return at.Format(layout)
}

// changed shows that the connection was lost, and where missed messages will begin. Run's error
// shows the end.
func (t *terminal) changed(state client.State, why error) {
	t.inTurn(func() {
		switch state {
		case client.StateReconnecting:
			t.connection.down(time.Now())
			t.display.connected(false)
			t.display.show(t.fault("connection lost, connecting again: %s", lost(why)))
		case client.StateReady:
			t.back(t.connection.away(time.Now()))
		}
	})
}

// showLeftOut shows that group messages were left out.
func (t *terminal) showLeftOut(texts uint64) {
	t.inTurn(func() {
		what := "messages to everyone were"
		if texts == 1 {
			what = "message to everyone was"
		}
		t.display.show(t.fault("%d %s left out: this chat read too slowly", texts, what))
	})
}

// reason is an error of the client without its name, harmless.
func reason(err error) string {
	return Harmless(strings.ReplaceAll(err.Error(), "client: ", ""))
}

// back shows a line between older messages and those that were missed, and releases the messages
// that wait to be sent.
func (t *terminal) back(away time.Duration) {
	if away == 0 {
		return // it was never lost
	}
	t.display.connected(true)
	t.display.show(t.style.paint(green, fmt.Sprintf(
		"---- connected again, away for %v; below is what was missed, of private messages only ----", away.Round(time.Second))))
	t.connection.back()
}
