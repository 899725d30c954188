package loadgen

import "testing"

// TestBookSize measures what a message costs beside its deliveries: its intent
// and outcome are about three bits.
func TestBookSize(t *testing.T) {
	const messages = 1_000_000
	var b book
	for sequence := range uint32(messages) {
		b.note(sequence, Outcome(sequence%uint32(Unknown+1)))
	}
	bits := float64(wordBits*(cap(b.promised)+cap(b.failed))) / messages
	t.Logf("%.2f bits a message", bits)
	if bits > 3 {
		t.Errorf("%.2f bits a message, want 3 at most", bits)
	}
}
