package e2e

import (
	"testing"

	"cim/proto"
)

// TestGoodbyeInCatchup says goodbye while stored messages come, and reads to
// the end: all come in order, and what came comes at most once more, at the next
// login.
func TestGoodbyeInCatchup(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	bea := sys.old("bea")
	for _, receiver := range []*user{sys.old("olga"), sys.ours("ada")} {
		texts := numbered("text", 500) // half of a sender's share: the removal of the last may still be under way
		for round := range 10 {
			bea.sendMany(proto.CodeOffline, receiver, 125, texts)
			var sessions [][]delivery
			for len(firsts(sessions)) < len(texts) {
				s, err := receiver.enter()
				if err != nil {
					t.Fatal(err)
				}
				s.wait(catchupMax, func(h *heard) bool { return len(h.deliveries) > 0 })
				if err := s.leave(); err != nil {
					t.Fatal(err)
				}
				sessions = append(sessions, look(s, func(h *heard) []delivery { return h.deliveries }))
			}
			got := firsts(sessions)
			for i, want := range stored(bea, texts...) {
				if got[i] != want {
					t.Fatalf("round %d: delivery %d to %s is %v, want %v", round, i, receiver.Name, got[i], want)
				}
			}
		}
	}
}
