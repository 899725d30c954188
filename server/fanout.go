package server

import (
	"bytes"
	"sync/atomic"

	"cim/proto"
)

// fanout is one broadcast on its way through all loops. The loop that finishes last
// answers it.
type fanout struct {
	body      []byte
	except    proto.UserID
	requester requester
	id        uint64

	left   atomic.Int32
	failed atomic.Bool
	given  atomic.Int64 // sessions of the finished loops that got it
}

// broadcast posts a record to all loops. Routes keep so few broadcasts under way
// that the mailboxes have room for them (see shard.BroadcastsMax), so a full
// mailbox is an exception, and the answer is VerdictBusy. pauses is the number of
// pauses when the record came.
func (s *Server) broadcast(r *proto.Record, from requester, pauses uint64) {
	f := &fanout{body: bytes.Clone(r.Body), except: r.User, requester: from, id: r.ID}
	f.left.Store(int32(len(s.loops)))
	s.metrics.broadcasts.Inc()
	for _, l := range s.loops {
		if !l.mailbox.post(letter{kind: letterBroadcast, fanout: f, pauses: pauses}, nil) {
			s.metrics.mailboxFull.Inc()
			f.done(proto.VerdictBusy, 0)
		}
	}
}

// done is called once by each loop, with the number of sessions that got it.
func (f *fanout) done(verdict proto.Verdict, given int) {
	f.given.Add(int64(given))
	if verdict != proto.VerdictTaken {
		f.failed.Store(true)
	}
	if f.left.Add(-1) > 0 {
		return
	}
	verdict = proto.VerdictTaken
	if f.failed.Load() {
		verdict = proto.VerdictBusy
	}
	f.requester.answer(f.id, verdict, uint64(proto.ReceiversOf(int(f.given.Load()))))
}
