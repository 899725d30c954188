package loadgen

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
	"time"

	"cim/proto"
)

// spoil is what a proxy does to one delivery.
type spoil int

const (
	drop spoil = iota
	double
	swap     // with the next one of its sender on the connection
	redirect // to another client
	flip     // one bit of the text
	rename   // the sender that is named
	spoils
)

// proxy stands between a peer and its clients and spoils so many deliveries,
// each in a way drawn by the seed.
type proxy struct {
	t        *testing.T
	peer     *peer
	listener net.Listener
	all      sync.WaitGroup

	mu      sync.Mutex
	random  *rand.Rand
	left    int // to be spoilt
	done    [spoils]int
	clients []*proxied
}

// proxied is one client's connection.
type proxied struct {
	mu   sync.Mutex // of the writes
	conn net.Conn
	held map[string][]byte // by sender, a delivery that waits for the next one; the relay's own
}

// oneIn is how many deliveries there are for each that is spoilt.
const oneIn = 3

func newProxy(t *testing.T, peer *peer, seed uint64, count int) *proxy {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &proxy{t: t, peer: peer, listener: listener, random: rand.New(rand.NewPCG(seed, 0)), left: count}
	peer.via = listener.Addr().String()
	x.all.Go(x.accept)
	t.Cleanup(x.close)
	return x
}

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
		server, err := net.Dial("tcp", x.peer.listener.Addr().String())
		if err != nil {
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
			x.t.Errorf("frame of the peer: %s", reason)
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

func (c *proxied) write(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.conn.Write(b) // a client that has gone tells itself
}

func (x *proxy) deliver(c *proxied, frame []byte, v *proto.View) {
	sender := string(v.Property(proto.PropertySenderID))
	if held := c.held[sender]; held != nil {
		c.write(append(frame, held...))
		delete(c.held, sender)
		return
	}
	how, other := x.choose(c)
	switch how {
	case drop:
	case double:
		c.write(append(frame, frame...))
	case swap:
		c.held[sender] = frame
	case redirect:
		other.write(frame)
	case flip:
		// Not the highest bit of a byte: then the text is no UTF-8, the frame none
		// of the protocol, and the connection ends.
		bit := x.draw(7 * len(v.Text))
		frame[bytes.Index(frame, v.Text)+bit/7] ^= 1 << (bit % 7)
		c.write(frame)
	case rename:
		id, err := strconv.Atoi(sender)
		if err != nil {
			x.t.Error(err)
		}
		body := proto.AppendSentBody(nil, proto.UserID(id+1), "somebody", 1, v.Text)
		c.write(proto.AppendDelivery(nil, body, proto.UserID(v.ID)))
	default:
		c.write(frame)
	}
}

// choose draws what becomes of a delivery, and another client.
func (x *proxy) choose(c *proxied) (spoil, *proxied) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.left == 0 || x.random.IntN(oneIn) != 0 {
		return spoils, nil
	}
	how := spoil(x.random.IntN(int(spoils)))
	other := x.clients[x.random.IntN(len(x.clients))]
	if how == redirect && other == c {
		return spoils, nil
	}
	x.left--
	x.done[how]++
	return how, other
}

func (x *proxy) draw(n int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.random.IntN(n)
}

// TestEveryFaultIsFound has a proxy spoil 1,000 deliveries in ways drawn by a
// seed: each is found, as what it is, and nothing else is.
func TestEveryFaultIsFound(t *testing.T) {
	const faults, seed = 1000, 5
	for name, load := range map[string]func(*Config){
		"private, fixed size": func(c *Config) { c.Mode, c.Rates = Private, []int{3000} },
		"private, sizes":      func(c *Config) { c.Mode, c.Rates, c.Size = Private, []int{3000}, Sizes{Least: 64, Most: 500} },
		"group":               func(c *Config) { c.Rates = []int{150} },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t)
			x := newProxy(t, p, seed, faults)
			cfg := small(p)
			cfg.Via, cfg.Verify, cfg.Conns = ViaConn, true, []int{30}
			cfg.Warmup, cfg.Duration, cfg.Drain = 0, 2*time.Second, time.Second
			load(&cfg)
			r, err := Run(t.Context(), cfg, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			x.mu.Lock()
			defer x.mu.Unlock()
			if x.left != 0 {
				t.Fatalf("%d of %d deliveries were not spoilt", x.left, faults)
			}
			got, did := r.Trials[0], x.done
			for _, kind := range []struct {
				name      string
				got, want int
			}{
				{"lost", got.Lost, did[drop] + did[redirect] + did[flip] + did[rename]},
				{"doubled", got.Doubled, did[double]},
				{"reordered", got.Reordered, did[swap]},
				{"misdelivered", got.Misdelivered, did[redirect]},
				{"corrupt", got.Corrupt, did[flip]},
				{"wrong sender", got.WrongSender, did[rename]},
				{"faults", got.FaultCount, 0},
				{"examples", len(got.Examples), 6 * examplesMax},
			} {
				if kind.got != kind.want {
					t.Errorf("seed %d: %s %d, want %d of %v", seed, kind.name, kind.got, kind.want, did)
				}
			}
			if t.Failed() {
				t.Logf("%q %q", got.Examples, got.Faults)
			}
		})
	}
}

// TestFailedYetDelivered refuses every third message and delivers it all the
// same.
func TestFailedYetDelivered(t *testing.T) {
	for name, load := range map[string]func(*Config){
		"conn": func(c *Config) { c.Via = ViaConn },
		"http": func(c *Config) { c.Via = ViaHTTP },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t)
			p.answer = func(n int) (proto.Code, bool) {
				if n%3 == 0 {
					return proto.CodeLimit, true
				}
				return proto.CodeSuccess, true
			}
			cfg := small(p)
			cfg.Mode, cfg.Rates, cfg.Verify = Private, []int{300}, true
			load(&cfg)
			r, err := Run(t.Context(), cfg, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Trials[0]; got.FailedDelivered != got.Refused || got.Refused == 0 || got.Lost+got.Doubled != 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestBookSize measures what a message costs beside its deliveries: its intent
// and outcome are about three bits.
func TestBookSize(t *testing.T) {
	const messages = 1_000_000
	var b book
	for sequence := range uint32(messages) {
		b.note(sequence, Outcome(sequence%uint32(Unknown+1)))
	}
	bits := float64(wordBits*(cap(b.promised)+cap(b.failed))) / messages
	t.Logf("%.2f bits a message", bits)
	if bits > 3 {
		t.Errorf("%.2f bits a message, want 3 at most", bits)
	}
}
