package model

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"cim/proto"
)

// kind is the kind of an event.
type kind uint8

const (
	eventSend kind = iota
	eventDeliver
	eventDeliverAll
	eventHear
	eventRead
	eventReturn // of the application's function
	eventAck
	eventTick
	eventCatchUp
	eventStoreReturn
	eventRemove
	eventStall
	eventProgress
	eventLogin
	eventMove
	eventBreak
	eventNotice // a server learns that a connection has broken
	eventRestart
	eventReconnect
	eventWeather
	eventKill
	eventKinds
)

// minPercent is the least share of each kind among all events, in percent.
var minPercent = map[kind]int{
	eventSend: 16, eventDeliver: 8, eventDeliverAll: 8, eventHear: 5, eventRead: 8, eventReturn: 10, eventAck: 6, eventTick: 6,
	eventCatchUp: 8, eventStoreReturn: 4, eventRemove: 4, eventLogin: 2, eventBreak: 2, eventStall: 2, eventProgress: 2,
}

// event is one step of a schedule. The kind decides the meaning of a, b and n.
type event struct {
	Kind    kind
	A, B, N int
}

var kindNames = [eventKinds]string{
	"send", "deliver", "deliver all", "hear", "read", "function returns", "ACK", "tick", "catch-up", "store return", "remove", "stall",
	"progress", "login", "move", "break", "notice", "restart", "reconnect", "weather", "kill",
}

func (e event) String() string { return fmt.Sprintf("%s %d %d %d", kindNames[e.Kind], e.A, e.B, e.N) }

func schedules() *rapid.Generator[[]event] {
	var kinds []kind
	for k := range eventKinds {
		kinds = append(kinds, slices.Repeat([]kind{k}, max(1, minPercent[k]))...)
	}
	one := rapid.Custom(func(t *rapid.T) event {
		return event{
			Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), A: rapid.IntRange(0, senders-1).Draw(t, "a"),
			B: rapid.IntRange(0, receivers-1).Draw(t, "b"), N: rapid.IntRange(0, 31).Draw(t, "n"),
		}
	})
	return rapid.Custom(func(t *rapid.T) []event {
		n := rapid.SampledFrom([]int{20, 60, 120, 200}).Draw(t, "length")
		return rapid.SliceOfN(one, n, n).Draw(t, "events")
	})
}

// run plays a schedule, heals all faults and checks the balance.
func run(ctx context.Context, schedule []event, planted fault) (err error) {
	defer func() {
		if f, failed := recover().(failure); failed {
			err = f.error
		}
	}()
	w := newWorld(ctx, planted)
	for _, e := range schedule {
		w.play(e)
		w.checkKept()
	}
	w.heal()
	w.balance()
	return nil
}

func (w *world) play(e event) {
	s, r := w.senders[e.A], w.receiver[e.B]
	at := w.servers[e.N%servers]
	switch e.Kind {
	case eventSend:
		padding := 0
		if e.N >= 28 {
			padding = 10_000
		}
		w.send(s, r.user, proto.Want(e.N%3), padding)
	case eventDeliver:
		w.arrivesAtRoute(s)
		w.deliver(pair{s.user, r.user})
	case eventDeliverAll:
		w.deliverAll()
	case eventHear:
		for range 1 + e.N {
			w.readOutcome(s)
		}
	case eventRead:
		n := 1 << 20
		if e.N%4 == 3 {
			n = 100 * e.N
		}
		w.receive(r, n)
	case eventReturn:
		for range 1 + e.N%8 {
			w.finishText(r, s.user)
		}
	case eventAck:
		if e.N%4 != 3 {
			w.acknowledge(r)
		}
		w.ackArrives(r)
	case eventTick:
		for range 1 + e.N%12 {
			w.tick()
		}
		if e.N%2 == 0 {
			w.store = storeWell
		}
	case eventCatchUp:
		for range 1 + e.N%4 {
			w.catchUp(r.user, 1+e.N)
		}
	case eventStoreReturn:
		w.returnOne(at, e.N < 28, e.N < 24)
	case eventRemove:
		w.remove(at)
	default:
		w.playFault(e, s, r, at)
	}
}

// deliverAll delivers what all senders have written, as far as possible.
func (w *world) deliverAll() {
	for _, s := range w.senders {
		w.arrivesAtRoute(s)
	}
	for _, p := range w.pairs() {
		for before := -1; before != len(w.queues[p]); {
			before = len(w.queues[p])
			w.deliver(p)
		}
	}
}

