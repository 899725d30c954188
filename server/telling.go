package server

import "cim/proto"

// telling is how far a link has been told of the sessions: when it comes up,
// after a pause, when its route asks, and by turns of all links each few seconds
// (see recheck.go). One RecordSessions is under way at a time. Who logs in
// meanwhile is told by up anyway.
type telling struct {
	stripe int             // the next to be looked at
	rest   []proto.Session // of the stripe before it, not yet told
	id     uint64          // of the last RecordSessions
	asked  bool            // it awaits its RecordChecked
	again  bool            // when it has come to its end it begins again
	pauses uint64          // how many there were when it began

	// Room that is used again: a server of ten thousand clients goes through all of
	// them every 6 s.
	sessions []proto.Session // of a stripe
	body     []byte          // of a RecordSessions
}

// tellAnew tells of all sessions, once more if that is under way: it may have
// passed those that must be told again.
func (l *linkEnd) tellAnew() {
	l.tellMu.Lock()
	defer l.tellMu.Unlock()
	l.restartTelling()
}

// restartTelling is tellAnew with tellMu held.
func (l *linkEnd) restartTelling() {
	if l.telling.asked {
		l.telling.again = true
		return
	}
	l.telling.restart()
	l.telling.pauses = l.pauses
	l.tellSessions()
}

// restart begins with the first session.
func (t *telling) restart() { *t = telling{id: t.id, sessions: t.sessions, body: t.body} }

// next returns up to proto.SessionsMax sessions, none at the end. The result is
// valid until the next call.
func (t *telling) next(d *directory) []byte {
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

// tellSessions tells the next sessions, if there are any. tellMu is held.
func (l *linkEnd) tellSessions() {
	t := &l.telling
	body := t.next(l.server.directory)
	t.asked = len(body) > 0
	switch {
	case t.asked:
		t.id++
		l.tell(&proto.Record{Kind: proto.RecordSessions, ID: t.id, Body: body})
	case t.again:
		l.restartTelling()
	default:
		l.server.toldAll(t.pauses)
	}
}

// checked goes on. What answers nothing condemns the link.
func (l *linkEnd) checked(r *proto.Record) error {
	l.tellMu.Lock()
	defer l.tellMu.Unlock()
	if !l.telling.asked || r.ID != l.telling.id {
		return &proto.LinkError{What: "id of a checked", Value: r.ID}
	}
	l.tellSessions()
	return nil
}
