package compat

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"cim/proto"
)

const (
	// groupWorkers push to one server at once; below pusherConns, so that private
	// messages pass.
	groupWorkers = pusherConns / 2
	// groupFaultsMax is how many pushes in a row may fail before a server counts as
	// gone for a message: all workers once.
	groupFaultsMax = groupWorkers
	// groupQueueMax bounds the messages to everybody on their way to one server of
	// the original. What does not fit is lost for its users.
	groupQueueMax = 1024
	// groupPause is when a message is answered that a receiver has and others do not
	// have yet: one that is waited for keeps no sender.
	groupPause = 300 * time.Millisecond
)

// groupQueue brings the messages to everybody to the users at one server, one
// message after the other.
type groupQueue struct {
	server  *farEnd
	waiting chan *group
}

func newGroupQueue(s *farEnd) *groupQueue {
	return &groupQueue{server: s, waiting: make(chan *group, groupQueueMax)}
}

// take queues a message. It does not wait.
func (q *groupQueue) take(r *proto.Record) {
	g := newGroup(q.server, r)
	g.soon = time.AfterFunc(groupPause, g.answerSoon)
	select {
	case q.waiting <- g:
	default:
		g.lost.Add(1) // at least: how many users are there is not known
		g.end()
	}
}

// run brings what waits until the link ends, which ends the wait for what is left.
func (q *groupQueue) run() {
	for {
		select {
		case g := <-q.waiting:
			g.bring(q.server.ctx)
		case <-q.server.ctx.Done():
			return
		}
	}
}

// group is one message to everybody on its way to the users at one server.
type group struct {
	server *farEnd
	record uint64 // that is to be answered
	number uint64 // of the message; see scans
	sender proto.UserID
	frame  []byte
	by     time.Time // when it ends, whatever has been sent
	soon   *time.Timer

	next                 atomic.Int64 // into the users
	faults               atomic.Int64 // in a row
	taken, lost, unknown atomic.Int64 // deliveries

	mu       sync.Mutex
	late     bool // groupPause is over
	answered bool
}

func newGroup(s *farEnd, r *proto.Record) *group {
	var view proto.View
	view.Parse(r.Body) // the route has made it
	return &group{
		server: s, record: r.ID, number: s.adapter.scans.number(messageKey{r.User, view.TextID()}),
		sender: r.User, frame: bytes.Clone(r.Body), by: time.Now().Add(pushTimeout),
	}
}

// bring brings the message to all users at the server but its sender.
func (g *group) bring(ctx context.Context) {
	ctx, stop := context.WithDeadline(ctx, g.by)
	defer stop()
	defer g.end()
	users, err := g.server.adapter.scans.users(ctx, g.number, g.server.member.Name())
	if err != nil {
		g.lost.Add(1) // at least: how many users are there is not known
		return
	}
	var sending sync.WaitGroup
	for range min(groupWorkers, len(users)) {
		sending.Go(func() { g.work(ctx, users) })
	}
	sending.Wait()
}

// work brings it to one user after the other.
func (g *group) work(ctx context.Context, users []proto.UserID) {
	for {
		i := int(g.next.Add(1)) - 1
		if i >= len(users) {
			return
		}
		if users[i] != g.sender {
			g.send(ctx, users[i])
		}
	}
}

// send brings it to a user, behind the sender's private messages on their way there.
func (g *group) send(ctx context.Context, user proto.UserID) {
	if before := g.server.adapter.onTheirWay(g.sender, user); before != nil {
		select {
		case <-before:
		case <-ctx.Done():
		}
	}
	err := errUnsent
	if g.faults.Load() < groupFaultsMax && ctx.Err() == nil {
		err = g.server.pusher.send(sendMsgBody(user, g.frame), g.by)
	}
	if err == nil {
		g.faults.Store(0)
		g.taken.Add(1)
		g.answerTaken()
		return
	}
	g.faults.Add(1)
	if errors.Is(err, errUnknown) {
		g.unknown.Add(1)
	} else {
		g.lost.Add(1)
	}
}

// answerSoon answers if a receiver has it.
func (g *group) answerSoon() {
	g.mu.Lock()
	g.late = true
	g.mu.Unlock()
	if g.taken.Load() > 0 {
		g.answerTaken()
	}
}

// answerTaken answers, behind groupPause, that receivers have it: how many is not
// known yet.
func (g *group) answerTaken() {
	g.mu.Lock()
	late := g.late
	g.mu.Unlock()
	if late {
		g.answer(proto.VerdictTaken, 0)
	}
}

// end answers how the message has ended, and counts what was lost.
func (g *group) end() {
	g.soon.Stop()
	taken, lost, unknown := int(g.taken.Load()), int(g.lost.Load()), int(g.unknown.Load())
	switch {
	case unknown > 0 && taken > 0:
		g.answer(proto.VerdictTaken, 0)
	case unknown > 0:
		g.answer(proto.VerdictUnknown, 0)
	case lost > 0 && taken == 0:
		g.answer(proto.VerdictAbsent, 0)
	default:
		g.answer(proto.VerdictTaken, uint64(proto.ReceiversOf(taken)))
	}
	if lost += unknown; lost > 0 {
		g.server.adapter.counters.lost.Add(lost)
		g.server.adapter.notices.Say("group messages lost to users on a server of the original, or unknown",
			"server", g.server.member.Name(), "deliveries", lost)
	}
}

// answer answers once.
func (g *group) answer(verdict proto.Verdict, receivers uint64) {
	g.mu.Lock()
	before := g.answered
	g.answered = true
	g.mu.Unlock()
	if !before {
		g.server.answer(g.record, verdict, receivers)
	}
}