func (w *world) playFault(e event, s *sender, r *receiver, at *server) {
	switch e.Kind {
	case eventStall:
		if r.conn != nil {
			r.conn.stalled = e.N%2 == 0
		}
	case eventProgress:
		if r.conn != nil {
			r.conn.progress(1 << (e.N / 2))
			w.collect()
		}
	case eventLogin:
		w.login(r, at)
	case eventMove:
		w.move(r, at)
	case eventBreak:
		w.breakOff(r, e.N%2 == 0)
	case eventNotice:
		for _, slot := range at.slots() {
			if c := at.conns[slot]; c != r.conn {
				w.notice(c)
			}
		}
	case eventRestart:
		w.breakOff(r, e.N%2 == 0)
		r.restart()
	case eventReconnect:
		w.reconnect(s, at, e.N/4, e.N%4 == 0)
	case eventWeather:
		w.store = storeState(e.N % 3)
	case eventKill:
		if e.N%4 == 0 {
			w.kill(e.A % servers)
		}
	}
}

// notice has the server of c learn that its client is gone.
func (w *world) notice(c *conn) {
	if !slices.ContainsFunc(w.receiver, func(r *receiver) bool { return r.conn == c }) {
		c.server.close(c)
		w.collect()
	}
}

// heal lets everything finish, with a new session of each receiver in the middle:
// texts whose removal was lost come again, and are acknowledged again.
func (w *world) heal() {
	w.store = storeWell
	for round := range 120 {
		for _, r := range w.receiver {
			if r.conn == nil || w.present[r.user] != r.conn || round == 60 {
				w.login(r, w.servers[int(r.user)%servers])
			}
			r.conn.stalled = false
			r.conn.progress(1 << 30)
		}
		w.healServers()
		w.deliverAll()
		for _, s := range w.senders {
			for len(s.answers) > 0 {
				w.readOutcome(s)
			}
			w.resend(s)
		}
		for _, r := range w.receiver {
			w.healReceiver(r)
		}
		w.tick()
		if round > 61 && w.idle() {
			return
		}
	}
}

func (w *world) healServers() {
	for _, s := range w.servers {
		for _, slot := range s.slots() {
			w.notice(s.conns[slot])
		}
		for len(s.returns) > 0 {
			w.returnOne(s, true, true)
		}
		w.remove(s)
	}
}

func (w *world) healReceiver(r *receiver) {
	w.catchUp(r.user, 100)
	w.receive(r, 1<<30)
	for _, s := range w.senders {
		for range len(r.waiting) {
			w.finishText(r, s.user)
		}
	}
	for range len(r.flight) {
		w.ackArrives(r)
	}
}

// idle reports whether nothing is left to do.
func (w *world) idle() bool { return w.leftOver() == nil }

// leftOver describes what is left; nil: nothing.
func (w *world) leftOver() error {
	for _, s := range w.servers {
		if texts, bytes := s.Kept(); texts > 0 || bytes > 0 || len(s.returns) > 0 || len(s.acked) > 0 {
			return fmt.Errorf("%d texts are kept, %d bytes, returns %v, acknowledged %v", texts, bytes, s.returns, s.acked)
		}
	}
	for _, s := range w.senders {
		if len(s.outgoing) > 0 {
			return fmt.Errorf("%d messages of %d have no outcome", len(s.outgoing), s.user)
		}
	}
	for _, r := range w.receiver {
		if page, err := w.box.Page(w.ctx, r.user, 0); len(page) > 0 || err != nil {
			return fmt.Errorf("the box of %d has %v, %v", r.user, page, err)
		}
	}
	if len(w.receipts) > 0 {
		return fmt.Errorf("%d receipts are open", len(w.receipts))
	}
	return nil
}

// balance compares the senders' answers with the receivers' texts.
func (w *world) balance() {
	for _, m := range w.messages {
		promised := m.over && (m.outcome == proto.OutcomeStored || m.outcome == proto.OutcomeReceived || m.outcome == proto.OutcomeDelivered)
		switch {
		case !promised || w.had[m.key] > 0:
		case m.outcome == proto.OutcomeDelivered && w.lossy[m.to]:
		default:
			w.failf("text %d of %v, want %d, answered %v, is lost", m.number, m.pair, m.want, m.outcome)
		}
	}
	if err := w.leftOver(); err != nil {
		w.failf("left in the end: %v", err)
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
