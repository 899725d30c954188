package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cim/internal/link"
	"cim/internal/metrics"
	"cim/proto"
	"cim/registry"
	"cim/route/access"
	"cim/store"
)

// idleListener is a listener without connections, for routes that get no requests over HTTP and run
// in a bubble of fake time.
type idleListener struct {
	once  sync.Once
	ended chan struct{}
}

func (l *idleListener) Accept() (net.Conn, error) { <-l.ended; return nil, net.ErrClosed }
func (l *idleListener) Close() error              { l.once.Do(func() { close(l.ended) }); return nil }
func (l *idleListener) Addr() net.Addr            { return &net.TCPAddr{} }

// bubble runs test with a route, a server and ben's session there, held, on a
// clock of its own.
func bubble(t *testing.T, test func(t *testing.T, r *Route, f *fakeServer, c catchup)) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t, "10.0.0.1:11211:8081", 1)
		members := registry.NewMemory()
		if err := members.Register(t.Context(), f.member); err != nil {
			t.Fatal(err)
		}
		memory := &leaseSpy{Memory: store.NewMemory(store.Config{})}
		r := newRoute(testConfig(), Deps{
			Store: memory, Registry: members, Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(),
			Dial: func(_ context.Context, m proto.Member) (*link.Conn, error) {
				if m != f.member || f.unreachable.Load() {
					return nil, errors.New("there is no such server")
				}
				return f.dial(), nil
			},
		}, &access.Gate{}, &idleListener{ended: make(chan struct{})})
		synctest.Wait()
		s := r.cluster.server(1)
		generation, err := memory.Claim(t.Context(), benID, s.place, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.put(benID, fakeSession{generation: generation, connected: true, held: true, holds: 1})
		test(t, r, f, catchup{session: session{benID, generation, s}, held: true, holdState: holdState{holds: 1}})
		if err := r.Drain(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

const benID = 5

var ann = proto.User{ID: 4, Name: "ann"}

// slowly answers each page after a while; 0: never. Called for later records too, it continues.
func (f *fakeServer) slowly(after time.Duration) func(*proto.Record) (*proto.Record, bool) {
	return func(r *proto.Record) (*proto.Record, bool) {
		if r.Kind != proto.RecordPush {
			return nil, false
		}
		if after > 0 {
			id, conn := r.ID, f.conns[0]
			f.sessions[r.User].take(f.t, r.User, r.Body)
			time.AfterFunc(after, func() { f.reply(conn, id, proto.VerdictTaken, 0) })
		}
		return nil, true
	}
}

// TestSlowReader: a page may take as long as a client may be silent, and the
// lease is kept meanwhile; then the catch-up ends, and gives it back.
func TestSlowReader(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		err   error
		took  time.Duration
	}{
		{pageTimeout - time.Second, nil, pageTimeout - time.Second},
		{0, errSilence, pageTimeout},
	} {
		bubble(t, func(t *testing.T, r *Route, f *fakeServer, job catchup) {
			if err := r.store.Append(t.Context(), benID, ann, 0, 0, []string{"x"}); err != nil {
				t.Fatal(err)
			}
			f.follow(f.slowly(c.after))
			began := time.Now()
			ended := make(chan error)
			go func() { ended <- r.catchUp(t.Context(), job) }()
			for time.Since(began) < c.took-2*time.Second {
				time.Sleep(time.Second)
				lease, err := r.store.Acquire(t.Context(), benID, leaseTime)
				if err != nil || lease != 0 {
					t.Fatalf("after %v the lease was free: %v", time.Since(began), err)
				}
			}
			if err := <-ended; !errors.Is(err, c.err) {
				t.Errorf("ended with %v, want %v", err, c.err)
			}
			took := time.Since(began).Truncate(time.Second)
			if took < c.took || took > c.took+leaseRenewal {
				t.Errorf("took %v, want %v", took, c.took)
			}
			lease, err := r.store.Acquire(t.Context(), benID, leaseTime)
			if err != nil || lease == 0 {
				t.Errorf("the lease was kept: %v", err)
			}
		})
	}
}

// TestSlowReaderGivesWay: a catch-up does not wait for a slow reader if its server
// removes the texts and announces the session again: it ends, gives the lease back,
// and leaves the texts stored.
func TestSlowReaderGivesWay(t *testing.T) {
	bubble(t, func(t *testing.T, r *Route, f *fakeServer, job catchup) {
		if err := r.store.Append(t.Context(), benID, ann, 77, 0, []string{"x"}); err != nil {
			t.Fatal(err)
		}
		f.follow(f.slowly(0))
		job.ack = true
		began := time.Now()
		if err := r.catchUp(t.Context(), job); !errors.Is(err, errSlow) {
			t.Errorf("ended with %v", err)
		}
		if took := time.Since(began); took > leaseRenewal+time.Second {
			t.Errorf("took %v, want %v", took, leaseRenewal)
		}
		if lease, err := r.store.Acquire(t.Context(), benID, leaseTime); err != nil || lease == 0 {
			t.Errorf("the lease was kept: %v", err)
		}
		if page, err := r.store.Page(t.Context(), benID, 0); err != nil || len(page) != 1 {
			t.Errorf("%d texts are stored, %v; want 1", len(page), err)
		}
	})
}

// TestFullSession: a session that has no room for a page gets no catch-up by a
// message that is stored for it, but by its server's word that it has room.
func TestFullSession(t *testing.T) {
	bubble(t, func(t *testing.T, r *Route, f *fakeServer, job catchup) {
		if err := r.store.Append(t.Context(), benID, ann, 77, 0, []string{"x"}); err != nil {
			t.Fatal(err)
		}
		f.set(benID, func(s *fakeSession) { s.full = true })
		for range 2 {
			if err := r.holdReceiver(t.Context(), benID, pushTarget{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := f.askedFor(proto.RecordPush); n != 0 {
				t.Fatalf("%d pages were sent to a session without room", n)
			}
		}
		f.set(benID, func(s *fakeSession) { s.full = false })
		if err := r.holdReceiver(t.Context(), benID, pushTarget{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := f.askedFor(proto.RecordPush); n != 1 {
			t.Errorf("%d pages were sent to a session with room, want 1", n)
		}
	})
}

// TestLeaseLost: a catch-up that lost its lease ends at once, sends nothing
// more, and does not take the other's away.
func TestLeaseLost(t *testing.T) {
	bubble(t, func(t *testing.T, r *Route, f *fakeServer, job catchup) {
		if err := r.store.Append(t.Context(), benID, ann, 0, 0, []string{"x"}); err != nil {
			t.Fatal(err)
		}
		f.follow(f.slowly(time.Hour))
		ended := make(chan error)
		go func() { ended <- r.catchUp(t.Context(), job) }()
		synctest.Wait()
		if err := r.store.Abandon(t.Context(), benID, store.Lease(r.store.(*leaseSpy).last.Load())); err != nil {
			t.Fatal(err)
		}
		other, err := r.store.Acquire(t.Context(), benID, time.Hour)
		if err != nil || other == 0 {
			t.Fatal(other, err)
		}
		if err := <-ended; !errors.Is(err, errLeaseLost) {
			t.Errorf("ended with %v", err)
		}
		if kept, err := r.store.Extend(t.Context(), benID, other, time.Hour); err != nil || !kept {
			t.Errorf("the other's lease was taken away: %v", err)
		}
		if n := f.askedFor(proto.RecordPush); n != 1 {
			t.Errorf("%d frames sent", n)
		}
	})
}

// leaseSpy knows the lease that was given last.
type leaseSpy struct {
	*store.Memory
	last atomic.Uint64
}

func (s *leaseSpy) Acquire(ctx context.Context, user proto.UserID, ttl time.Duration) (store.Lease, error) {
	lease, err := s.Memory.Acquire(ctx, user, ttl)
	s.last.Store(uint64(lease))
	return lease, err
}

// TestFetchWaits: fetchOfflineMsgs waits for the end of the catch-up up to fetchTimeout; the
// catch-up then continues.
func TestFetchWaits(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		err   error
		want  proto.Code
	}{
		{fetchTimeout - 1, errEndless, proto.CodeOfflineFetch},
		{fetchTimeout - 1, errLeaseTaken, proto.CodeSuccess},
		{fetchTimeout - 1, errNoSession, proto.CodeOffline},
		{fetchTimeout + 1, errEndless, proto.CodeSuccess},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			err := awaitCatchup(func(ended chan<- error) error {
				time.AfterFunc(c.after, func() { ended <- c.err })
				return nil
			})
			if got := (&Route{outage: newOutage()}).fetchAnswer(err).code; got != c.want {
				t.Errorf("%v after %v: code %v, want %v", c.err, c.after, got, c.want)
			}
			if waited := time.Since(began); waited > fetchTimeout {
				t.Errorf("waited %v", waited)
			}
			time.Sleep(time.Second)
		})
	}
}

// TestSentIsRemoved: when a catch-up ends, sent texts are removed from the store before the lease
// is free, and unsent ones are still there. If the session has ended, its client may not have read
// what its kernel had: all texts are sent again.
func TestSentIsRemoved(t *testing.T) {
	for _, c := range []struct {
		name  string
		sever func(t *testing.T, r *Route, stop func()) // while the second frame is on its way
		err   error
		first string // of the texts that are still stored
	}{
		{"the session has ended", nil, errNoSession, "one"},
		{"the drain", func(_ *testing.T, _ *Route, stop func()) { stop() }, context.Canceled, "two"},
		{"the lease is lost", func(t *testing.T, r *Route, _ func()) {
			if err := r.store.Abandon(t.Context(), benID, store.Lease(r.store.(*leaseSpy).last.Load())); err != nil {
				t.Error(err)
			}
		}, errLeaseLost, "two"},
	} {
		bubble(t, func(t *testing.T, r *Route, f *fakeServer, job catchup) {
			for _, sender := range []string{"one", "two", "three"} {
				if err := r.store.Append(t.Context(), benID, proto.User{ID: 4, Name: sender}, 0, 0, []string{sender}); err != nil {
					t.Fatal(err)
				}
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			frames := 0
			f.follow(func(p *proto.Record) (*proto.Record, bool) {
				if p.Kind != proto.RecordPush {
					return nil, false
				}
				if frames++; frames < 2 {
					return nil, false
				}
				if c.sever == nil {
					return &proto.Record{Verdict: proto.VerdictAbsent}, true
				}
				c.sever(t, r, stop)
				return nil, true
			})
			if err := r.catchUp(ctx, job); !errors.Is(err, c.err) {
				t.Errorf("%s: ended with %v", c.name, err)
			}
			page, err := r.store.Page(t.Context(), benID, 0)
			if err != nil || len(page) == 0 || page[0].Text != c.first || page[len(page)-1].Text != "three" {
				t.Errorf("%s: %d texts are stored, %v, want all from %q on", c.name, len(page), err, c.first)
			}
		})
	}
}

// TestKeptBound: at most a page's worth of texts has left and is still stored.
func TestKeptBound(t *testing.T) {
	const texts = 3*store.PageMax + 1
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.account("ben")
	for i := range texts {
		w.put(proto.User{ID: ann.ID + proto.UserID(i%3), Name: "s"}, ben.ID, fmt.Sprint(i))
	}
	var removals atomic.Int64 // where an answer comes late, the end of a catch-up removes while a page is taken
	w.store.before = func(call string) error {
		if call == "Remove" {
			removals.Add(1)
		}
		return nil
	}
	w.servers[1].follow(func(p *proto.Record) (*proto.Record, bool) {
		removed := int(removals.Load())
		if s := w.servers[1].sessions[ben.ID]; p.Kind == proto.RecordPush && len(s.got) == removed*store.PageMax+store.PageMax+1 {
			t.Errorf("%d texts have left after %d removals", len(s.got), removed)
		}
		return nil, false
	})
	w.connect(ben, false)
	if got := len(w.servers[1].texts(ben.ID)); got != texts || removals.Load() != 4 {
		t.Errorf("%d texts, %d removals, want %d and 4", got, removals.Load(), texts)
	}
}

// TestNextFrameWaits: a frame is sent when the one before has left, not sooner.
func TestNextFrameWaits(t *testing.T) {
	bubble(t, func(t *testing.T, r *Route, f *fakeServer, job catchup) {
		texts := slices.Repeat([]string{"x"}, proto.OfflineBatchMax+1)
		if err := r.store.Append(t.Context(), benID, ann, 0, 0, texts); err != nil {
			t.Fatal(err)
		}
		f.follow(f.slowly(time.Second))
		ended := make(chan error)
		go func() { ended <- r.catchUp(t.Context(), job) }()
		for frames := 1; frames <= 2; frames++ {
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			if got := f.askedFor(proto.RecordPush); got != frames {
				t.Errorf("%d frames sent, want %d", got, frames)
			}
			page, err := r.store.Page(t.Context(), benID, 0)
			if err != nil || len(page) != len(texts) {
				t.Errorf("with frame %d on its way %d texts are stored, %v", frames, len(page), err)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if page, err := r.store.Page(t.Context(), benID, 0); err != nil || len(page) != 0 {
			t.Errorf("at the end %d texts are stored, %v", len(page), err)
		}
	})
}
