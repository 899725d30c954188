package route

import (
	"fmt"
	"strings"
	"testing"

	"cim/internal/limit"
	"cim/proto"
)

// TestLimitsAreAnswered: each call above its limit is 6000, names the setting and is counted; calls
// with another limit continue.
func TestLimitsAreAnswered(t *testing.T) {
	config := testConfig()
	config.Access.Limits = limit.Config{Registrations: 1, UserLogins: 1, UserMessages: 2, GroupBytes: 1}
	w := newWorldWith(t, 1, config, &hookedStore{})
	ann, ben := w.account("ann"), w.account("ben")
	// above asks until it is refused: buckets fill while the test runs.
	above := func(path, body, what string, within int) {
		t.Helper()
		var a proto.Answer
		for asked := 0; ; asked++ {
			if _, a = w.post(path, body); a.Code == proto.Number(proto.CodeLimit) {
				if asked < within {
					t.Errorf("%s: request %d was refused, want %d at once", path, asked, within)
				}
				break
			}
			if asked > 100*within {
				t.Fatalf("%s: %d requests and no limit", path, asked)
			}
		}
		if !strings.Contains(a.Message, "limit-"+what) {
			t.Errorf("%s: answered %q, want the setting", path, a.Message)
		}
		if got := w.metrics.Counter(fmt.Sprintf("cim_route_limited_total{what=%q}", what)).Get(); got != 1 {
			t.Errorf("%s: %d counted, want 1", path, got)
		}
	}
	above(proto.PathRegister, `{"userName":"ann"}`, "registrations", limit.BurstSeconds-2)
	above(proto.PathLogin, fmt.Sprintf(`{"userId":%d,"userName":"ann"}`, ann.ID), "user-logins", limit.BurstSeconds)
	above(proto.PathGroup, fmt.Sprintf(`{"userId":%d,"msg":%q}`, ann.ID, strings.Repeat("x", limit.MessageBytesMax/2)), "group-bytes", 1)
	above(proto.PathPrivate, fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"msg":"x"}`, ann.ID, ben.ID), "user-messages", 2*limit.BurstSeconds-2)
	w.want(proto.CodeSuccess, proto.PathRegister, `{"userName":"ann","find":1}`)
	batch := fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"batchMsg":["x"%s]}`, ben.ID, ann.ID, strings.Repeat(`,"x"`, 2*limit.BurstSeconds-1))
	w.want(proto.CodeOffline, proto.PathPrivate, batch)
	w.want(proto.CodeLimit, proto.PathPrivate, batch)
	w.stop() // the log is read
	if want := "limit=registrations"; !strings.Contains(w.log.String(), want) {
		t.Errorf("the log does not say which limit:\n%s", w.log.String())
	}
}
