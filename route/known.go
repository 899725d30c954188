package route

import (
	"context"
	"sync"

	"cim/proto"
	"cim/store"
)

// What the route has last known of users lets it go on while the store is
// away. Records are consulted then only, and may be wrong: one that is shows as
// absent on the link, and what needs the store is then refused. Names never
// change, and spare the store at any time.

const (
	// tableParts and tablePartMax bound a table to 262,144 users. A part that
	// is full forgets one of its users at random for each new one: he needs the
	// store again.
	tableParts   = 64
	tablePartMax = 4096
)

// table remembers something of each of a bounded number of users.
type table[V comparable] struct {
	parts [tableParts]tablePart[V]
}

type tablePart[V comparable] struct {
	mu      sync.RWMutex
	entries map[proto.UserID]V // <= tablePartMax
}

func newTable[V comparable]() *table[V] {
	t := &table[V]{}
	for i := range t.parts {
		t.parts[i].entries = map[proto.UserID]V{}
	}
	return t
}

// part spreads users as sendQueue does.
func (t *table[V]) part(user proto.UserID) *tablePart[V] { return &t.parts[sendQueue(user)] }

func (t *table[V]) get(user proto.UserID) (V, bool) {
	p := t.part(user)
	p.mu.RLock()
	defer p.mu.RUnlock()
	v, found := p.entries[user]
	return v, found
}

// put remembers v. Mostly it is known: then nothing is locked but for reading.
func (t *table[V]) put(user proto.UserID, v V) {
	if known, found := t.get(user); found && known == v {
		return
	}
	t.putIf(user, v, func(V) bool { return true })
}

// putIf remembers v if nothing is known or may agrees to replace it.
func (t *table[V]) putIf(user proto.UserID, v V, may func(known V) bool) {
	p := t.part(user)
	p.mu.Lock()
	defer p.mu.Unlock()
	known, found := p.entries[user]
	if found && !may(known) {
		return
	}
	if !found && len(p.entries) >= tablePartMax {
		p.forgetOne()
	}
	p.entries[user] = v
}

// forgetOne is called with mu held.
func (p *tablePart[V]) forgetOne() {
	for user := range p.entries {
		delete(p.entries, user)
		return
	}
}

// dropIf forgets what is known of user if may agrees.
func (t *table[V]) dropIf(user proto.UserID, may func(known V) bool) {
	p := t.part(user)
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, found := p.entries[user]; found && may(known) {
		delete(p.entries, user)
	}
}

func (t *table[V]) len() int {
	n := 0
	for i := range t.parts {
		p := &t.parts[i]
		p.mu.RLock()
		n += len(p.entries)
		p.mu.RUnlock()
	}
	return n
}

// lastRecord is as much of a record as a push needs.
type lastRecord struct {
	epoch      proto.Epoch
	generation proto.Generation
}

// known is what the route has last known.
type known struct {
	names   *table[string] // of accounts; they never change
	records *table[lastRecord]
	refused *table[refusedTokens] // of users who showed a token

	// inMemory reads the store's own record where that needs no memory of the route:
	// then records has none. nil: it does.
	inMemory func(proto.UserID) (store.Record, bool)
}

func newKnown(inMemory func(proto.UserID) (store.Record, bool)) *known {
	return &known{newTable[string](), newTable[lastRecord](), newTable[refusedTokens](), inMemory}
}

// record is the last that is known of user.
func (k *known) record(user proto.UserID) (lastRecord, bool) {
	if k.inMemory == nil {
		return k.records.get(user)
	}
	record, found := k.inMemory(user)
	return lastRecord{record.Place.Epoch, record.Generation}, found
}

// saw notes a record that the store has returned.
func (k *known) saw(user proto.UserID, record store.Record, found bool) {
	switch {
	case k.inMemory != nil:
	case found:
		k.records.put(user, lastRecord{record.Place.Epoch, record.Generation})
	default:
		k.records.dropIf(user, func(lastRecord) bool { return true })
	}
}

// sits notes a login that the route was told of elsewhere. A newer one stands.
func (k *known) sits(user proto.UserID, epoch proto.Epoch, generation proto.Generation) {
	if generation == 0 || k.inMemory != nil {
		return
	}
	k.records.putIf(user, lastRecord{epoch, generation}, func(known lastRecord) bool { return known.generation <= generation })
}

// left forgets a login that has ended.
func (k *known) left(user proto.UserID, generation proto.Generation) {
	k.records.dropIf(user, func(known lastRecord) bool { return known.generation == generation })
}

// account returns the name of id's account. Accounts are never removed and
// names never change, so one that is known is right.
func (r *Route) account(ctx context.Context, id proto.UserID) (name string, found bool, err error) {
	if name, found = r.known.names.get(id); found {
		return name, true, nil
	}
	name, found, err = r.store.Account(ctx, id)
	switch {
	case err == nil && found:
		r.known.names.put(id, name)
	case away(err):
		r.outage.begin()
	}
	return name, found, err
}

// lookup reads a record for a push. Absence is never taken from a cache. While
// the store is away the record is what was last known, without the name of its
// server.
func (r *Route) lookup(ctx context.Context, user proto.UserID) (store.Record, bool, error) {
	if r.outage.lasts() {
		if record, found := r.knownRecord(user); found {
			return record, true, nil
		}
	}
	record, found, err := r.store.Lookup(ctx, user, store.Cached)
	switch {
	case err == nil && found:
		r.known.saw(user, record, true)
		return record, true, nil
	case err == nil:
		record, found, err = r.lookupFresh(ctx, user)
	}
	if away(err) {
		r.outage.begin()
		if record, found = r.knownRecord(user); found {
			return record, true, nil
		}
	}
	return record, found, err
}

func (r *Route) knownRecord(user proto.UserID) (store.Record, bool) {
	s, found := r.known.record(user)
	if found {
		r.counters.lastKnown.Inc()
	}
	return store.Record{Place: store.Place{Epoch: s.epoch}, Generation: s.generation}, found
}

// lookupFresh reads a record as the store has it now.
func (r *Route) lookupFresh(ctx context.Context, user proto.UserID) (store.Record, bool, error) {
	record, found, err := r.store.Lookup(ctx, user, store.Fresh)
	if err == nil {
		r.known.saw(user, record, found)
	}
	return record, found, err
}

// release removes the record of a login at place that has ended.
func (r *Route) release(ctx context.Context, user proto.UserID, place store.Place, generation proto.Generation) (err error) {
	r.known.left(user, generation)
	if generation == 0 {
		return r.releaseUngranted(ctx, user, place)
	}
	_, err = r.store.Release(ctx, user, generation)
	return err
}
