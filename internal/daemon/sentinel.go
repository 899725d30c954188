package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// sentinelCommand writes the configuration of a Sentinel, unless an earlier run
// has: the Sentinel rewrites it.
func sentinelCommand(dir string, own int, name, host string, port, quorum int, lines []string) (*exec.Cmd, error) {
	path := filepath.Join(dir, "sentinel-"+strconv.Itoa(own)+".conf")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nloglevel warning\n"+
			"sentinel monitor %s %s %d %d\nsentinel down-after-milliseconds %s 1000\nsentinel failover-timeout %s 3000\n",
			own, dir, name, host, port, quorum, name, name) + strings.Join(lines, "\n") + "\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return program("redis-server", path, "--sentinel")
}
