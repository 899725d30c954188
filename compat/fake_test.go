package compat

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"cim/internal/link"
	"cim/proto"
)

// fakeServer is a server of ours at the far end of a link: it keeps sessions as a
// server does, and answers real records. A script may answer in its place.
type fakeServer struct {
	t      testing.TB
	member proto.Member

	mu       sync.Mutex
	gone     bool
	conn     *link.Conn // of the newest dial
	sessions map[proto.UserID]*fakeSession
	script   func(r *proto.Record) (answer *proto.Record, scripted bool) // called with mu held
	outcomes chan proto.Record
	running  sync.WaitGroup
}

// fakeSession is a grant until it is connected.
type fakeSession struct {
	generation      proto.Generation
	connected, held bool
	holds           uint64
	got             []string
}

func newFakeServer(t testing.TB, name string, epoch proto.Epoch) *fakeServer {
	m, err := proto.ParseMemberName(name)
	if err != nil {
		t.Fatal(err)
	}
	m.Epoch, m.Version = epoch, proto.LinkVersion
	f := &fakeServer{t: t, member: m, sessions: map[proto.UserID]*fakeSession{}, outcomes: make(chan proto.Record, 1<<10)}
	t.Cleanup(f.running.Wait)
	return f
}

func (f *fakeServer) dial() (*link.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone {
		return nil, errors.New("there is no such server")
	}
	near, far := link.Pair(link.WaitingMaxDefault)
	f.conn = far
	f.running.Go(func() {
		_ = far.Run(context.Background(), func(r *proto.Record) error { f.handle(far, r); return nil })
	})
	return near, nil
}

func (f *fakeServer) handle(conn *link.Conn, r *proto.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := proto.Record{Verdict: proto.VerdictTaken}
	switch r.Kind {
	case proto.RecordOutcome:
		f.outcomes <- proto.Record{Kind: r.Kind, ID: r.ID, User: r.User, Value: r.Value, Code: r.Code}
		return
	case proto.RecordChecked, proto.RecordReturned:
		return
	case proto.RecordConfirm:
	default:
		scripted := false
		if f.script != nil {
			var said *proto.Record
			if said, scripted = f.script(r); scripted {
				answer = *said
			}
		}
		if !scripted {
			answer.Verdict, answer.Value = f.judge(r)
		}
	}
	answer.Kind, answer.ID = proto.RecordAnswer, r.ID
	if err := conn.Send(&answer); err != nil && !errors.Is(err, link.ErrClosed) {
		f.t.Errorf("fake server: %v", err)
	}
}

// judge does what a server does.
func (f *fakeServer) judge(r *proto.Record) (proto.Verdict, uint64) {
	s := f.sessions[r.User]
	switch r.Kind {
	case proto.RecordBroadcast:
		for user, s := range f.sessions {
			if user != r.User && s.connected {
				s.take(f.t, r.Body)
			}
		}
		return proto.VerdictTaken, 0
	case proto.RecordGrant:
		f.sessions[r.User] = &fakeSession{generation: r.Generation}
		return proto.VerdictTaken, 0
	case proto.RecordRevoke:
		if s == nil || s.generation > r.Generation {
			return proto.VerdictAbsent, 0
		}
		old := proto.RevokeMode(r.Value) == proto.RevokeGoodbye || proto.RevokeMode(r.Value) == proto.RevokeSuperseded
		if s.connected && !old {
			return proto.VerdictLives, 0
		}
		delete(f.sessions, r.User)
		return proto.VerdictTaken, 0
	}
	switch {
	case s == nil || !s.connected:
		return proto.VerdictAbsent, 0
	case s.generation != r.Generation:
		return proto.VerdictStale, 0
	}
	return s.judge(f.t, r)
}

func (s *fakeSession) judge(t testing.TB, r *proto.Record) (proto.Verdict, uint64) {
	switch r.Kind {
	case proto.RecordPush:
		if s.held && r.Flags&proto.FlagOffline == 0 {
			return proto.VerdictBehind, 0
		}
		s.take(t, r.Body)
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

func (s *fakeSession) take(t testing.TB, body []byte) {
	var v proto.View
	if reason := v.Parse(body); reason != proto.ReasonNone {
		t.Errorf("a body that is no frame: %v", reason)
	}
	v.EachReceived(func(text proto.Received) { s.got = append(s.got, string(text.Text)) })
}

// put gives the server a session.
func (f *fakeServer) put(user proto.UserID, s fakeSession) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions[user] = &s
}

// connect makes the grant of user a session, which begins held, and tells the
// route.
func (f *fakeServer) connect(user proto.UserID) {
	f.mu.Lock()
	s := f.sessions[user]
	s.connected, s.held, s.holds = true, true, 1
	generation := s.generation
	f.mu.Unlock()
	f.tell(&proto.Record{Kind: proto.RecordUp, User: user, Generation: generation, Value: 1})
}

// lose ends user's session without a word to a route.
func (f *fakeServer) lose(user proto.UserID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sessions, user)
}

// tell tells the route something.
func (f *fakeServer) tell(r *proto.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.conn.Send(r); err != nil {
		f.t.Errorf("fake server: tell the route: %v", err)
	}
}

// tellSessions tells the route of sessions, as a server does when a link comes up.
func (f *fakeServer) tellSessions(id uint64, sessions ...proto.Session) {
	var body []byte
	for _, s := range sessions {
		body = proto.AppendSession(body, s)
	}
	f.tell(&proto.Record{Kind: proto.RecordSessions, ID: id, Body: body})
}

// send is a SEND of user's, as the server passes it on.
func (f *fakeServer) send(id uint64, sender proto.User, receiver proto.UserID, text string) {
	f.tell(&proto.Record{Kind: proto.RecordSend, ID: id, User: sender.ID, Name: []byte(sender.Name), Value: uint64(receiver), Body: []byte(text)})
}

// follow lets script answer from now on.
func (f *fakeServer) follow(script func(r *proto.Record) (*proto.Record, bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = script
}

func (f *fakeServer) session(user proto.UserID) fakeSession {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sessions[user]; s != nil {
		return *s
	}
	return fakeSession{}
}

func (f *fakeServer) texts(user proto.UserID) []string { return slices.Clone(f.session(user).got) }

// end ends the server's process.
func (f *fakeServer) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
	f.conn.Close()
}
