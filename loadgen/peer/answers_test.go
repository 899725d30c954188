package peer

import "testing"

// TestAnswers lets messages wait for their answers, few and many: they come in
// order, and no memory is left of those that have come.
func TestAnswers(t *testing.T) {
	var a answers
	sent, answered := uint64(0), uint64(0)
	send := func() {
		sent++
		if before := a.add(sent * 10); before != sent-1 {
			t.Fatalf("message %d: %d before it", sent, before)
		}
	}
	answer := func() {
		id, before, ok := a.next()
		if !ok || id != 10*(answered+1) || before != answered {
			t.Fatalf("answer %d: to message %d, %d before it, %t", answered+1, id, before, ok)
		}
		answered++
	}
	for range 5 {
		send()
	}
	for range 10_000 { // never less than 5 wait
		send()
		answer()
	}
	if len(a.ids) > 20 {
		t.Errorf("%d ids are kept for 5 messages", len(a.ids))
	}
	for range 5 {
		answer()
	}
	if _, _, ok := a.next(); ok {
		t.Error("an answer to no message")
	}
}
