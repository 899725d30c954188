package route

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cim/internal/link"
	"cim/proto"
	"cim/store"
)

const (
	// dialTimeout bounds one try to connect to a server.
	dialTimeout = 5 * time.Second
	// A link that ended is dialled again after redialMin, then after twice as
	// long each time, up to redialMax: each with a jitter of half its length,
	// so that many routes do not come back in one moment.
	redialMin = 100 * time.Millisecond
	redialMax = 5 * time.Second
)

// server is a live server and the link to it.
type server struct {
	member        proto.Member
	place         store.Place
	counters      *counters
	stream        atomic.Pointer[stream] // nil while the link is down
	unusableSince atomic.Int64           // Unix time in ns since when it is down or was suspect; while it is down only
	processEnded  atomic.Bool            // the last dial found that its process has ended
	leaving       atomic.Bool            // it has said that it goes down
	vanished      atomic.Bool            // it is not in the registry any more; the follower's
}

func newServer(m proto.Member, c *counters) *server {
	place := store.Place{Host: m.Host, CIMPort: m.CIMPort, HTTPPort: m.HTTPPort, Epoch: m.Epoch}
	s := &server{member: m, place: place, counters: c}
	s.unusableSince.Store(time.Now().UnixNano())
	return s
}

func (s *server) linked() bool { return s.stream.Load() != nil }

func (s *server) suspect() bool {
	on := s.stream.Load()
	return on != nil && on.suspect.Load()
}

// responsive reports whether there is a point in asking it.
func (s *server) responsive() bool { return s.linked() && !s.suspect() }

// open reports whether logins may be sent there.
func (s *server) open() bool {
	return s.responsive() && !s.leaving.Load() && !s.vanished.Load()
}

// unlinkedFor is how long the link has been down.
func (s *server) unlinkedFor() time.Duration {
	if s.linked() {
		return 0
	}
	return time.Since(time.Unix(0, s.unusableSince.Load()))
}

// ask sends r and waits for its answer.
func (s *server) ask(r *proto.Record) reply {
	answer := reply{err: errLinkDown}
	if stream := s.stream.Load(); stream != nil {
		answer = stream.ask(r)
	}
	return s.count(r.Kind, answer)
}

// askThen sends r, and calls then with its answer: by any goroutine, this one too.
// then must not block.
func (s *server) askThen(r *proto.Record, then func(reply)) {
	stream := s.stream.Load()
	if stream == nil {
		then(s.count(r.Kind, reply{err: errLinkDown}))
		return
	}
	kind := r.Kind
	stream.askThen(r, func(answer reply) { then(s.count(kind, answer)) })
}

// count returns answer.
func (s *server) count(kind proto.RecordKind, answer reply) reply {
	s.counters.asks[kind].inc(answer.name())
	return answer
}

// recordHandler handles a record that a server sent unasked. The stream's reader calls it: it must
// not block, and the record is valid until it returns. ctx ends with the stream; an error ends the
// stream.
type recordHandler func(ctx context.Context, from *server, on *stream, r *proto.Record) error

// dialer keeps links up.
type dialer struct {
	dial       func(ctx context.Context, m proto.Member) (*link.Conn, error)
	standstill *standstill
	onLinked   func(s *server)  // called when a link comes up, or its server answers again
	onUnlinked func(on *stream) // called when a link has ended
	onRecord   recordHandler
	holders    *link.Holders // of its ends
	log        *slog.Logger
	counters   *counters
}

// keep holds the link to s until ctx ends, and dials again whenever it ends
// before.
func (d *dialer) keep(ctx context.Context, s *server) {
	pause := redialMin
	for ctx.Err() == nil {
		began, err := d.connect(ctx, s)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > redialMax {
			pause = redialMin // the link was up for a while: the fault is a new one
		}
		if errors.Is(err, errStoodStill) {
			d.log.Warn("link ended", "server", s.member.Name(), "error", err)
			continue // the server is not at fault, and other routes dial at other times
		}
		s.processEnded.Store(meansProcessEnded(err))
		d.log.Warn("link ended", "server", s.member.Name(), "error", err, "again_in", pause)
		sleep(ctx, jittered(pause))
		pause = min(2*pause, redialMax)
	}
}

// connect dials and serves one connection until it ends. It began when the dial
// was over.
func (d *dialer) connect(ctx context.Context, s *server) (began time.Time, err error) {
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	conn, err := d.dial(dialCtx, s.member)
	cancel()
	began = time.Now()
	if err != nil {
		return began, err
	}
	return began, d.serve(ctx, s, conn)
}

func (d *dialer) serve(ctx context.Context, s *server, conn *link.Conn) error {
	var keeping sync.WaitGroup
	defer keeping.Wait()
	ctx, end := context.WithCancel(ctx)
	defer end()
	on := newStream(conn)
	if s.guest() {
		on.timeout = guestTimeout
	}
	if !conn.InProcess() {
		on.watchStandstill(d.standstill)
	}
	s.stream.Store(on)
	s.processEnded.Store(false)
	defer d.onUnlinked(on)
	defer on.end()
	defer func() {
		s.unusableSince.Store(on.unusableSince().UnixNano())
		s.stream.Store(nil)
	}()
	defer d.holders.Add(conn, d.counters.linksShed.Inc)()
	d.log.Info("link up", "server", s.member.Name())
	d.onLinked(s)
	k := linkMonitor{server: s, on: on, log: d.log, counters: d.counters, onRecovered: d.onLinked}
	keeping.Go(func() { k.run(ctx) })
	err := conn.RunDirect(ctx, func(r *proto.Record) error {
		on.onReceive()
		switch {
		case r.Kind == proto.RecordSend && on.stale():
			return errStoodStill
		case r.Kind != proto.RecordAnswer:
			return d.onRecord(ctx, s, on, r)
		case r.ID == confirmID:
			on.confirmed(r.Verdict)
			return nil
		}
		waited, err := on.answer(r)
		if err == nil && !waited {
			d.counters.late.Inc()
		}
		return err
	})
	if ctx.Err() == nil && on.stale() {
		return errStoodStill // the server may have ended the link for it before
	}
	return err
}

// meansProcessEnded reports whether the error of a dial shows that the server's process has ended:
// its address refuses connections, or another run of it listens there. The registry notices seconds
// later.
func meansProcessEnded(err error) bool {
	var refused *link.RefusedError
	if errors.As(err, &refused) {
		return refused.Refusal == proto.LinkRefusedEpoch
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

func jittered(pause time.Duration) time.Duration {
	return pause/2 + rand.N(pause)
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
