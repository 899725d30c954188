package token

import (
	"crypto/sha256"
	"strings"
	"sync"
)

// verifiedMax bounds the tokens that are remembered, some 300 bytes each.
const verifiedMax = 16_384

// tokenName identifies a token: no two have the same.
type tokenName [sha256.Size]byte

func nameOf(token string) tokenName { return sha256.Sum256([]byte(token)) }

// verified are verified tokens, by name, with their claims: a client sends the same
// one with each request. Strangers cannot add any. Any goroutine may use it.
//
// There are two generations. A used token moves to the young one; when that is full
// it becomes the old one, and the tokens of the old one are dropped.
type verified struct {
	mu         sync.Mutex
	young, old map[tokenName]*jwtClaims
}

func newVerified() *verified { return &verified{young: map[tokenName]*jwtClaims{}} }

// get returns the claims of the token, which must not be changed; nil: it is not
// remembered.
func (v *verified) get(name tokenName) *jwtClaims {
	v.mu.Lock()
	defer v.mu.Unlock()
	if said := v.young[name]; said != nil {
		return said
	}
	said := v.old[name]
	if said != nil {
		v.add(name, said)
	}
	return said
}

func (v *verified) put(name tokenName, said *jwtClaims) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.add(name, said)
}

// add makes room if the young generation is full. The caller holds the lock.
func (v *verified) add(name tokenName, said *jwtClaims) {
	if len(v.young) >= verifiedMax/2 {
		v.young, v.old = map[tokenName]*jwtClaims{}, v.young
	}
	v.young[name] = said
}

func (v *verified) len() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.young) + len(v.old)
}

// headsMax bounds the remembered headers. An issuer has one for each key.
const headsMax = 2 * KeysMax

// heads are the headers of verified tokens, as written in them, with their keys: so
// nearly all headers, even of invalid tokens, need not be decoded. Any goroutine
// may use it.
type heads struct {
	mu   sync.RWMutex
	keys map[string]Key
}

func (h *heads) get(head string) (key Key, found bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	key, found = h.keys[head]
	return key, found
}

// put remembers head, while there is room.
func (h *heads) put(head string, key Key) {
	if _, found := h.get(head); found {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keys == nil {
		h.keys = map[string]Key{}
	}
	if len(h.keys) < headsMax {
		h.keys[strings.Clone(head)] = key // a copy, so that the token's memory is freed
	}
}
