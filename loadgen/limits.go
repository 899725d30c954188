package loadgen

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// descriptorsSpare covers the event loops, standard streams and sockets that
// are closed a moment late.
const descriptorsSpare = 64

// checkDescriptors reports a fleet that would not fit the process's limit. Go
// has already raised the soft limit to the hard one.
func checkDescriptors(cfg Config) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("loadgen: descriptor limit: %w", err)
	}
	// A login holds its socket twice for a moment, beside its HTTP connections.
	extra := (2+len(cfg.Routes))*cfg.LoginsAtOnce + cfg.HTTPConns + descriptorsSpare
	for _, conns := range cfg.Conns {
		if need := conns + extra; uint64(need) > limit.Cur {
			return fmt.Errorf("loadgen: %d connections need %d descriptors and the limit is %d: "+
				"use at most %d connections, or raise the limit with ulimit -n", conns, need, limit.Cur,
				max(0, int64(limit.Cur)-int64(extra)))
		}
	}
	return nil
}
