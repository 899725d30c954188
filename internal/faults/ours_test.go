package faults

import (
	"context"
	"time"

	"cim/client"
)

// liveOurs is the life of a client of ours, which comes back by itself.
func (m *member) liveOurs() {
	c := m.crowd
	config := client.Config{
		Routes: m.routes(), Name: m.user.Name,
		OnMessage: func(got client.Message) { m.received(got.Sender, got.Text, got.Offline) },
		OnState:   m.changed,
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
		_ = one.Close(ctx) // a goodbye that no route takes: the ghosts tell
		cancel()
	}
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
