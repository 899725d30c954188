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
	// holdTries bounds how often a hold is sent to a server without room: the sender of a stored
	// message waits for it.
	holdTries = 3
	// holdPause lets the link drain before the next try.
	holdPause = 20 * time.Millisecond
)

// errNoSession says that the server does not have the session that it was
// asked about.
var errNoSession = errors.New("the session has ended")

// session is one login of a user, according to a record or a server.
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

// holdState is what a server says of a session with a hold, a resume or an up.
type holdState struct {
	holds uint64 // how often the session has been held
	// cursor is the highest serial of a page that was pushed to the session; 0: none was. Texts of
	// those pages that it has not acknowledged are still in the box, and must not be sent again.
	cursor uint64
	ack    bool        // it acknowledges texts
	full   bool        // it has no room for a page; its server says when it has
	older  proto.Epoch // epoch of the server whose older session of the user may still be returning texts; 0: none
}

// readHoldState reads the hold state of a record. An error ends the link.
func readHoldState(r *proto.Record) (holdState, error) {
	older, err := proto.ParseEpoch(r.Body)
	return holdState{holds: r.Value, cursor: uint64(r.Text), ack: r.Flags&proto.FlagAck != 0, full: r.Flags&proto.FlagFull != 0, older: older}, err
}

// merge is what two words about one session say together.
func (h holdState) merge(other holdState) holdState {
	if other.older == 0 {
		other.older = h.older
	}
	other.holds, other.cursor, other.ack = max(h.holds, other.holds), max(h.cursor, other.cursor), h.ack || other.ack
	return other
}

// hold makes the session refuse live private messages from now on. The session may still be
// returning texts to the box.
func (s session) hold(ctx context.Context) (holdState, error) {
	var err error
	for range holdTries {
		ask := s.record(proto.RecordHold)
		answer := s.server.ask(&ask)
		err = s.server.failure("hold", answer)
		if err == nil || errors.Is(err, errReturning) || errors.Is(err, errNoSession) || noAnswer(err) {
			if errors.Is(err, errReturning) {
				err = nil
			}
			return answer.state, err
		}
		if ctx.Err() != nil {
			return holdState{}, err // the caller has no time left; the catch-up holds the session
		}
		sleep(ctx, holdPause)
	}
	return holdState{}, err
}

// holdOneWay sends a hold without waiting for an answer, so that it follows what the server has not
// answered yet. If the link is down or has no room, nothing is sent.
func (s session) holdOneWay() {
	if on := s.server.stream.Load(); on != nil {
		ask := s.record(proto.RecordHold)
		ask.ID = on.nextID()
		_ = on.conn.Send(&ask) // the session has a pending hold in any case
	}
}

// The reasons of a server, beside the errors of the link.
var (
	errBusy      = errors.New("busy")
	errReturning = errors.New("the session puts what it kept into the box")
)

// failure is the error of the server's answer, or nil if it did what it was asked.
func (s *server) failure(doing string, answer reply) error {
	err := answer.err
	switch {
	case err != nil:
	case answer.verdict == proto.VerdictTaken:
		return nil
	case answer.verdict == proto.VerdictAbsent || answer.verdict == proto.VerdictStale:
		return errNoSession
	case answer.verdict == proto.VerdictBusy:
		err = errBusy
	case answer.verdict == proto.VerdictReturning:
		err = errReturning
	default:
		err = errors.New(answer.verdict.String())
	}
	return fmt.Errorf("route: %s at %s: %w", doing, s.member.Name(), err)
}
