package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"cim/client"
	"cim/internal/ledger"
	"cim/proto"
)

const (
	// workersMin and workersMax bound the calls at once, and so the connections
	// to each route: one for every perWorker messages a second.
	workersMin = 16
	workersMax = 128
	perWorker  = 8
	// wantWorkers is how many times as many there are where an answer waits for
	// the receiver's.
	wantWorkers = 2
	// flowMax bounds the messages of one lane that wait for the one before.
	flowMax = 512
	// textSize is the size of a text in bytes.
	textSize = 64
	// dispatchEvery is how often it is looked which messages are due.
	dispatchEvery = 2 * time.Millisecond
)

// load is an open loop: each message has a fixed due time. The messages of a lane follow each
// other, so that their order has a meaning.
type load struct {
	crowd   *crowd
	routes  []string
	ready   chan *flow // each lane once at most
	stopped chan struct{}
	running sync.WaitGroup
	workers []*worker

	mu      sync.Mutex
	skipped int // messages for which a lane had no room: the load was not kept up
	fault   error
	failed  int64 // time of the last answer that was no success; 0: none
}

// flow is the messages of one sender to one receiver, or to all.
type flow struct {
	from, to *member // to nil: all
	want     ledger.Want

	// Guarded by load.mu.
	due  []int64 // of those that wait; <= laneMax
	busy bool    // it is ready, or with a worker
}

// worker calls one route, and the next one after a call without an answer.
type worker struct {
	load   *load
	client *http.Client
	route  atomic.Int64 // modulo the routes

	// Guarded by load.mu.
	last int64         // time of the last success
	gap  time.Duration // the longest between two successes since watched
}

// send starts the load.
func (c *crowd) send() *load {
	c.t.Helper()
	l := &load{
		crowd: c, routes: c.system.routeURLs(), stopped: make(chan struct{}),
		ready: make(chan *flow, len(c.members)+c.size.group),
	}
	members := c.members[c.size.remote:]
	order := c.random.Perm(len(members))
	private, group := make([]*flow, len(order)), make([]*flow, c.size.group)
	for i, from := range order { // a ring: every member sends and, without targets, receives
		private[i] = &flow{from: members[from], to: members[order[c.receiverOf(i, len(order))]]}
		if c.size.hearing {
			private[i].to = c.members[i%c.size.remote]
		}
		if wants := c.size.wants; len(wants) > 0 {
			private[i].want = wants[i%len(wants)]
		}
	}
	c.random.Shuffle(len(private), func(i, j int) { private[i], private[j] = private[j], private[i] })
	for i := range group {
		group[i] = &flow{from: members[order[i]]}
	}
	most, workers := c.workers()
	transport := &http.Transport{MaxIdleConnsPerHost: most, MaxConnsPerHost: most}
	for i := range workers {
		w := &worker{load: l, client: &http.Client{Timeout: callMax, Transport: transport}}
		w.route.Store(int64(i))
		l.workers = append(l.workers, w)
		l.running.Go(w.run)
	}
	l.running.Go(func() { l.dispatch(private, group) })
	c.t.Cleanup(func() { l.stop(); transport.CloseIdleConnections() })
	return l
}

// receiverOf is the receiver of the member at a place of the ring.
func (c *crowd) receiverOf(place, places int) int {
	if c.size.targets == 0 {
		return (place + 1) % places
	}
	if to := place % c.size.targets; to != place {
		return to
	}
	return (place + 1) % c.size.targets
}

// workers is how many callers there may be, and how many there are.
func (c *crowd) workers() (most, count int) {
	most, count = workersMax, c.size.private/perWorker
	if len(c.size.wants) > 0 {
		most, count = wantWorkers*most, wantWorkers*count
	}
	return most, min(max(workersMin, count), most)
}

// sent counts the private messages so far.
func (l *load) sent() int {
	l.crowd.mu.Lock()
	defer l.crowd.mu.Unlock()
	return l.crowd.book.Private()
}

// stop ends the load and waits for the calls under way.
func (l *load) stop() {
	select {
	case <-l.stopped:
	default:
		close(l.stopped)
	}
	l.running.Wait()
}

