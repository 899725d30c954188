package server

import "cim/proto"

// sessionSync is how far a link has been told of the sessions: when it comes up,
// after a pause, when its route asks, and by turns of all links each few seconds
// (see recheck.go). One RecordSessions is under way at a time. Who logs in
// meanwhile is told by up anyway.
type sessionSync struct {
	stripe  int             // the next to be looked at
	rest    []proto.Session // of the stripe before it, not yet told
	id      uint64          // of the last RecordSessions
	awaited bool            // it awaits its RecordChecked
	again   bool            // when it has come to its end it begins again
	pauses  uint64          // how many there were when it began

	// Room that is used again: a server of ten thousand clients goes through all of
	// them every 6 s.
	sessions []proto.Session // of a stripe
	body     []byte          // of a RecordSessions
}

// resync tells of all sessions, once more if that is under way: it may have
// passed those that must be told again.
func (l *linkEnd) resync() {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.resyncLocked()
}

// resyncLocked is resync with syncMu held.
func (l *linkEnd) resyncLocked() {
	if l.sync.awaited {
		l.sync.again = true
		return
	}
	l.sync.restart()
	l.sync.pauses = l.pauses
	l.sendSessions()
}

// restart begins with the first session.
func (t *sessionSync) restart() { *t = sessionSync{id: t.id, sessions: t.sessions, body: t.body} }

// next returns up to proto.SessionsMax sessions, none at the end. The result is
// valid until the next call.
func (t *sessionSync) next(d *directory) []byte {
	t.body = t.body[:0]
	for n := 0; n < proto.SessionsMax; n++ {
		for len(t.rest) == 0 {
			if t.stripe == len(d.stripes) {
				return t.body
			}
			t.sessions = d.appendSessions(t.sessions[:0], t.stripe)
			t.rest = t.sessions
			t.stripe++
		}
		t.body = proto.AppendSession(t.body, t.rest[0])
		t.rest = t.rest[1:]
	}
	return t.body
}

// sendSessions tells the next sessions, if there are any. syncMu is held.
func (l *linkEnd) sendSessions() {
	t := &l.sync
	body := t.next(l.server.directory)
	t.awaited = len(body) > 0
	switch {
	case t.awaited:
		t.id++
		l.send(&proto.Record{Kind: proto.RecordSessions, ID: t.id, Body: body})
	case t.again:
		l.resyncLocked()
	default:
		l.server.onSynced(t.pauses)
	}
}

// onChecked goes on. What answers nothing condemns the link.
func (l *linkEnd) onChecked(r *proto.Record) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if !l.sync.awaited || r.ID != l.sync.id {
		return &proto.LinkError{What: "id of a checked", Value: r.ID}
	}
	l.sendSessions()
	return nil
}
