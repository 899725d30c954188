package route

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cim/internal/budget"
	"cim/internal/link"
	"cim/proto"
)

// deafServer takes links over TCP, and reads nothing that comes over them.
type deafServer struct {
	listener net.Listener
	links    atomic.Int32
	ends     sync.WaitGroup
}

const deafSecret = "a-secret-of-this-test"

func newDeafServer(t *testing.T) *deafServer {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &deafServer{listener: listener}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() {
		stop()
		_ = listener.Close()
		d.ends.Wait()
	})
	d.ends.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			d.ends.Go(func() {
				end, err := link.Accept(ctx, conn, link.Config{Secret: deafSecret, Epoch: 1, WaitingMax: linkBytes})
				if err != nil {
					return
				}
				d.links.Add(1)
				<-ctx.Done()
				end.Abort(nil)
				_ = end.Run(ctx, func(*proto.Record) error { return nil })
			})
		}
	})
	return d
}

// slowRequest is a request that has come in in part.
type slowRequest struct {
	t    testing.TB
	conn net.Conn
}

func (w *world) begin(part string) slowRequest {
	conn, err := net.Dial("tcp", w.route.Addr())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, part); err != nil {
		w.t.Fatal(err)
	}
	return slowRequest{w.t, conn}
}

// end sends the rest, and wants an answer.
func (s slowRequest) end(rest string) {
	s.t.Helper()
	if _, err := io.WriteString(s.conn, rest); err != nil {
		s.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(s.conn), nil)
	if err != nil {
		s.t.Fatalf("no answer to a request that came in slowly: %v", err)
	}
	_ = response.Body.Close()
}

// TestMemoryOfLinks: a link whose server does not read ends before it holds as much as one link
// may. Each message that waits is answered, also one that arrives slowly meanwhile, and the route
// dials again.
func TestMemoryOfLinks(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.account("ann")
	w.stop()
	w.stopped = false
	far := newDeafServer(t)
	memory := budget.New(1<<20, nil)
	deps := w.deps()
	deps.Budget = memory
	deps.Dial = func(ctx context.Context, m proto.Member) (*link.Conn, error) {
		return link.Dial(ctx, far.listener.Addr().String(), link.Config{Secret: deafSecret, Epoch: m.Epoch, WaitingMax: linkBytes})
	}
	config := w.route.config
	var err error
	if w.route, err = Start(config, deps); err != nil {
		t.Fatal(err)
	}
	w.eventually("it is linked", func() bool { return len(w.route.cluster.servers().linked()) == 1 })
	shed := func() bool { n, _ := strconv.Atoi(w.counter("cim_route_links_shed_total")); return n > 0 }
	// So long that the request itself holds memory of the budget.
	text := strings.Repeat("x", 30<<10)
	body := groupRequest(ann.ID, text)
	slow := w.begin("POST /groupRoute HTTP/1.1\r\nHost: x\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body[:len(body)-1])
	for deadline := time.Now().Add(patience); !shed(); {
		if time.Now().After(deadline) {
			t.Fatalf("it lives, and %d bytes are held", memory.Held())
		}
		w.post("/groupRoute", body) // which has an answer
	}
	slow.end(body[len(body)-1:])
	w.eventually("what is held is within the budget", func() bool { return memory.Held() <= memory.Limit() })
	w.eventually("it is linked anew", func() bool {
		return far.links.Load() >= 2 && len(w.route.cluster.servers().linked()) == 1
	})
	if on := w.route.cluster.servers().ours[0].stream.Load(); on != nil && on.conn.Waiting() > 1<<20 {
		t.Errorf("%d bytes wait on the new link", on.conn.Waiting())
	}
}
