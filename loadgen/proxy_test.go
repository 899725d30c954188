package loadgen_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"

	"cim/proto"
)

// spoil is what a proxy does to one delivery.
type spoil int

const (
	drop     spoil = iota
	double         // at once
	swap           // with the next one of its sender on the connection
	redirect       // to another client
	flip           // one bit of the text
	rename         // the sender that is named
	spoils
)

// passOneIn is how many deliveries there are, while any are spoilt, for each that
// is not.
const passOneIn = 3

// proxy stands between a server and its clients, at the address that clients get, and spoils a
// number of deliveries, each in a way drawn by the seed.
type proxy struct {
	t        *testing.T
	server   string
	listener net.Listener
	all      sync.WaitGroup

	mu      sync.Mutex
	random  *rand.Rand
	left    int // to be spoilt
	noSwap  int // with this few left none is swapped: it might wait in vain for the next one
	done    [spoils]int
	clients []*proxied
}

// proxied is one client's connection.
type proxied struct {
	user proto.UserID // 0 before the first delivery; under the proxy's mu

	mu   sync.Mutex // of the writes
	conn net.Conn
	held map[string][]byte // by sender, a delivery that waits for the next one; the relay's own
}

func newProxy(t *testing.T, address, server string, seed uint64, count int) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	x := &proxy{t: t, server: server, listener: listener, random: rand.New(rand.NewPCG(seed, 0)), left: count, noSwap: count / 2}
	x.all.Go(x.accept)
	return x
}

// close ends all connections. After it any goroutine may read the proxy's fields.
func (x *proxy) close() {
	if err := x.listener.Close(); err != nil {
		x.t.Error(err)
	}
	x.mu.Lock()
	for _, c := range x.clients {
		c.conn.Close() // the client's end may be gone already
	}
	x.mu.Unlock()
	x.all.Wait()
}

func (x *proxy) accept() {
	for {
		conn, err := x.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", x.server)
		if err != nil {
			conn.Close()
			x.t.Error(err)
			return
		}
		c := &proxied{conn: conn, held: make(map[string][]byte)}
		x.mu.Lock()
		x.clients = append(x.clients, c)
		x.mu.Unlock()
		x.all.Go(func() { _, _ = io.Copy(server, conn); server.Close() })
		x.all.Go(func() { x.relay(c, server); conn.Close() })
	}
}

// relay passes the server's frames on, or spoils them.
func (x *proxy) relay(c *proxied, server net.Conn) {
	in := bufio.NewReader(server)
	for {
		frame, err := readFrame(in)
		if err != nil {
			return
		}
		var v proto.View
		if reason := v.Parse(frame); reason != proto.ReasonNone {
			x.t.Errorf("frame of the server: %s", reason)
			return
		}
		whole := append(binary.AppendUvarint(nil, uint64(len(frame))), frame...)
		if v.Command == proto.CommandMessage {
			x.deliver(c, whole, &v)
		} else {
			c.write(whole)
		}
	}
}

func readFrame(in *bufio.Reader) ([]byte, error) {
	length, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, err
	}
	frame := make([]byte, length)
	_, err = io.ReadFull(in, frame)
	return frame, err
}

func (c *proxied) write(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.conn.Write(b) // a client that has gone reports itself
}

func (x *proxy) deliver(c *proxied, frame []byte, v *proto.View) {
	sender := string(v.Property(proto.PropertySenderID))
	if held := c.held[sender]; held != nil {
		c.write(append(frame, held...))
		delete(c.held, sender)
		return
	}
	how, other, to, draw := x.choose(c, v)
	switch how {
	case drop:
	case double:
		c.write(append(frame, frame...))
	case swap:
		c.held[sender] = frame
	case redirect:
		other.write(redirected(frame, v, to, draw))
	case flip:
		// Not the highest bit of a byte: then the text is no UTF-8, the frame none
		// of the protocol, and the connection ends.
		bit := draw % (7 * len(v.Text))
		frame[bytes.Index(frame, v.Text)+bit/7] ^= 1 << (bit % 7)
		c.write(frame)
	case rename:
		c.write(renamed(x.t, v, draw))
	default:
		c.write(frame)
	}
}

// choose draws what becomes of a delivery, another client with its user, and a
// number to draw more from.
func (x *proxy) choose(c *proxied, v *proto.View) (how spoil, other *proxied, to proto.UserID, draw int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c.user = proto.UserID(v.ID)
	if x.left == 0 || x.random.IntN(passOneIn) == 0 {
		return spoils, nil, 0, 0
	}
	how, other = spoil(x.random.IntN(int(spoils))), x.clients[x.random.IntN(len(x.clients))]
	if how == redirect && (other == c || other.user == 0) {
		return spoils, nil, 0, 0
	}
	if how == swap && x.left <= x.noSwap {
		how = double
	}
	x.left--
	x.done[how]++
	return how, other, other.user, x.random.Int()
}

// redirected is a delivery as another client gets it: unchanged, or addressed to that client as if
// it were its own. A group message stays unchanged, or it would be the other client's own, twice.
func redirected(frame []byte, v *proto.View, to proto.UserID, draw int) []byte {
	toEverybody := bytes.HasPrefix(v.Text[receiverAt:], []byte("ffffffff"))
	if toEverybody || draw%2 == 0 {
		return frame
	}
	sender, _ := strconv.Atoi(string(v.Property(proto.PropertySenderID)))
	return delivery(v, proto.UserID(sender), string(v.Property(proto.PropertySenderName)), to)
}

// receiverAt is the place of the receiver in a text.
const receiverAt = 16

// renamed is a delivery under another sender's id or under another name.
func renamed(t *testing.T, v *proto.View, draw int) []byte {
	sender, err := strconv.Atoi(string(v.Property(proto.PropertySenderID)))
	if err != nil {
		t.Error(err)
	}
	name := string(v.Property(proto.PropertySenderName))
	if draw%2 == 0 {
		return delivery(v, proto.UserID(sender+1), name, proto.UserID(v.ID))
	}
	return delivery(v, proto.UserID(sender), name+"0", proto.UserID(v.ID))
}

func delivery(v *proto.View, sender proto.UserID, name string, to proto.UserID) []byte {
	return proto.AppendDelivery(nil, proto.AppendSentBody(nil, sender, name, v.TextID(), v.Text), to)
}
