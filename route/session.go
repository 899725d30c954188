package route

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cim/proto"
	"cim/store"
)

const (
	// holdTries bounds how often a session is held again whose server had no
	// room: a message that was stored waits for it.
	holdTries = 3
	// holdPause lets a link's backlog go before the next try.
	holdPause = 20 * time.Millisecond
)

// errNoSession says that the server does not have the session that it was
// asked about.
var errNoSession = errors.New("the session has ended")

// session is one login of a user, as a record or its server told of it.
type session struct {
	user       proto.UserID
	generation proto.Generation
	server     *server
}

// session returns the session that record is about, and false if its server
// is not live.
func (r *Route) session(user proto.UserID, record store.Record) (session, bool) {
	s := r.cluster.server(record.Place.Epoch)
	return session{user, record.Generation, s}, s != nil
}

// record is what asks the session's server to do something with it.
func (s session) record(kind proto.RecordKind) proto.Record {
	return proto.Record{Kind: kind, User: s.user, Generation: s.generation}
}

// hold makes the session refuse live private messages from now on, and returns
// the count of its holds.
func (s session) hold(ctx context.Context) (holds uint64, err error) {
	for range holdTries {
		ask := s.record(proto.RecordHold)
		answer := s.server.ask(&ask)
		holds, err = answer.value, s.server.failure("hold", answer)
		if err == nil || errors.Is(err, errNoSession) || noAnswer(err) {
			return holds, err
		}
		if ctx.Err() != nil {
			return 0, err // whoever stored has no more time; the catch-up holds
		}
		sleep(ctx, holdPause)
	}
	return 0, err
}

// failure is why the server did not do what it was asked, or nil.
func (s *server) failure(doing string, answer reply) error {
	switch {
	case answer.err != nil:
		return fmt.Errorf("route: %s at %s: %w", doing, s.member.Name(), answer.err)
	case answer.verdict == proto.VerdictTaken:
		return nil
	case answer.verdict == proto.VerdictAbsent || answer.verdict == proto.VerdictStale:
		return errNoSession
	}
	return fmt.Errorf("route: %s at %s: %s", doing, s.member.Name(), answer.verdict)
}
