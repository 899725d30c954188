package server

import (
	"container/list"
	"net/netip"
	"sync"

	"cim/proto"
	"cim/server/shard"
)

const (
	// straysMax bounds the remembered pairs of user and address, and the remembered
	// users, some 250 bytes each. The one without a stray for the longest time is
	// removed.
	straysMax = 32_768
	// straysFree is how many strays of a pair, or of a user, are ignored: a client
	// may be late, or connect without a login over HTTP.
	straysFree = 2
	// strayWaitMin and strayWaitMax bound the wait of a pair after a further stray:
	// each one doubles it.
	strayWaitMin shard.Tick = 1_000 / shard.TickMillis
	strayWaitMax shard.Tick = 10_000 / shard.TickMillis
	// strayAge is how long a stray counts: as long as a grant lasts.
	strayAge = grantTicks
	// excuseTicks is how long a client may be late whose login was announced, and
	// whose grant is gone; excusesMax bounds such logins of a user.
	excuseTicks shard.Tick = 10_000 / shard.TickMillis
	excusesMax             = 8
)

// strays remembers strays: logins of clients of the original, which show no ticket,
// that no route had announced. Their sender may be guessing when the user logs in,
// to get the session. Real clients log in over HTTP first, and send none.
//
// So an address that sends strays must wait: until then, a login of the user over
// HTTP gives it no session. It waits for this user only, since many users may share
// it. Loopback is no exception.
//
// A flood of strays for other users evicts those of one user. While that may have
// happened, every user counts as one with strays.
//
// Any goroutine may call the methods.
type strays struct {
	mu      sync.Mutex
	pairs   recent[strayPair, pairStrays]
	users   recent[proto.UserID, userStrays]
	crowded shard.Tick // until then, strays that would count may have been evicted
}

type strayPair struct {
	user proto.UserID
	addr netip.Addr
}

type pairStrays struct {
	count int
	last  shard.Tick
	wait  shard.Tick // counted from last
}

type userStrays struct {
	count   int
	newest  netip.Addr // address of the last stray
	last    shard.Tick // of the last stray
	several bool       // there are strays of other addresses than newest
	other   shard.Tick // of the last one of those
	excuses int        // how many of the next logins are no strays; <= excusesMax
	excused shard.Tick // end of the excuses
}

func newStrays() *strays {
	return &strays{pairs: newRecent[strayPair, pairStrays](straysMax), users: newRecent[proto.UserID, userStrays](straysMax)}
}

// note records a stray.
func (s *strays) note(user proto.UserID, addr netip.Addr, now shard.Tick) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users.full() || s.pairs.full() {
		s.crowded = now + strayAge
	}
	all := s.users.touch(user)
	if all.excuses > 0 && now < all.excused {
		all.excuses--
		return
	}
	if now >= all.last+strayAge {
		*all = userStrays{}
	}
	pair := s.pairs.touch(strayPair{user, addr})
	if now >= pair.last+strayAge {
		*pair = pairStrays{}
	}
	pair.count, pair.last = pair.count+1, now
	if pair.count > straysFree {
		pair.wait = min(max(2*pair.wait, strayWaitMin), strayWaitMax)
	}
	if all.count > 0 && all.newest != addr {
		all.several, all.other = true, all.last
	}
	all.count, all.newest, all.last = all.count+1, addr, now
}

// excuse makes one more login of the user no stray: a route has announced it, but a
// goodbye has revoked its grant, or another login has the grant's session.
func (s *strays) excuse(user proto.UserID, now shard.Tick) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.users.touch(user)
	if now >= all.excused {
		all.excuses = 0
	}
	all.excuses, all.excused = min(all.excuses+1, excusesMax), now+excuseTicks
}

// waits reports whether a login over HTTP at the tick loggedIn gives the address no
// session, since its wait was not over.
func (s *strays) waits(user proto.UserID, addr netip.Addr, loggedIn shard.Tick) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	pair := s.pairs.get(strayPair{user, addr})
	return pair != nil && pair.wait > 0 && loggedIn < pair.last+pair.wait
}

// others reports whether other addresses guess at the user's login, or may.
func (s *strays) others(user proto.UserID, addr netip.Addr, now shard.Tick) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now < s.crowded {
		return true
	}
	all := s.users.get(user)
	if all == nil || all.count <= straysFree {
		return false
	}
	if all.newest == addr {
		return all.several && now < all.other+strayAge
	}
	return now < all.last+strayAge
}

// expire removes strays that no longer count.
func (s *strays) expire(now shard.Tick) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pairs.expire(func(pair *pairStrays) bool { return now >= pair.last+strayAge })
	s.users.expire(func(all *userStrays) bool { return now >= max(all.last+strayAge, all.excused) })
}

// recent is a bounded table that removes the item that was not touched for the
// longest time.
type recent[K comparable, V any] struct {
	max   int
	order list.List // of *recentItem[K, V], the one touched last at its end
	byKey map[K]*list.Element
}

type recentItem[K comparable, V any] struct {
	key   K
	value V
}

func newRecent[K comparable, V any](most int) recent[K, V] {
	return recent[K, V]{max: most, byKey: make(map[K]*list.Element)}
}

// full reports whether one more key removes another one.
func (r *recent[K, V]) full() bool { return r.order.Len() >= r.max }

// touch returns the value of key, a new zero value if there is none.
func (r *recent[K, V]) touch(key K) *V {
	e := r.byKey[key]
	if e == nil {
		if r.full() {
			r.forget(r.order.Front())
		}
		e = r.order.PushBack(&recentItem[K, V]{key: key})
		r.byKey[key] = e
	}
	r.order.MoveToBack(e)
	return &e.Value.(*recentItem[K, V]).value
}

// get returns the value of key, or nil.
func (r *recent[K, V]) get(key K) *V {
	if e := r.byKey[key]; e != nil {
		return &e.Value.(*recentItem[K, V]).value
	}
	return nil
}

// expire removes items from the front while over reports true.
func (r *recent[K, V]) expire(over func(*V) bool) {
	for e := r.order.Front(); e != nil && over(&e.Value.(*recentItem[K, V]).value); e = r.order.Front() {
		r.forget(e)
	}
}

func (r *recent[K, V]) forget(e *list.Element) {
	delete(r.byKey, e.Value.(*recentItem[K, V]).key)
	r.order.Remove(e)
}
