package loadgen

import (
	"os"
	"time"
)

// usage is the CPU time that processes have used so far.
type usage struct {
	servers []time.Duration // in the order of their pids
	own     time.Duration
	threads map[string]time.Duration // own, by the thread's id
	busiest time.Duration            // of the threads, in what since returns
}

func usageOf(serverPIDs []int) (u usage, err error) {
	u.servers = make([]time.Duration, len(serverPIDs))
	for i, pid := range serverPIDs {
		if u.servers[i], err = cpuTime(pid); err != nil {
			return u, err
		}
	}
	if u.own, err = cpuTime(os.Getpid()); err != nil {
		return u, err
	}
	u.threads, err = threadTimes()
	return u, err
}

// since is the usage between before and u.
func (u usage) since(before usage) usage {
	used := usage{servers: make([]time.Duration, len(u.servers)), own: u.own - before.own}
	for i, t := range u.servers {
		used.servers[i] = t - before.servers[i]
	}
	for thread, t := range u.threads {
		used.busiest = max(used.busiest, t-before.threads[thread])
	}
	return used
}

// strain is a usage as a part of the machine, over span seconds.
func (u usage) strain(span float64) strain {
	if span <= 0 {
		return strain{}
	}
	return strain{own: u.own.Seconds() / span, busiest: u.busiest.Seconds() / span, servers: u.ofServers().Seconds() / span}
}

// ofServers is the sum over the processes under test.
func (u usage) ofServers() (sum time.Duration) {
	for _, t := range u.servers {
		sum += t
	}
	return sum
}

// memoryOf is the memory of each process that is in RAM.
func memoryOf(pids []int) ([]int64, error) {
	bytes := make([]int64, len(pids))
	for i, pid := range pids {
		var err error
		if bytes[i], err = residentBytes(pid); err != nil {
			return nil, err
		}
	}
	return bytes, nil
}
