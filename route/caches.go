package route

import (
	"context"
	"sync"

	"cim/proto"
	"cim/store"
)

// While the store is away the route continues with what it last read. It uses cached records only
// then: a wrong one is answered absent by the server, and the request is refused if it needs the
// store. Names never change, so cached names are used at any time.

const (
	// cacheParts and cachePartMax bound a table to 262,144 users. A full part drops a random user
	// for each new one; the store is asked for the dropped user again.
	cacheParts   = 64
	cachePartMax = 4096
)

// cacheTable remembers something of each of a bounded number of users.
type cacheTable[V comparable] struct {
	parts [cacheParts]cachePart[V]
}

type cachePart[V comparable] struct {
	mu      sync.RWMutex
	entries map[proto.UserID]V // <= tablePartMax
}

func newCacheTable[V comparable]() *cacheTable[V] {
	t := &cacheTable[V]{}
	for i := range t.parts {
		t.parts[i].entries = map[proto.UserID]V{}
	}
	return t
}

// part spreads users as sendQueue does.
func (t *cacheTable[V]) part(user proto.UserID) *cachePart[V] { return &t.parts[queueOf(user)] }

func (t *cacheTable[V]) get(user proto.UserID) (V, bool) {
	p := t.part(user)
	p.mu.RLock()
	defer p.mu.RUnlock()
	v, found := p.entries[user]
	return v, found
}

// put caches v. Usually v is cached already: then put takes only a read lock.
func (t *cacheTable[V]) put(user proto.UserID, v V) {
	if cached, found := t.get(user); found && cached == v {
		return
	}
	t.putIf(user, v, func(V) bool { return true })
}

// putIf caches v if user has no entry, or if may returns true for it.
func (t *cacheTable[V]) putIf(user proto.UserID, v V, may func(cached V) bool) {
	p := t.part(user)
	p.mu.Lock()
	defer p.mu.Unlock()
	cached, found := p.entries[user]
	if found && !may(cached) {
		return
	}
	if !found && len(p.entries) >= cachePartMax {
		p.forgetOne()
	}
	p.entries[user] = v
}

// forgetOne is called with mu held.
func (p *cachePart[V]) forgetOne() {
	for user := range p.entries {
		delete(p.entries, user)
		return
	}
}

// dropIf drops the entry of user if may returns true for it.
func (t *cacheTable[V]) dropIf(user proto.UserID, may func(cached V) bool) {
	p := t.part(user)
	p.mu.Lock()
	defer p.mu.Unlock()
	if cached, found := p.entries[user]; found && may(cached) {
		delete(p.entries, user)
	}
}

func (t *cacheTable[V]) len() int {
	n := 0
	for i := range t.parts {
		p := &t.parts[i]
		p.mu.RLock()
		n += len(p.entries)
		p.mu.RUnlock()
	}
	return n
}

// sessionKey is as much of a record as a push needs.
type sessionKey struct {
	epoch      proto.Epoch
	generation proto.Generation
}

// caches are the names, presence records and token refusals that the route has read last.
type caches struct {
	names    *cacheTable[string] // of accounts; they never change
	presence *cacheTable[sessionKey]
	refusals *cacheTable[refusedTokens] // of users whose tokens were checked

	// inMemory reads the store's own record where that needs no memory of the route:
	// then records has none. nil: it does.
	inMemory func(proto.UserID) (store.Record, bool)
}

func newCaches(inMemory func(proto.UserID) (store.Record, bool)) *caches {
	return &caches{newCacheTable[string](), newCacheTable[sessionKey](), newCacheTable[refusedTokens](), inMemory}
}

// presenceOf is the cached session of user.
func (k *caches) presenceOf(user proto.UserID) (sessionKey, bool) {
	if k.inMemory == nil {
		return k.presence.get(user)
	}
	record, found := k.inMemory(user)
	return sessionKey{record.Place.Epoch, record.Generation}, found
}

// notePresence notes a record that the store has returned.
func (k *caches) notePresence(user proto.UserID, record store.Record, found bool) {
	switch {
	case k.inMemory != nil:
	case found:
		k.presence.put(user, sessionKey{record.Place.Epoch, record.Generation})
	default:
		k.presence.dropIf(user, func(sessionKey) bool { return true })
	}
}

// noteLogin notes a login that this route learned of from another process. A newer one is kept.
func (k *caches) noteLogin(user proto.UserID, epoch proto.Epoch, generation proto.Generation) {
	if generation == 0 || k.inMemory != nil {
		return
	}
	k.presence.putIf(user, sessionKey{epoch, generation}, func(cached sessionKey) bool { return cached.generation <= generation })
}

// forgetLogin forgets a login that has ended.
func (k *caches) forgetLogin(user proto.UserID, generation proto.Generation) {
	k.presence.dropIf(user, func(cached sessionKey) bool { return cached.generation == generation })
}

// account returns the name of id's account. Accounts are never removed and names never change, so a
// cached name is right.
func (r *Route) account(ctx context.Context, id proto.UserID) (name string, found bool, err error) {
	if name, found = r.caches.names.get(id); found {
		return name, true, nil
	}
	name, found, err = r.store.Account(ctx, id)
	switch {
	case err == nil && found:
		r.caches.names.put(id, name)
	case storeAway(err):
		r.outage.noteFailure()
	}
	return name, found, err
}

// lookup reads a record for a push. Absence is never taken from a cache. While the store is away
// the record is the cached one, without the name of its server.
func (r *Route) lookup(ctx context.Context, user proto.UserID) (store.Record, bool, error) {
	if r.outage.active() {
		if record, found := r.cachedRecord(user); found {
			return record, true, nil
		}
	}
	record, found, err := r.store.Lookup(ctx, user, store.Cached)
	switch {
	case err == nil && found:
		r.caches.notePresence(user, record, true)
		return record, true, nil
	case err == nil:
		record, found, err = r.lookupFresh(ctx, user)
	}
	if storeAway(err) {
		r.outage.noteFailure()
		if record, found = r.cachedRecord(user); found {
			return record, true, nil
		}
	}
	return record, found, err
}

func (r *Route) cachedRecord(user proto.UserID) (store.Record, bool) {
	s, found := r.caches.presenceOf(user)
	if found {
		r.counters.lastKnown.Inc()
	}
	return store.Record{Place: store.Place{Epoch: s.epoch}, Generation: s.generation}, found
}

// lookupFresh reads a record as the store has it now.
func (r *Route) lookupFresh(ctx context.Context, user proto.UserID) (store.Record, bool, error) {
	record, found, err := r.store.Lookup(ctx, user, store.Fresh)
	if err == nil {
		r.caches.notePresence(user, record, found)
	}
	return record, found, err
}

// release removes the record of a login at place that has ended.
func (r *Route) release(ctx context.Context, user proto.UserID, place store.Place, generation proto.Generation) (err error) {
	r.caches.forgetLogin(user, generation)
	if generation == 0 {
		return r.releaseUngranted(ctx, user, place)
	}
	_, err = r.store.Release(ctx, user, generation)
	return err
}
