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
	l.telling = telling{id: l.telling.id, pauses: l.pauses}
	l.tellSessions()
}

// next returns up to proto.SessionsMax sessions, none at the end.
func (t *telling) next(d *directory) []byte {
	var body []byte
	for n := 0; n < proto.SessionsMax; n++ {
		for len(t.rest) == 0 {
			if t.stripe == len(d.stripes) {
				return body
			}
			t.rest = d.sessionsOf(t.stripe)
			t.stripe++
		}
		body = proto.AppendSession(body, t.rest[0])
		t.rest = t.rest[1:]
	}
	return body
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
