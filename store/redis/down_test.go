package redis

import (
	"strings"
	"testing"
)

// TestClusterDown ends one master of a Redis Cluster: the store is not ready and
// says why, naming the node, and is ready again when the master is back.
func TestClusterDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	s, _ := openedLogged(t, Config{URLs: c.urls()})
	loggedIn(t, s, registered(t, s, "ann"), 0)
	down := c.nodes[len(c.nodes)-1]
	if err := down.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, why := range []string{down.Addr + " refuses connections", "does not serve all slots (CLUSTERDOWN"} {
		await(t, why, func() bool {
			err := s.Ready(t.Context())
			return err != nil && strings.Contains(err.Error(), why)
		})
	}
	if err := down.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "it is ready again", func() bool { return s.Ready(t.Context()) == nil })
	loggedIn(t, s, registered(t, s, "bob"), 0)
}
