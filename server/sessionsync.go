package server

import "cim/proto"

// sessionSync is the state of one pass over all sessions, which a link sends to its
// route in chunks of proto.SessionsMax. A pass starts when the link comes up, after
// a pause, when the route asks, and every Config.Recheck on one of the links (see
// recheck.go). One RecordSessions is under way at a time. A session that logs in
// during a pass is announced by RecordUp in any case.
type sessionSync struct {
	stripe  int             // the next stripe to read
	rest    []proto.Session // of the stripe before it, not yet sent
	id      uint64          // of the newest RecordSessions
	awaited bool            // the RecordChecked for id is due
	again   bool            // another pass follows this one
	pauses  uint64          // how many pauses there were when the pass started

	// Buffers that are reused: a server of ten thousand clients goes through all of
	// them every 6 s.
	sessions []proto.Session // of one stripe
	body     []byte          // of one RecordSessions
}

// resync sends every session to the route. If a pass is running, another one
// follows it, since sessions may have changed behind it.
func (l *linkEnd) resync() {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.resyncLocked()
}

// resyncLocked is resync; the caller holds syncMu.
func (l *linkEnd) resyncLocked() {
	if l.sync.awaited {
		l.sync.again = true
		return
	}
	l.sync.restart()
	l.sync.pauses = l.pauses
	l.sendSessions()
}

// restart starts a pass at the first session and keeps the buffers.
func (s *sessionSync) restart() { *s = sessionSync{id: s.id, sessions: s.sessions, body: s.body} }

// next returns the body for the next sessions, up to proto.SessionsMax of them, and
// an empty body at the end. The result is valid until the next call.
func (s *sessionSync) next(d *directory) []byte {
	s.body = s.body[:0]
	for n := 0; n < proto.SessionsMax; n++ {
		for len(s.rest) == 0 {
			if s.stripe == len(d.stripes) {
				return s.body
			}
			s.sessions = d.appendSessions(s.sessions[:0], s.stripe)
			s.rest = s.sessions
			s.stripe++
		}
		s.body = proto.AppendSession(s.body, s.rest[0])
		s.rest = s.rest[1:]
	}
	return s.body
}

// sendSessions sends the next chunk, or ends the pass. The caller holds syncMu.
func (l *linkEnd) sendSessions() {
	s := &l.sync
	body := s.next(l.server.directory)
	s.awaited = len(body) > 0
	switch {
	case s.awaited:
		s.id++
		l.send(&proto.Record{Kind: proto.RecordSessions, ID: s.id, Body: body})
	case s.again:
		l.resyncLocked()
	default:
		l.server.onSynced(s.pauses)
	}
}

// onChecked continues the pass. A RecordChecked that answers nothing ends the link.
func (l *linkEnd) onChecked(r *proto.Record) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if !l.sync.awaited || r.ID != l.sync.id {
		return &proto.LinkError{What: "id of a checked", Value: r.ID}
	}
	l.sendSessions()
	return nil
}