// dispatch hands out what is due, until the load stops.
func (l *load) dispatch(private, group []*flow) {
	ticker := time.NewTicker(dispatchEvery)
	defer ticker.Stop()
	began := l.crowd.now()
	schedules := []*schedule{newSchedule(private, l.crowd.size.private), newSchedule(group, l.crowd.size.group)}
	for {
		select {
		case <-l.stopped:
			return
		case <-ticker.C:
		}
		now := l.crowd.now() - began
		for _, s := range schedules {
			for at, next := s.take(now); next != nil; at, next = s.take(now) {
				l.add(next, began+at)
			}
		}
	}
}

// schedule says when which lane has a message due: one after the other, evenly.
type schedule struct {
	flows []*flow
	rate  int64 // a second
	sent  int64
}

func newSchedule(lanes []*flow, rate int) *schedule {
	return &schedule{flows: lanes, rate: int64(rate)}
}

// take returns the next message that is due by now, nil if none is.
func (s *schedule) take(now int64) (due int64, of *flow) {
	if s.rate == 0 {
		return 0, nil
	}
	if due = s.sent * int64(time.Second) / s.rate; due > now {
		return 0, nil
	}
	s.sent++
	return due, s.flows[(s.sent-1)%int64(len(s.flows))]
}

func (l *load) add(to *flow, due int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(to.due) >= flowMax {
		l.skipped++
		return
	}
	to.due = append(to.due, due)
	if !to.busy {
		to.busy = true
		l.ready <- to
	}
}

// next is the first message of a lane.
func (l *load) next(of *flow) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	due := of.due[0]
	of.due = of.due[1:]
	return due
}

// done gives the lane back.
func (l *load) done(with *flow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if with.busy = len(with.due) > 0; with.busy {
		l.ready <- with
	}
}

func (w *worker) run() {
	for {
		select {
		case <-w.load.stopped:
			return
		case of := <-w.load.ready:
			if of.connected() { // a SEND to a server that hangs holds up its own lane only
				w.load.running.Go(func() { w.sendNext(of) })
				continue
			}
			w.sendNext(of)
		}
	}
}

func (w *worker) sendNext(of *flow) {
	w.send(of, w.load.next(of))
	w.load.done(of)
}

// send sends one message of a lane, and books its answer.
func (w *worker) send(of *flow, due int64) {
	c := w.load.crowd
	to := ledger.Everyone
	if of.to != nil {
		to = of.to.number
	}
	c.mu.Lock()
	seq, err := c.book.Begin(of.from.number, to, of.want, due)
	c.mu.Unlock()
	if err != nil {
		w.load.fail(err)
		return
	}
	text := ledger.Tag{Run: c.system.run, From: of.from.number, To: to, Seq: seq}.Text(textSize)
	outcome, sent := of.over(text)
	if !sent {
		outcome = w.call(of, text)
	}
	now := c.now()
	c.mu.Lock()
	c.book.Answer(of.from.number, to, seq, outcome, now)
	c.mu.Unlock()
	if to != ledger.Everyone {
		c.meter.answered(of.from.number, to, due, now)
	}
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = err
}

// call makes one call. Without an answer it is never repeated.
func (w *worker) call(of *flow, text string) ledger.Outcome {
	path, request := proto.PathGroup, any(proto.GroupRequest{UserID: proto.Number(of.from.user.ID), Msg: &text})
	if of.to != nil {
		path, request = proto.PathPrivate, proto.PrivateRequest{
			UserID: proto.Number(of.from.user.ID), ReceiveUserID: proto.Number(of.to.user.ID), Msg: &text,
			Client: proto.Number(min(of.want, 1)), Want: proto.Number(of.want),
		}
	}
	// Not the crowd's context: a call under way at the end is answered.
	route := int(w.route.Load()) % len(w.load.routes)
	a, err := call(context.Background(), w.client, w.load.routes[route]+path, request)
	if err != nil {
		w.route.Add(1)
		return w.load.unanswered(err)
	}
	outcome := outcomeOf(a)
	if outcome == ledger.Delivered || outcome == ledger.Stored || outcome == ledger.Acknowledged {
		w.succeeded()
	}
	if outcome == ledger.Refused || outcome == ledger.Failed {
		w.load.crowd.note(func(seen *counts) { seen.codes[fmt.Sprint(path, " ", a.code)]++ })
		w.load.noteFailure()
	}
	return outcome
}

// unanswered is the outcome of a call that no answer came to. What failed as it
// was dialed has not been sent.
func (l *load) unanswered(err error) ledger.Outcome {
	outcome, name := ledger.Unknown, "no answer"
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		outcome, name = ledger.Refused, "no connection"
	}
	l.crowd.note(func(seen *counts) { seen.codes[name]++ })
	return outcome
}

