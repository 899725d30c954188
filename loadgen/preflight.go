package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"cim/proto"
)

// descriptorsSpare covers the event loops, standard streams and sockets that
// are closed a moment late.
const descriptorsSpare = 64

// warn writes to progress what may not fit, and returns an error for what cannot fit.
func warn(cfg Config, progress io.Writer) error {
	warnings, err := preflight(cfg)
	if err != nil {
		return err
	}
	for _, warning := range warnings {
		printProgress(progress, "warning: %s", warning)
	}
	return nil
}

// preflight reports what of cfg will not fit this machine, each with the setting
// that changes it, and warns of what may not.
func preflight(cfg Config) (warnings []string, err error) {
	for _, conns := range cfg.Conns {
		if warning := checkPorts(cfg, conns); warning != "" {
			warnings = append(warnings, warning)
		}
		err = errors.Join(err, checkMemory(cfg, conns))
	}
	one := cfg // process: the first one has the most clients
	if cfg.Procs > 1 {
		one = cfg.part(0, cfg.Procs)
	}
	return warnings, errors.Join(checkDescriptors(one, cfg), err)
}

// descriptorsBeside is what a process needs beside one for each client. A login
// holds its socket twice for a moment, beside its HTTP connections.
func (c Config) descriptorsBeside() int {
	return (2+len(c.Routes))*c.LoginsAtOnce + c.HTTPConns + descriptorsSpare
}

// checkDescriptors reports a fleet that would not fit the process's limit. Go
// has already raised the soft limit to the hard one.
func checkDescriptors(cfg, whole Config) error {
	limit, err := descriptorLimit()
	if err != nil {
		return fmt.Errorf("loadgen: descriptor limit: %w", err)
	}
	beside := cfg.descriptorsBeside()
	for _, conns := range cfg.Conns {
		if need := conns + beside; need > limit {
			return fmt.Errorf("loadgen: %d connections in a process need %d descriptors and the limit is %d: "+
				"use at most %d, %sor raise the limit with ulimit -n", conns, need, limit,
				max(0, limit-beside), whole.shareHint(conns, limit-beside))
		}
	}
	return nil
}

// shareHint is how many processes would do, if they can share this load.
func (c Config) shareHint(conns, fit int) string {
	shared := c
	shared.Procs = max(1, c.Procs) * (1 + conns/max(1, fit))
	if shared.Check() != nil {
		return ""
	}
	return fmt.Sprintf("share them with --procs %d, ", shared.Procs)
}

const portRangeFile = "/proc/sys/net/ipv4/ip_local_port_range"

// checkPorts warns of more connections than the ports of all sources to one server. There may be
// several servers, which only the logins show.
func checkPorts(cfg Config, conns int) string {
	b, err := os.ReadFile(portRangeFile)
	fields := bytes.Fields(b)
	if err != nil || len(fields) != 2 {
		return "" // not a Linux that we know: the connections will show
	}
	first, err1 := strconv.Atoi(string(fields[0]))
	last, err2 := strconv.Atoi(string(fields[1]))
	sources := max(1, len(cfg.Sources))
	if ports := sources * (last - first + 1); err1 == nil && err2 == nil && conns > ports {
		return fmt.Sprintf("%d connections may not fit: %d source addresses have %d ports to one server: "+
			"give more with --src, as 127.0.0.2-9, or widen net.ipv4.ip_local_port_range", conns, sources, ports)
	}
	return ""
}

// connBytes is the memory of one client: of 10,000 idle ones each has 2.4 KB in the process and
// about 5 KB in the kernel. hearingBytes is for each slot that it receives.
const (
	connBytes    = 8 << 10
	hearingBytes = 4
)

// checkMemory reports a fleet that needs more memory than is free.
func checkMemory(cfg Config, conns int) error {
	available, err := availableBytes()
	if err != nil {
		return nil // not a Linux that we know
	}
	groups := 0
	for _, l := range cfg.loads() {
		most, _ := cfg.senders(conns, l)
		groups = max(groups, most)
	}
	if need := int64(conns) * int64(connBytes+hearingBytes*groups); need > available {
		return fmt.Errorf("loadgen: %d connections need about %d MiB of memory and %d MiB are free: give fewer --conns", conns, need>>20, available>>20)
	}
	return nil
}

func availableBytes() (int64, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("loadgen: free memory: %w", err)
	}
	_, rest, _ := bytes.Cut(b, []byte("MemAvailable:"))
	line, _, _ := bytes.Cut(rest, []byte("kB"))
	kilobytes, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("loadgen: free memory: %w", err)
	}
	return kilobytes << 10, nil
}

// hinted adds what to do to an error of a connection that found no port or no
// descriptor.
func hinted(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: no port is free: give more source addresses with --src, as 127.0.0.2-9", err)
	case errors.Is(err, syscall.EMFILE):
		return fmt.Errorf("%w: raise the limit with ulimit -n", err)
	}
	if code := (codeError{}); errors.As(err, &code) && code.code == proto.CodeNoServer {
		return fmt.Errorf("%w: no server is up, or none has room: its own limit of descriptors, ulimit -n where it was started, bounds its connections", err)
	}
	return err
}
