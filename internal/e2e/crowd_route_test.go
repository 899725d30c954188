package e2e

import (
	"testing"

	"cim/proto"
)

// TestCrowdAtRoute opens more HTTP connections than the process has files for: users keep their
// sessions, and everything works again afterwards.
func TestCrowdAtRoute(t *testing.T) {
	t.Parallel()
	const descriptors, conns = 600, 900
	sys := startLimited(t, descriptors)
	bea, ada := sys.old("bea"), sys.ours("ada")
	onAda := ada.logIn()
	at := bea.wantLogin(proto.CodeSuccess, "")
	for _, address := range []string{sys.routes[0][len("http://"):], at.http[len("http://"):]} {
		all := gather(t, address, conns)
		for range 20 { // connections of clients come while there are no files left
			gather(t, at.address, 10).scatter()
			onAda.wantSend(proto.OutcomeDelivered, ada, "still here")
		}
		all.scatter()
	}
	var want []delivery
	for range 40 {
		want = append(want, from(ada, "still here")...)
	}
	eventually(t, "the route answers", func() bool {
		code, err := bea.private(ada, "back again")
		return err == nil && code == proto.CodeSuccess
	})
	onAda.wantExactly(append(want, from(bea, "back again")...)...)
	bea.logIn().wantExactly()
}
