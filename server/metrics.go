package server

import (
	"fmt"
	"sync/atomic"
	"time"

	"cim/internal/metrics"
	"cim/proto"
	"cim/server/shard"
)

// counters are the server's metrics.
type counters struct {
	logins        [proto.ReasonCount]*metrics.Counter // by reason; none: accepted
	ends          [proto.ReasonCount]*metrics.Counter // by reason; none: the peer closed a session
	guarded       [guardCount]*metrics.Counter        // logins without a ticket, refused by a guard
	outcomes      [proto.OutcomeReceived + 1]*metrics.Counter
	surplus       *metrics.Counter // connections refused: all places were in use
	evicted       *metrics.Counter // connections closed to free a place for a new one
	intakePauses  *metrics.Counter // accept pauses of the port of /sendMsg
	grantsEvicted *metrics.Counter // unused grants that were evicted for newer ones
	linksShed     *metrics.Counter // links closed since they held most memory
	linkPauses    *metrics.Counter // accept pauses of the link port
	hellosEvicted *metrics.Counter // connections to the link port that were evicted
	acceptPauses  *metrics.Counter // accept pauses of the client port, for want of descriptors
	mailboxFull   *metrics.Counter
	linkFull      *metrics.Counter
	hellos        [proto.LinkRefusalCount]*metrics.Counter // of routes, by refusal; taken: linked
	linksSilent   *metrics.Counter                         // links closed since the route was silent
	hellosBad     *metrics.Counter                         // from strangers
	upsLost       *metrics.Counter                         // RecordUps and RecordDowns that no link took
	pauses        *metrics.Counter                         // pauses of the process or of a loop
	late          *metrics.Counter                         // requests that were refused, since they came before a pause
	leaseLosses   *metrics.Counter
	returned      *metrics.Counter // kept texts that are in boxes now
	notReturned   *metrics.Counter // kept texts that were lost, since there was no room or the process ended
	receipts      [proto.OutcomeReceived + 1]*metrics.Counter
	ackedLost     *metrics.Counter // acknowledged texts whose RecordAcked no link took
	broadcasts    *metrics.Counter
	framesIn      *metrics.Counter
	deliveries    *metrics.Counter
	leftOut       *metrics.Counter // broadcasts left out for sessions with slow readers
	writes        *metrics.Counter
	bytesOut      *metrics.Counter
	intake        *metrics.Counter
	refused       *metrics.Counter
	httpEvicted   *metrics.Counter
	limited       [len(limitNames)]*metrics.Counter // SENDs above a limit of their sender, by the limit
}

func newCounters(set *metrics.Set) *counters {
	c := &counters{
		surplus:       set.Counter("cim_server_connections_surplus_total"),
		evicted:       set.Counter("cim_server_connections_evicted_total"),
		intakePauses:  set.Counter(`cim_accept_pauses_total{port="http"}`),
		grantsEvicted: set.Counter("cim_server_grants_evicted_total"),
		linksShed:     set.Counter("cim_server_links_shed_total"),
		linkPauses:    set.Counter(`cim_accept_pauses_total{port="link"}`),
		hellosEvicted: set.Counter("cim_server_link_evicted_total"),
		acceptPauses:  set.Counter(`cim_accept_pauses_total{port="cim"}`),
		mailboxFull:   set.Counter("cim_server_mailbox_full_total"),
		linkFull:      set.Counter("cim_server_link_full_total"),
		linksSilent:   set.Counter("cim_server_links_silent_total"),
		hellosBad:     set.Counter("cim_server_link_strangers_total"),
		upsLost:       set.Counter("cim_server_untold_total"),
		pauses:        set.Counter("cim_server_pauses_total"),
		late:          set.Counter("cim_server_late_total"),
		leaseLosses:   set.Counter("cim_server_lease_losses_total"),
		returned:      set.Counter("cim_server_texts_returned_total"),
		notReturned:   set.Counter("cim_server_texts_not_returned_total"),
		ackedLost:     set.Counter("cim_server_acknowledgements_untold_total"),
		broadcasts:    set.Counter("cim_server_broadcasts_total"),
		framesIn:      set.Counter("cim_server_frames_in_total"),
		leftOut:       set.Counter("cim_server_left_out_total"),
		deliveries:    set.Counter("cim_server_deliveries_total"),
		writes:        set.Counter("cim_server_writes_total"),
		bytesOut:      set.Counter("cim_server_bytes_out_total"),
		intake:        set.Counter("cim_server_sendmsg_total"),
		refused:       set.Counter("cim_server_sendmsg_refused_total"),
		httpEvicted:   set.Counter("cim_server_sendmsg_evicted_total"),
	}
	for i := range c.logins {
		c.logins[i] = set.Counter(fmt.Sprintf("cim_server_logins_total{reason=%q}", labelOf(proto.Reason(i), "accepted")))
		c.ends[i] = set.Counter(fmt.Sprintf("cim_server_ends_total{reason=%q}", labelOf(proto.Reason(i), "peer")))
	}
	for i := shard.LimitMessages; int(i) < len(c.limited); i++ {
		c.limited[i] = set.Counter(fmt.Sprintf("cim_server_limited_total{what=%q}", limitNames[i]))
	}
	for i := guardNone + 1; i < guardCount; i++ {
		c.guarded[i] = set.Counter(fmt.Sprintf("cim_server_logins_guarded_total{by=%q}", i))
	}
	for i := range c.hellos {
		c.hellos[i] = set.Counter(fmt.Sprintf("cim_server_link_hellos_total{result=%q}", proto.LinkRefusal(i)))
	}
	for i := proto.OutcomeDelivered; i <= proto.OutcomeReceived; i++ {
		c.outcomes[i] = set.Counter(fmt.Sprintf("cim_server_sends_total{outcome=%q}", i))
		c.receipts[i] = set.Counter(fmt.Sprintf("cim_server_receipts_total{outcome=%q}", i))
	}
	return c
}

