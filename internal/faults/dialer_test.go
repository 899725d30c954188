package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cim/internal/child"
	"cim/proto"
)

// dialerOrder is the variable that makes this program a dialer: a process of
// its own has a descriptor limit of its own. It says: address, local host, how
// many, the first user's id.
const dialerOrder = "CIM_FAULTS_DIALER"

// dialer is such a process, as the test sees it. It answers each line with how
// many it has dialed, and how many of those the other side has closed.
type dialer struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
}

// newDialer starts a process that dials, and logs each connection in; the
// test's end ends it.
func newDialer(t *testing.T, at, local string, count, firstUser int) *dialer {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(cmd.Environ(), fmt.Sprintf("%s=%s %s %d %d", dialerOrder, at, local, count, firstUser))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	run, err := child.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // it may have been closed, which ends the process
		<-run.Ended()
		stop()
	})
	return &dialer{t: t, in: in, out: bufio.NewReader(out)}
}

// look asks for the counts.
func (d *dialer) look() (dialed, failed, closed int) {
	d.t.Helper()
	if _, err := io.WriteString(d.in, "\n"); err != nil {
		d.t.Fatal(err)
	}
	line, err := d.out.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscan(line, &dialed, &failed, &closed)
	}
	if err != nil {
		d.t.Fatalf("a dialer said %q: %v", line, err)
	}
	return dialed, failed, closed
}

// leave closes all its connections, with the process.
func (d *dialer) leave() {
	d.t.Helper()
	if err := d.in.Close(); err != nil {
		d.t.Error(err)
	}
}

// dials are what the dialer's process counts.
type dials struct{ dialed, failed, closed atomic.Int64 }

// runDialer is that process. It ends with its standard input.
func runDialer(order string) (status int) {
	fields := strings.Fields(order)
	if len(fields) != 4 {
		return 2
	}
	count, err1 := strconv.Atoi(fields[2])
	first, err2 := strconv.Atoi(fields[3])
	if errors.Join(err1, err2) != nil {
		return 2
	}
	var d dials
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range count {
			next <- first + i
		}
	}()
	for range 32 {
		go func() {
			for user := range next {
				d.dial(fields[0], fields[1], user)
			}
		}()
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println(d.dialed.Load(), d.failed.Load(), d.closed.Load())
	}
	return 0
}

// dial makes one connection, logs in as the original does, and pings until the
// end of the process or of the connection.
func (d *dials) dial(at, local string, user int) {
	from := net.Dialer{Timeout: enterMax, LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
	conn, err := from.Dial("tcp", at)
	d.dialed.Add(1)
	if err != nil {
		d.failed.Add(1)
		return
	}
	who := proto.User{ID: proto.UserID(user), Name: fmt.Sprint("dialer ", user)}
	_, err = conn.Write(proto.AppendLogin(nil, who, proto.DialectV2, proto.Ticket{}))
	if err != nil {
		d.closed.Add(1)
		return
	}
	go func() {
		part := make([]byte, 512)
		for {
			_ = conn.SetReadDeadline(time.Now().Add(originalPing))
			_, err := conn.Read(part)
			var e net.Error
			if err != nil && errors.As(err, &e) && e.Timeout() {
				_, err = conn.Write([]byte(proto.Ping))
			}
			if err != nil {
				d.closed.Add(1)
				_ = conn.Close() // it has ended
				return
			}
		}
	}()
}
