package e2e

import (
	"net/http"
	"strings"
	"testing"

	"cim/proto"
)

// redisDoes sends one command to the cluster's Redis, which must do it.
func (c *cluster) redisDoes(t *testing.T, command ...string) {
	t.Helper()
	in := c.askRedis(t, command...)
	if said, err := in.ReadString('\n'); err != nil || strings.HasPrefix(said, "-") {
		t.Fatalf("%v: Redis says %q, %v", command, said, err)
	}
}

// TestRecordsLost deletes all presence in Redis while users are connected: it is restored, texts
// that were stored meanwhile arrive before later ones, and users who have left meanwhile are gone.
func TestRecordsLost(t *testing.T) {
	t.Parallel()
	if !clustered {
		return
	}
	sys, c := startCluster(t, components{})
	sender, olga, ada, leaves := sys.old("sender"), sys.old("olga"), sys.ours("ada"), sys.ours("leaves")
	sessions := []*session{olga.logIn(), ada.logIn()}
	gone := leaves.logIn()
	const records = "for _, key in ipairs(redis.call('keys', 'cim-route:*')) do redis.call('del', key) end"
	lose := func() { c.redisDoes(t, "EVAL", `"`+records+`"`, "0") }
	lose()
	gone.close()
	wants := map[*session][]delivery{}
	for _, s := range sessions {
		// Until Redis has notified the route, or if a server has just reported all its sessions,
		// the route's cache still has the user's place.
		eventually(t, "a message is stored", func() bool {
			code, err := sender.private(s.user, "first")
			if err != nil || code != proto.CodeSuccess && code != proto.CodeOffline {
				t.Fatalf("code %s, %v", code, err)
			}
			if code == proto.CodeOffline {
				wants[s] = append(wants[s], stored(sender, "first")...)
				return true
			}
			wants[s] = append(wants[s], from(sender, "first")...)
			lose()
			return false
		})
	}
	eventually(t, "those who are connected are online, and only they", func() bool {
		online := sys.online()
		return len(online) == 2 && online[int64(olga.ID)] && online[int64(ada.ID)]
	})
	for _, s := range sessions {
		want := wants[s]
		eventually(t, "a message reaches "+s.user.Name+" again", func() bool {
			code, err := sender.private(s.user, "then")
			if err != nil || code != proto.CodeSuccess && code != proto.CodeOffline {
				t.Fatalf("code %s, %v", code, err)
			}
			if code == proto.CodeSuccess {
				want = append(want, from(sender, "then")...)
				return true
			}
			want = append(want, stored(sender, "then")...) // behind the catch-up
			return false
		})
		s.wantExactly(want...)
	}
}

// TestStoreFull lets Redis refuse what is written: the routes are not ready and
// say why, at the admin port and in the log, and are ready again by
// themselves.
func TestStoreFull(t *testing.T) {
	t.Parallel()
	if !clustered {
		return
	}
	sys, c := startCluster(t, components{})
	ann := sys.ours("ann")
	ready := func(p *process) (int, string) {
		status, text, err := sys.get("http://" + p.Admin + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		return status, text
	}
	for _, p := range c.routes {
		eventually(t, "its log has that it is ready", func() bool { return strings.Contains(string(p.log.bytes()), "msg=ready ") })
	}
	c.redisDoes(t, "CONFIG", "SET", "maxmemory", "1mb")
	for _, p := range c.routes {
		eventually(t, "a route is not ready and says why", func() bool {
			status, text := ready(p)
			return status == http.StatusServiceUnavailable && strings.Contains(text, "route: store: redis: "+c.redis.Addr+" is full (maxmemory)")
		})
	}
	ann.wantLogin(proto.CodeFailure, "")
	for _, p := range c.routes {
		eventually(t, "its log has it", func() bool {
			return strings.Contains(string(p.log.bytes()), `msg="not ready" why="route: store: redis: `)
		})
	}
	c.redisDoes(t, "CONFIG", "SET", "maxmemory", "0")
	for _, p := range c.routes {
		eventually(t, "a route is ready again", func() bool {
			status, _ := ready(p)
			return status == http.StatusOK
		})
		eventually(t, "its log has it", func() bool { return strings.Contains(string(p.log.bytes()), `msg="ready again"`) })
	}
	ann.logIn()
}
