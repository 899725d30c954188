package store

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"unique"

	"cim/proto"
)

// MemoryPresence is the Presence of a store whose servers all live in its own
// process: no record outlives them, so none is written down.
type MemoryPresence struct {
	accounts Accounts // for the names of Connected; nothing else is asked of it

	mu      sync.RWMutex
	records map[proto.UserID]memoryRecord
	last    proto.Generation // one count for all users: no user's is kept after its record
}

// memoryRecord is a Record in 24 bytes: all records of a server share its place.
type memoryRecord struct {
	place      unique.Handle[Place]
	generation proto.Generation
	connected  bool
}

func (r memoryRecord) record() Record {
	return Record{Place: r.place.Value(), Generation: r.generation, Connected: r.connected}
}

// NewMemoryPresence returns a presence of nobody. accounts has the users.
func NewMemoryPresence(accounts Accounts) *MemoryPresence {
	return &MemoryPresence{accounts: accounts, records: make(map[proto.UserID]memoryRecord)}
}

// Claim is that of Presence.
func (p *MemoryPresence) Claim(ctx context.Context, user proto.UserID, place Place, seen proto.Generation) (proto.Generation, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.records[user].generation > seen {
		return 0, ErrSuperseded
	}
	p.last++
	p.records[user] = memoryRecord{place: unique.Make(place), generation: p.last}
	return p.last, nil
}

// Confirm is that of Presence.
func (p *MemoryPresence) Confirm(ctx context.Context, user proto.UserID, generation proto.Generation) (bool, error) {
	return p.change(ctx, user, generation, func(record memoryRecord) {
		record.connected = true
		p.records[user] = record
	})
}

// Release is that of Presence.
func (p *MemoryPresence) Release(ctx context.Context, user proto.UserID, generation proto.Generation) (bool, error) {
	return p.change(ctx, user, generation, func(memoryRecord) { delete(p.records, user) })
}

// Restore is that of Presence.
func (p *MemoryPresence) Restore(ctx context.Context, place Place, sessions []proto.Session) (restored Restored, err error) {
	if err := ctx.Err(); err != nil {
		return Restored{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range sessions {
		if s.Generation != 0 {
			p.restore(place, s, &restored)
		}
	}
	return restored, nil
}

// restore compares one session. mu is held.
func (p *MemoryPresence) restore(place Place, s proto.Session, restored *Restored) {
	record, here := p.records[s.User], unique.Make(place)
	if s.Generation > p.last {
		p.last = s.Generation
		restored.Returned = append(restored.Returned, s)
	} else if record.generation != s.Generation || record.place != here {
		restored.Superseded = append(restored.Superseded, s)
		return
	}
	p.records[s.User] = memoryRecord{place: here, generation: s.Generation, connected: true}
}

// change makes a change under the lock if user's record is of this generation,
// and reports whether it is.
func (p *MemoryPresence) change(ctx context.Context, user proto.UserID, generation proto.Generation, apply func(memoryRecord)) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	record, found := p.records[user]
	if !found || record.generation != generation {
		return false, nil
	}
	apply(record)
	return true, nil
}

// Lookup is that of Presence. There is no cache: every answer is fresh.
func (p *MemoryPresence) Lookup(ctx context.Context, user proto.UserID, _ Freshness) (Record, bool, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, false, err
	}
	record, found := p.Record(user)
	return record, found, nil
}

// Record is Lookup for who cannot wait, or has no time left: it is never away.
func (p *MemoryPresence) Record(user proto.UserID) (Record, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	record, found := p.records[user]
	if !found {
		return Record{}, false
	}
	return record.record(), true
}

// Connected is that of Presence.
func (p *MemoryPresence) Connected(ctx context.Context) ([]Present, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	present := p.connected()
	for i := range present {
		user := &present[i].User
		name, _, err := p.accounts.Account(ctx, user.ID)
		if err != nil {
			return nil, err
		}
		user.Name = name
	}
	return present, nil
}

// connected returns the connected users in the order of their ids, without
// their names.
func (p *MemoryPresence) connected() []Present {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var present []Present
	for id, record := range p.records {
		if record.connected {
			present = append(present, Present{User: proto.User{ID: id}, Record: record.record()})
		}
	}
	slices.SortFunc(present, func(a, b Present) int { return cmp.Compare(a.User.ID, b.User.ID) })
	return present
}
