package e2e

import (
	"testing"

	"cim/proto"
)

// TestIntakePast sends a whole body of one byte too much: a client that writes it all before it
// reads still sees the answer.
func TestIntakePast(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	bea, olga := sys.old("bea"), sys.old("olga")
	at := olga.wantLogin(proto.CodeSuccess, "")
	for range 20 {
		a := bea.push(at, padded(t, pushed(bea, olga, "MESSAGE", "six"), intakeBodyMax+1))
		if a.status != 413 || a.code != proto.CodeInvalid {
			t.Fatalf("HTTP %d, code %s, want 413 and 3000", a.status, a.code)
		}
	}
}
