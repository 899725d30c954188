package route

import (
	"slices"
	"sync"
	"testing"

	"cim/proto"
)

// fakeSession is a grant until it is connected.
type fakeSession struct {
	joined     []proto.Ticket // of logins beside the first
	generation proto.Generation
	name       string
	ticket     proto.Ticket
	demand     bool
	full       bool        // it has no room for a page
	left       proto.Epoch // of a grant with FlagMove
	ours       bool        // our client's
	connected  bool
	held       bool
	holds      uint64
	ack        bool        // it acknowledges texts
	cursor     uint64      // serial of the last page
	older      proto.Epoch // of a server that may still return what the user's older session kept
	receipts   []uint64    // of pushes that must be settled
	got        []delivered
	arrived    *arrivals
}

// arrivals are the texts that each user got in all sessions, in order. A text that comes again is
// recognised by sender and id, as docs/protocol.md demands of a receiver: a push that is answered
// too late is stored too.
type arrivals struct {
	mu      sync.Mutex
	texts   map[proto.UserID][]delivered
	arrived map[arrival]bool
}

type arrival struct {
	receiver proto.UserID
	sender   string
	id       proto.TextID
}

func newArrivals() *arrivals {
	return &arrivals{texts: map[proto.UserID][]delivered{}, arrived: map[arrival]bool{}}
}

func (a *arrivals) add(user proto.UserID, d delivered, id proto.TextID) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := arrival{user, d.sender, id}
	if id != 0 && a.arrived[key] {
		return
	}
	a.arrived[key] = true
	a.texts[user] = append(a.texts[user], d)
}

func (a *arrivals) of(user proto.UserID) []delivered {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.texts[user])
}

// delivered is one text as a session got it.
type delivered struct {
	command proto.Command
	sender  string
	text    string
	frame   int // the number of its frame in the session
}

func (s *fakeSession) judge(t testing.TB, r *proto.Record) (proto.Verdict, uint64) {
	switch r.Kind {
	case proto.RecordPush:
		if s.held && r.Flags&proto.FlagOffline == 0 {
			return proto.VerdictBehind, 0
		}
		s.take(t, r.User, r.Body)
		if r.Flags&proto.FlagOffline != 0 {
			s.cursor = r.Value
		}
	case proto.RecordHold:
		s.held = true
		s.holds++
		return proto.VerdictTaken, s.holds
	case proto.RecordResume:
		if r.Value != s.holds {
			return proto.VerdictBehind, s.holds
		}
		s.held = false
	}
	return proto.VerdictTaken, 0
}

// setState puts the session's state into r.
func (s *fakeSession) setState(kind proto.RecordKind, r *proto.Record) {
	switch kind {
	case proto.RecordUp, proto.RecordHold, proto.RecordResume:
	default:
		return
	}
	if s.ack {
		r.Flags |= proto.FlagAck
	}
	if s.full && kind == proto.RecordHold {
		r.Flags |= proto.FlagFull
	}
	r.Text, r.Body = proto.TextID(s.cursor), proto.AppendEpoch(nil, s.older)
}

func (s *fakeSession) take(t testing.TB, user proto.UserID, body []byte) {
	var v proto.View
	if len(proto.AppendDelivery(nil, body, user)) > proto.FrameMax {
		t.Errorf("a body of %d bytes makes a frame beyond its bound", len(body))
	}
	if reason := v.Parse(body); reason != proto.ReasonNone {
		t.Errorf("a body that is no frame: %v", reason)
	}
	frame := 0
	if n := len(s.got); n > 0 {
		frame = s.got[n-1].frame + 1
	}
	sender := string(v.Property(proto.PropertySenderName))
	v.EachReceived(func(text proto.Received) {
		d := delivered{v.Command, sender, string(text.Text), frame}
		s.got = append(s.got, d)
		s.arrived.add(user, d, text.ID)
	})
}
