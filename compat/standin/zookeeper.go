package standin

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
)

const (
	zkSession = 5 * time.Second
	// zkMax bounds the wait for a session.
	zkMax = 30 * time.Second
)

// quiet keeps the library from writing to standard error.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

// connectZK returns a connection with a session.
func connectZK(addr string) (*zk.Conn, error) {
	conn, events, err := zk.Connect([]string{addr}, zkSession, zk.WithLogger(quiet{}))
	if err != nil {
		return nil, fmt.Errorf("original: ZooKeeper: %w", err)
	}
	late := time.NewTimer(zkMax)
	defer late.Stop()
	for {
		select {
		case event := <-events:
			if event.State == zk.StateHasSession {
				return conn, nil
			}
		case <-late.C:
			conn.Close()
			return nil, fmt.Errorf("original: ZooKeeper at %s gives no session", addr)
		}
	}
}

// registerZK makes the node of a server: ephemeral, without data. The nodes
// above it are persistent.
func registerZK(conn *zk.Conn, root, name string) error {
	path := ""
	for part := range strings.SplitSeq(strings.Trim(root, "/"), "/") {
		path += "/" + part
		if _, err := conn.Create(path, nil, 0, zk.WorldACL(zk.PermAll)); err != nil && err != zk.ErrNodeExists {
			return fmt.Errorf("original: make %s: %w", path, err)
		}
	}
	if _, err := conn.Create(root+"/"+name, nil, zk.FlagEphemeral, zk.WorldACL(zk.PermAll)); err != nil {
		return fmt.Errorf("original: register %s: %w", name, err)
	}
	return nil
}
