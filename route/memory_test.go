package route

import (
	"context"
	"net"
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

// TestMemoryOfLinks: a link whose server does not read gives way before it holds
// what one link may, each message on the way has its answer, and the route links
// anew.
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
	// So short that the request itself holds nothing of the budget: past it, requests
	// that are coming in are ended too.
	text := strings.Repeat("x", 12<<10)
	for deadline := time.Now().Add(patience); !shed(); {
		if time.Now().After(deadline) {
			t.Fatalf("it lives, and %d bytes are held", memory.Held())
		}
		w.post("/groupRoute", groupRequest(ann.ID, text)) // which has an answer
	}
	w.eventually("what is held is within the budget", func() bool { return memory.Held() <= memory.Limit() })
	w.eventually("it is linked anew", func() bool {
		return far.links.Load() >= 2 && len(w.route.cluster.servers().linked()) == 1
	})
	if on := w.route.cluster.servers().all[0].stream.Load(); on != nil && on.conn.Waiting() > 1<<20 {
		t.Errorf("%d bytes wait on the new link", on.conn.Waiting())
	}
}
