package route

import (
	"context"
	"time"

	"cim/proto"
)

// goesSlowly reports whether item has to leave its worker before it is pushed:
// its receiver is at a server of the original, or an earlier message of the pair
// has left.
func (s *sends) goesSlowly(ctx context.Context, item sent) bool {
	if s.slow.newest(pair{item.sender, item.receiver}) != nil {
		return true
	}
	if len(s.route.cluster.servers().originals) == 0 {
		return false
	}
	record, found, err := s.route.lookup(ctx, item.receiver)
	return err == nil && found && s.route.originalServer(record) != nil // an error comes again
}

// beside sends item beside its worker, when the earlier messages of the pair are
// through. What has no turn within pushTimeout is stored if it is for a server
// of the original.
func (s *sends) beside(item sent) {
	arrived := time.Now()
	before, leave := s.slow.take(pair{item.sender, item.receiver})
	if leave == nil {
		s.route.counters.refused.inc("send")
		s.answer(item, answer{code: proto.CodeLimit})
		return
	}
	s.groups.Go(func() {
		defer leave()
		m := item.message()
		m.by, m.until = arrived.Add(pushTimeout), arrived.Add(returningMax)
		awaitTurn(before, m.by)
		work := newDeadline(storeTimeout)
		defer work.stop()
		s.settle(item, s.route.deliver(work, item.receiver, m))
	})
}
