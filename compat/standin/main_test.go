package standin

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"cim/internal/daemon"
)

// Shared by all tests: each has users of its own, and a folder in ZooKeeper.
var redisD, zooD *daemon.Daemon

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "cim-original")
	if err != nil {
		return failed(err)
	}
	defer os.RemoveAll(dir)
	if redisD, err = daemon.Redis(context.Background(), filepath.Join(dir, "redis")); err != nil {
		return failed(err)
	}
	if zooD, err = daemon.ZooKeeper(context.Background(), filepath.Join(dir, "zookeeper")); err != nil {
		return failed(err)
	}
	code := m.Run()
	for _, d := range []*daemon.Daemon{redisD, zooD} {
		if err := d.Stop(); err != nil {
			return failed(err)
		}
	}
	if err := goleak.Find(); err != nil && code == 0 {
		return failed(err)
	}
	return code
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}
