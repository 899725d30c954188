package e2e

import (
	"fmt"
	"strings"
	"testing"

	"cim/proto"
)

// TestMisplaced kills servers of the original whose nodes still stand. A route of
// the original sends the users that it would send there to a server of ours, and
// writes the dead ones into their records: a route of ours puts these right, and
// messages arrive.
func TestMisplaced(t *testing.T) {
	t.Parallel()
	if !clustered {
		return
	}
	f := newFleet(t, false)
	defer func() { f.java.Stop() }()
	f.startServer(f.system, "0", "0", "--login", "open", "--route-url", f.java.URL())
	const deads = 3 // so that hardly any ring leaves them no user
	for range deads {
		dead := f.originalServer()
		defer dead.Stop()
		dead.Die()
	}
	route := f.startRoute(f.system, "", "--original")
	f.awaitMembers(route, 1, deads)
	for i := range 12 {
		f.movers = append(f.movers, &mover{fleet: f, name: fmt.Sprint("misplaced", i), route: f.java.URL()})
	}
	defer func() {
		for _, m := range f.movers {
			m.leave()
		}
	}()
	for _, m := range f.movers {
		m.join()
	}
	// By our route alone, over HTTP: the original's sends to whatever the record names.
	sender := &mover{fleet: f, name: "sender", route: "http://" + route.Route}
	sender.join()
	defer sender.leave()
	for _, m := range f.movers {
		tries := 0
		eventually(t, m.name+" hears", func() bool {
			tries++
			code, err := sender.send(m, fmt.Sprintf("fence 1 %d", tries))
			return err == nil && code == proto.CodeSuccess && within(waitMax/100, func() bool { return m.heard("fence 1 ") })
		})
	}
	_, text, err := f.get("http://" + route.Admin + "/metrics")
	if err != nil || !strings.Contains(text, "cim_route_records_put_right_total") || strings.Contains(text, "cim_route_records_put_right_total 0\n") {
		t.Errorf("no record was put right: %v", err)
	}
}
