//go:build linux

package e2e

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cim/proto"
)

// TestShortOfDescriptors: a shortage that passes, met by strangers at each port, ends no session
// and no process. Clients that waited are served afterwards.
func TestShortOfDescriptors(t *testing.T) {
	t.Parallel()
	const strangers = 40
	sys := startSystem(t)
	bea, ada := sys.old("bea"), sys.ours("ada")
	onAda := ada.logIn()
	onBea := bea.logIn()
	for _, p := range sys.processes {
		for _, address := range []string{p.CIM, p.HTTP, p.Link, p.Route, p.Admin} {
			if address == "" {
				continue
			}
			before := strings.Count(string(p.log.bytes()), "short of descriptors")
			p.allow(p.freeDescriptor())
			var conns []net.Conn
			for range strangers {
				if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil { // the kernel's queue may be full
					conns = append(conns, conn)
				}
			}
			eventually(t, "a port of "+p.args[0]+" pauses", func() bool {
				return strings.Count(string(p.log.bytes()), "short of descriptors") > before
			})
			p.allow(descriptorsAllowed)
			for _, conn := range conns {
				_ = conn.Close()
			}
		}
	}
	if err := onAda.ping(); err != nil {
		t.Errorf("a session of ours: %v", err)
	}
	eventually(t, "a message is taken", func() bool {
		code, err := bea.private(ada, "after the shortage")
		return err == nil && code == proto.CodeSuccess
	})
	onAda.wantExactly(from(bea, "after the shortage")...)
	carl := sys.ours("carl")
	carl.logIn().wantExactly()
	onBea.wantExactly()
}

const descriptorsAllowed = 4096

// allow changes the process' limit of descriptors.
func (p *process) allow(descriptors int) {
	p.t.Helper()
	limit := unix.Rlimit{Cur: uint64(descriptors), Max: descriptorsAllowed}
	if err := unix.Prlimit(p.PID, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		p.t.Fatal(err)
	}
}

// freeDescriptor is the number that the next descriptor of the process would
// have.
func (p *process) freeDescriptor() int {
	for n := 0; ; n++ {
		if _, err := os.Readlink("/proc/" + strconv.Itoa(p.PID) + "/fd/" + strconv.Itoa(n)); err != nil {
			return n
		}
	}
}
