package model

import (
	"context"
	"fmt"
	"time"

	"cim/proto"
	"cim/server/shard"
	"cim/store"
)

// fault is a planted fault.
type fault uint8

const (
	faultNone         fault = iota
	faultAckMore            // an ACK is one too high
	faultRemoveUpTo         // texts are removed up to a serial
	faultReturnBehind       // a text is stored while older ones are still to be returned
	faultSharedWindow       // all senders share a window of ids
	faultReturnOnce         // texts of an ended session are not returned again after a failure
	faultNoHold             // a text is stored, and its receiver's session is not held
)

const senders, receivers, servers = 2, 2, 2

// world is the whole system.
type world struct {
	ctx      context.Context
	fault    fault
	box      *store.Memory
	store    storeState
	now      time.Time
	servers  []*server
	senders  []*sender
	receiver []*receiver

	generation  proto.Generation
	present     map[proto.UserID]*conn // present, by the presence record
	queues      map[pair][]*try        // with the route
	receipts    map[uint64]*receipt
	settled     map[uint64]bool // receipts that have their outcome
	lastReceipt uint64

	messages   []*message
	numbers    map[pair]int
	stored     map[proto.TextKey]bool // have been in a box
	had        map[proto.TextKey]int  // how often the application has had it
	newest     map[pair]int           // the newest text that it has had
	disordered map[pair]bool          // its order is not promised: a server was killed, or the store failed
	lossy      map[proto.UserID]bool  // a server that kept texts of this user was killed
}

// failure is what run returns; w.failf panics with it.
type failure struct{ error }

func (w *world) failf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func newWorld(ctx context.Context, planted fault) *world {
	w := &world{
		ctx: ctx, fault: planted, now: time.Unix(1_700_000_000, 0), present: map[proto.UserID]*conn{}, queues: map[pair][]*try{},
		receipts: map[uint64]*receipt{}, settled: map[uint64]bool{}, numbers: map[pair]int{}, stored: map[proto.TextKey]bool{},
		had: map[proto.TextKey]int{}, newest: map[pair]int{}, disordered: map[pair]bool{}, lossy: map[proto.UserID]bool{},
	}
	w.box = store.NewMemory(store.Config{Now: func() time.Time { return w.now }})
	for i := range servers {
		w.servers = append(w.servers, newServer(uint16(i), 1000))
	}
	for i := range senders {
		w.senders = append(w.senders, &sender{user: proto.UserID(10 + i), server: w.servers[i%servers]})
	}
	for i := range receivers {
		r := &receiver{user: proto.UserID(1 + i)}
		r.restart()
		w.receiver = append(w.receiver, r)
		w.login(r, w.servers[i%servers])
		w.catchUp(r.user, 1)
	}
	return w
}

// collect takes what the shards hand out, and removes ended sessions.
func (w *world) collect() {
	for _, s := range w.servers {
		s.collect()
		for r, some := s.NextReceipt(); some; r, some = s.NextReceipt() {
			w.settle(r.To.ID, r.Outcome)
		}
	}
	for user, c := range w.present {
		if c.ended {
			delete(w.present, user)
		}
	}
	for _, r := range w.receiver {
		if r.conn != nil && r.conn.closed {
			w.breakOff(r, false)
		}
	}
}

// tick is 100 ms.
func (w *world) tick() {
	w.now = w.now.Add(shard.TickMillis * time.Millisecond)
	for _, s := range w.servers {
		s.tick()
	}
	for _, r := range w.receiver {
		if r.armed {
			w.acknowledge(r)
		}
	}
	for _, number := range sortedKeys(w.receipts) {
		r := w.receipts[number]
		if r.ticks++; r.ticks == receiptTicks {
			w.settle(number, proto.OutcomeUnknown)
		}
	}
	for _, p := range w.pairs() {
		for len(w.queues[p]) > 0 {
			t := w.queues[p][0]
			if !t.waits {
				break
			}
			if t.waited++; t.waited < returningTicks {
				break
			}
			w.queues[p] = w.queues[p][1:]
			if t.message.refused = true; t.message.tries > 1 {
				w.disordered[p] = true
			}
			w.answer(t, proto.OutcomeBusy)
		}
	}
	w.collect()
}

func (w *world) pairs() (pairs []pair) {
	for _, s := range w.senders {
		for _, r := range w.receiver {
			pairs = append(pairs, pair{s.user, r.user})
		}
	}
	return pairs
}

// kill ends a server with all its memory. Another takes its place.
func (w *world) kill(number int) {
	old := w.servers[number]
	for _, c := range old.conns {
		w.loses(c.user)
	}
	for _, r := range old.returns {
		w.loses(r.User)
	}
	next := newServer(uint16(number), old.now)
	w.servers[number] = next
	for user, c := range w.present {
		if c.server == old {
			delete(w.present, user)
		}
	}
	for _, id := range sortedKeys(w.receipts) {
		if w.receipts[id].server == old {
			w.settle(id, proto.OutcomeUnknown)
		}
	}
	for _, r := range w.receiver {
		if r.conn != nil && r.conn.server == old {
			r.connect(nil)
		}
	}
	for _, s := range w.senders {
		if s.server == old {
			w.reconnect(s, next, len(s.socket), false)
		}
	}
}

// loses records that a server with texts of user was killed.
func (w *world) loses(user proto.UserID) {
	w.lossy[user] = true
	for _, s := range w.senders {
		w.disordered[pair{s.user, user}] = true
	}
}

// checkKept checks what sessions keep.
func (w *world) checkKept() {
	for _, s := range w.servers {
		if texts, bytes := s.Kept(); bytes < 0 || bytes > 2*keptBytes || texts < 0 || texts > 2*shard.KeptTextsMax {
			w.failf("%d texts are kept, %d bytes", texts, bytes)
		}
	}
}
