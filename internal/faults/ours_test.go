package faults

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"cim/client"
	"cim/internal/ledger"
)

// liveOurs is the life of a client of ours, which comes back by itself.
func (m *member) liveOurs() {
	c := m.crowd
	config := client.Config{
		Routes: m.routes(), Name: m.user.Name,
		OnMessage: func(got client.Message) { m.received(got.Sender, got.Text, got.Offline); c.dwellOn() },
		OnState:   m.changed,
		Log:       slog.New(moves{m}),
	}
	for c.ctx.Err() == nil {
		one, err := client.Dial(c.ctx, config)
		if err != nil {
			c.note(func(seen *counts) { seen.failed++ })
			if !c.sleep(time.Second) {
				return
			}
			continue
		}
		m.entered("")
		m.keep(one)
		select {
		case <-c.ctx.Done():
		case <-one.Done():
		}
		m.left(one.Err())
		ctx, cancel := context.WithTimeout(context.Background(), callMax)
		_ = one.Close(ctx) // if no route takes the goodbye, a ghost is found
		cancel()
	}
}

// dwellOn takes the time that an application takes for a text.
func (c *crowd) dwellOn() {
	if d := time.Duration(c.dwell.Load()); d > 0 {
		c.sleep(d)
	}
}

// movedMessage is what a client of ours logs when it has moved: that is no state
// of its own.
const movedMessage = "moved to another server"

// moves is the handler of a client's log that notes its moves.
type moves struct{ member *member }

// Enabled implements slog.Handler.
func (moves) Enabled(_ context.Context, level slog.Level) bool { return level == slog.LevelInfo }

// Handle implements slog.Handler.
func (h moves) Handle(_ context.Context, r slog.Record) error {
	if r.Message == movedMessage {
		h.member.movedOn()
	}
	return nil
}

// WithAttrs and WithGroup implement slog.Handler.
func (h moves) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h moves) WithGroup(string) slog.Handler      { return h }

// movedOn notes that the session is another one now.
func (m *member) movedOn() {
	c := m.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	c.book.Disconnected(m.number)
	c.book.Connected(m.number)
	m.moves = append(m.moves, c.now())
	c.seen.moved++
}

// moveTakes bounds a move, from the end of the old session to the new one.
const moveTakes = 1500 * time.Millisecond

// noticeMax is how long a client may take to see that its server has ended its
// session: machine and client are busy, most of all with others that ended.
const noticeMax = 500 * time.Millisecond

// atEnd excuses a group message whose receiver saw its session end just behind
// the answer: its server had ended it before. It is counted.
func (c *crowd) atEnd(f ledger.Fault) bool {
	if f.Kind != ledger.Lost || f.To != ledger.Everyone {
		return false
	}
	for _, at := range c.members[f.Receiver].ends {
		if at >= f.Due && at <= f.Answered+int64(noticeMax) {
			return true
		}
	}
	return false
}

// inMove excuses a group message that was sent while its receiver, a client of
// ours, moved: it had no session then. It is counted.
func (c *crowd) inMove(f ledger.Fault) bool {
	if f.Kind != ledger.Lost || f.To != ledger.Everyone {
		return false
	}
	return slices.ContainsFunc(c.members[f.Receiver].moves, func(at int64) bool {
		return f.Due <= at && f.Answered >= at-int64(moveTakes)
	})
}

// keep remembers the client, whose count of doubles is asked for at the end.
func (m *member) keep(one *client.Client) {
	m.crowd.mu.Lock()
	defer m.crowd.mu.Unlock()
	m.clients = append(m.clients, one)
}

// client is the member's client, nil if it has none of ours.
func (m *member) client() *client.Client {
	m.crowd.mu.Lock()
	defer m.crowd.mu.Unlock()
	if len(m.clients) == 0 {
		return nil
	}
	return m.clients[len(m.clients)-1]
}

// changed follows the client's own states.
func (m *member) changed(state client.State, why error) {
	switch state {
	case client.StateReady:
		m.entered("")
	default:
		m.left(why)
	}
}

// routes are the base URLs, the member's own first.
func (m *member) routes() []string {
	urls := m.crowd.system.routeURLs()
	own := int(m.number) % len(urls)
	return append(append([]string(nil), urls[own:]...), urls[:own]...)
}
