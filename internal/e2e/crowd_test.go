package e2e

import (
	"net"
	"os"
	"testing"
	"time"

	"cim/proto"
)

// crowd is connections that say nothing.
type crowd struct {
	t     *testing.T
	conns []net.Conn
}

// gather opens count connections. One that is refused at once counts too.
func gather(t *testing.T, address string, count int) *crowd {
	t.Helper()
	c := &crowd{t: t}
	t.Cleanup(c.scatter)
	for range count {
		conn, err := net.DialTimeout("tcp", address, waitMax)
		if err != nil {
			t.Fatalf("connection %d of %d: %v", len(c.conns)+1, count, err)
		}
		c.conns = append(c.conns, conn)
	}
	return c
}

// closed counts the connections that the other side has ended by now. What it
// sent is thrown away.
func (c *crowd) closed() int {
	ended := 0
	buffer := make([]byte, 4<<10)
	for _, conn := range c.conns {
		if err := conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			c.t.Fatal(err)
		}
		_, err := conn.Read(buffer)
		if err != nil && !os.IsTimeout(err) {
			ended++
		}
	}
	return ended
}

// scatter closes all that are open.
func (c *crowd) scatter() {
	for _, conn := range c.conns {
		_ = conn.Close() // the other side may have done it
	}
	c.conns = nil
}

// TestCrowd opens more connections than a server may have by its limit of files: the surplus is
// closed at once, connected users are served, and when the crowd has gone others can log in.
func TestCrowd(t *testing.T) {
	t.Parallel()
	const descriptors, conns = 600, 700
	sys := startLimited(t, descriptors)
	bea, ada := sys.old("bea"), sys.ours("ada")
	onAda := ada.logIn()
	at := bea.wantLogin(proto.CodeSuccess, "")

	all := gather(t, at.address, conns)
	eventually(t, "the surplus is closed", func() bool { return all.closed() >= conns-descriptors })
	bea.sendPrivate(proto.CodeSuccess, ada, "over HTTP")
	onAda.wantSend(proto.OutcomeDelivered, ada, "over the connection")
	onAda.wantExactly(append(from(bea, "over HTTP"), from(ada, "over the connection")...)...)
	all.scatter()

	var s *session
	eventually(t, "a login after the crowd has gone", func() bool {
		at, code, err := bea.login("")
		if err != nil || code != proto.CodeSuccess {
			return false
		}
		s, err = bea.connect(at)
		return err == nil && s.ping() == nil
	})
	s.wantExactly()
	bea.sendPrivate(proto.CodeSuccess, ada, "here I am")
	onAda.wantExactly(from(bea, "here I am")...)
}
