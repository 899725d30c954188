package e2e

import (
	"bytes"
	"net/http"
	"testing"

	"cim/proto"
)

// TestLinkSecret starts a route with another secret than the rest have: it says
// what to do, and does not become ready. The others work.
func TestLinkSecret(t *testing.T) {
	t.Parallel()
	if !clustered {
		return
	}
	const right, wrong = "the right one, 16 bytes and more", "the wrong one, 16 bytes and more"
	sys, c := startCluster(t, components{secret: right})
	olga, ada := sys.old("olga").logIn(), sys.ours("ada").logIn()
	for _, secret := range []string{wrong, ""} {
		stranger := c.startRoute(sys, secret)
		refused := []byte("refused, secret")
		eventually(t, "both servers have refused it twice", func() bool {
			return bytes.Count(stranger.log.bytes(), refused) >= 2*clusterServers
		})
		for _, advice := range []string{"CIM_LINK_SECRET", "same value on all routes and servers"} {
			if !bytes.Contains(stranger.log.bytes(), []byte(advice)) {
				t.Errorf("its log does not speak of %q", advice)
			}
		}
		for _, p := range append(sys.processes, stranger) {
			for _, secret := range []string{right, wrong} {
				if bytes.Contains(p.log.bytes(), []byte(secret)) {
					t.Error("a secret is in a log")
				}
			}
		}
		if status, text, err := sys.get("http://" + stranger.Admin + "/readyz"); err != nil || status != http.StatusServiceUnavailable {
			t.Errorf("/readyz: HTTP %d, %q, %v, want 503", status, text, err)
		}
		lost := &user{User: sys.old("lost").User, system: sys, at: "http://" + stranger.Route}
		lost.wantLogin(proto.CodeNoServer, "")
	}
	olga.user.sendPrivate(proto.CodeSuccess, ada.user, "the right route")
	ada.wantSend(proto.OutcomeDelivered, olga.user, "the right link")
	ada.wantExactly(from(olga.user, "the right route")...)
	olga.wantExactly(from(ada.user, "the right link")...)
}
