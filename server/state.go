package server

import (
	"time"

	"cim/proto"
)

// State is what a server reports about itself to an operator. It names no user.
type State struct {
	Name        string      `json:"name"`         // of the member
	Epoch       proto.Epoch `json:"epoch,string"` // of this run
	Link        string      `json:"link"`         // where routes link to; "": in this process
	Connections int         `json:"connections"`
	SessionsMax int         `json:"sessionsMax"`
	Sessions    int         `json:"sessions"`
	Leaving     bool        `json:"leaving"`
	Draining    bool        `json:"draining"`
	Lease       *LeaseState `json:"lease,omitempty"` // nil: it has none
	Loops       []LoopState `json:"loops"`
	Links       []LinkState `json:"links"`
	WithRoute   int         `json:"sendsWithRoute"` // SENDs with an outstanding outcome

	// Since the start of the process.
	Logins      uint64 `json:"logins"`
	Refused     uint64 `json:"loginsRefused"`
	Ends        uint64 `json:"ends"`  // of sessions, and of connections before their login
	Sends       uint64 `json:"sends"` // messages of clients over their connections, with an outcome
	Deliveries  uint64 `json:"deliveries"`
	Writes      uint64 `json:"writes"`
	BytesOut    uint64 `json:"bytesOut"`
	MailboxFull uint64 `json:"mailboxFull"`
	LinkFull    uint64 `json:"linkFull"`
	Pauses      uint64 `json:"pauses"`
}

// LeaseState is a server's lease.
type LeaseState struct {
	TermSeconds float64 `json:"termSeconds"`
	AgeSeconds  float64 `json:"ageSeconds"` // since it was last confirmed
	Lost        bool    `json:"lost"`
}

// LoopState is one event loop; its counts are as of the last tick.
type LoopState struct {
	Connections int `json:"connections"`
	Sessions    int `json:"sessions"`
	Letters     int `json:"letters"` // in its mailbox
	LetterBytes int `json:"letterBytes"`
}

// LinkState is the server's end of one link.
type LinkState struct {
	Route        string `json:"route"` // its address; "": it is in this process
	WaitingBytes int    `json:"waitingBytes"`
	Sends        int    `json:"sends"` // SENDs with an outstanding outcome
}

// State may be called by any goroutine. It asks no event loop, and takes only locks
// that are held for moments.
func (s *Server) State() State {
	member := s.Member()
	state := State{
		Name: member.Name(), Epoch: s.epoch, Link: member.Link,
		Connections: int(s.conns.Load()), SessionsMax: s.sessionsMax, Sessions: s.live(),
		Leaving: s.leaving.Load(), Draining: s.draining.Load(), Lease: s.leaseState(), WithRoute: int(s.pairs.total.Load()),
	}
	for _, l := range s.loops {
		letters, bytes := l.mailbox.waiting()
		state.Loops = append(state.Loops, LoopState{int(l.gauge.open.Load()), int(l.gauge.live.Load()), letters, bytes})
	}
	for _, l := range s.links.all() {
		state.Links = append(state.Links, LinkState{l.from, l.conn.Waiting(), l.owed()})
	}
	s.metrics.total(&state)
	return state
}

func (s *Server) leaseState() *LeaseState {
	if s.lease.term == 0 {
		return nil
	}
	round := func(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
	return &LeaseState{round(s.lease.term), round(s.lease.age(s.clock())), s.lease.lost.Load()}
}

// owed is the number of outcomes that the route owes.
func (l *linkEnd) owed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sends)
}

// total fills in the counters.
func (c *counters) total(state *State) {
	for reason := range c.logins {
		n := c.logins[reason].Get()
		if state.Ends += c.ends[reason].Get(); reason == 0 {
			state.Logins = n
		} else {
			state.Refused += n
		}
	}
	for _, outcome := range c.outcomes {
		if outcome != nil {
			state.Sends += outcome.Get()
		}
	}
	state.Deliveries, state.Writes, state.BytesOut = c.deliveries.Get(), c.writes.Get(), c.bytesOut.Get()
	state.MailboxFull, state.LinkFull, state.Pauses = c.mailboxFull.Get(), c.linkFull.Get(), c.pauses.Get()
}