func (l *load) noteFailure() {
	now := l.crowd.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = now
}

// lastFailed is the time of the last answer that was no success.
func (l *load) lastFailed() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// overEvery is which of the senders send over their own connection, if that is
// a client of ours and connected.
const overEvery = 8

// sendsOver reports whether the member sends over its own connection, once it has
// one of ours.
func (m *member) sendsOver() bool {
	every := m.crowd.size.over
	if every == 0 {
		every = overEvery
	}
	return int(m.number)%every == 0
}

// connected reports whether the lane's messages go over its sender's own
// connection, if that stands.
func (of *flow) connected() bool { return of.from.sendsOver() && of.from.client() != nil }

// over sends a message over its sender's own connection. It reports false if
// that is not the way of this lane, or if there is no connection.
func (of *flow) over(text string) (ledger.Outcome, bool) {
	one := of.from.client()
	if one == nil || !of.connected() {
		return ledger.Unknown, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), wantedMax)
	defer cancel()
	var result client.Result
	var err error
	if of.to == nil {
		result, err = one.SendGroup(ctx, text)
	} else {
		result, err = one.SendWith(ctx, of.to.user.ID, text, client.SendOptions{Want: wantOf(of.want)})
	}
	if errors.Is(err, client.ErrNotConnected) || errors.Is(err, client.ErrClosed) {
		return ledger.Unknown, false
	}
	outcome := outcomeOfSend(result, err)
	switch {
	case err != nil:
		of.from.crowd.note(func(seen *counts) { seen.codes[fmt.Sprint("SEND ", outcome)]++ })
	case outcome == ledger.Refused || outcome == ledger.Failed:
		of.from.crowd.note(func(seen *counts) { seen.codes[fmt.Sprint("SEND ", result.Code)]++ })
	}
	return outcome, true
}

// wantedMax is how long a client of ours may try to send one message.
const wantedMax = 75 * time.Second

// wantOf is a want as the client has it.
func wantOf(w ledger.Want) client.Want {
	return [ledger.Wants]client.Want{client.WantTaken, client.WantReceived, client.WantStored}[w]
}

// outcomeOfSend is what a client says of a message.
func outcomeOfSend(result client.Result, err error) ledger.Outcome {
	switch {
	case errors.Is(err, client.ErrBusy), errors.Is(err, client.ErrNotConnected), errors.Is(err, client.ErrClosed):
		return ledger.Refused
	case err != nil:
		return ledger.Unknown
	case result.Outcome == proto.OutcomeReceived:
		return ledger.Acknowledged
	}
	return outcomeOf(answered{status: http.StatusOK, code: result.Code})
}

// outcomeOf says what an answer promises.
func outcomeOf(a answered) ledger.Outcome {
	switch {
	case a.status == http.StatusTooManyRequests:
		return ledger.Refused
	case a.code == proto.CodeSuccess:
		return a.delivered()
	case a.code == proto.CodeOffline:
		return ledger.Stored
	case a.code == proto.CodeLimit || a.code == proto.CodeOfflineStore || a.code == proto.CodeNoServer || a.code == proto.CodeInvalid:
		return ledger.Refused
	}
	return ledger.Failed
}

// delivered is what a success says beyond that.
func (a answered) delivered() ledger.Outcome {
	var body proto.SentBody
	if json.Unmarshal(a.body, &body) == nil && body.Outcome == proto.OutcomeReceived.String() {
		return ledger.Acknowledged
	}
	return ledger.Delivered
}

// succeeded notes a success for the gaps.
func (w *worker) succeeded() {
	now := w.load.crowd.now()
	w.load.mu.Lock()
	defer w.load.mu.Unlock()
	if w.last > 0 {
		w.gap = max(w.gap, time.Duration(now-w.last))
	}
	w.last = now
}

// watch begins to look for gaps.
func (l *load) watch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.workers {
		w.gap = 0
	}
}

// gap is the longest time that any sender was without a success since watch,
// up to now.
func (l *load) gap() time.Duration {
	now := l.crowd.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	longest := time.Duration(0)
	for _, w := range l.workers {
		if w.last > 0 {
			longest = max(longest, w.gap, time.Duration(now-w.last))
		}
	}
	return longest
}