// labelOf is the name of the reason, or none for ReasonNone.
func labelOf(r proto.Reason, none string) string {
	if r == proto.ReasonNone {
		return none
	}
	return r.String()
}

// loopGauge is what a loop publishes about its shard each tick.
type loopGauge struct {
	open, live    atomic.Int64
	held, largest atomic.Int64 // bytes: of all sessions, of the largest one
	keptTexts     atomic.Int64 // texts that sessions keep until they are acknowledged
	keptBytes     atomic.Int64
}

// publish publishes the shard's counts.
func (l *loop) publish() {
	open, live := l.shard.Sessions()
	l.gauge.open.Store(int64(open))
	l.gauge.live.Store(int64(live))
	texts, bytes := l.shard.Kept()
	l.gauge.keptTexts.Store(int64(texts))
	l.gauge.keptBytes.Store(int64(bytes))
	l.publishHeld()
	m, now, before := l.server.metrics, l.shard.Stats(), l.published
	m.framesIn.Add(int(now.FramesIn - before.FramesIn))
	m.deliveries.Add(int(now.Deliveries - before.Deliveries))
	m.leftOut.Add(int(now.LeftOut - before.LeftOut))
	m.writes.Add(int(now.Writes - before.Writes))
	m.bytesOut.Add(int(now.BytesOut - before.BytesOut))
	l.published = now
}

func (s *Server) registerGauges(set *metrics.Set) {
	set.Gauge("cim_server_connections", func() float64 {
		return s.sum(func(l *loop) int64 { return l.gauge.open.Load() })
	})
	set.Gauge("cim_server_sessions", func() float64 {
		return s.sum(func(l *loop) int64 { return l.gauge.live.Load() })
	})
	set.Gauge("cim_server_kept_texts", func() float64 {
		return s.sum(func(l *loop) int64 { return l.gauge.keptTexts.Load() })
	})
	set.Gauge("cim_server_kept_bytes", func() float64 {
		return s.sum(func(l *loop) int64 { return l.gauge.keptBytes.Load() })
	})
	set.Gauge("cim_server_returning_users", func() float64 { return float64(s.returns.active.Load()) })
	set.Gauge("cim_server_returning_texts", func() float64 { return float64(s.returns.texts.Load()) })
	set.Gauge("cim_server_returning_bytes", func() float64 { return float64(s.returns.bytes.Load()) })
	set.Gauge("cim_server_links", func() float64 { return float64(len(s.links.all())) })
	set.Gauge("cim_server_link_waiting_bytes", func() float64 {
		n := 0
		for _, l := range s.links.all() {
			n += l.conn.Waiting()
		}
		return float64(n)
	})
	if s.lease.term > 0 {
		set.Gauge("cim_server_lease_age_seconds", func() float64 { return s.lease.age(s.clock()).Seconds() })
	}
	set.Gauge("cim_server_loops_blocked", func() float64 { return float64(s.loopsBlocked()) })
	set.Gauge("cim_server_sends_with_route", func() float64 { return float64(s.pairs.total.Load()) })
}

func (s *Server) sum(of func(*loop) int64) float64 {
	n := int64(0)
	for _, l := range s.loops {
		n += of(l)
	}
	return float64(n)
}

// logLinesMax bounds the log lines a second that strangers can cause. The metrics
// count all events.
const logLinesMax = 20

// logBound allows logLinesMax lines a second.
type logBound struct {
	second atomic.Int64
	lines  atomic.Int64
}

func (b *logBound) allows(now time.Time) bool {
	if second := now.Unix(); b.second.Swap(second) != second {
		b.lines.Store(0)
	}
	return b.lines.Add(1) <= logLinesMax
}
