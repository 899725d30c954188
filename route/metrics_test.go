package route

import "testing"

// TestLinkGauges: a server whose link is down is live, and counts as no link.
func TestLinkGauges(t *testing.T) {
	w := newWorld(t, 2)
	w.servers[2].unreachable.Store(true)
	w.servers[2].cutAll()
	w.eventually("one link is down", func() bool { return len(w.route.cluster.servers().linked()) == 1 })
	for name, want := range map[string]string{"cim_route_links_up": "1", "cim_route_servers_live": "2", "cim_route_links_suspect": "0"} {
		if got := w.counter(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}
