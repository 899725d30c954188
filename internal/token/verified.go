package token

import (
	"crypto/sha256"
	"strings"
	"sync"
)

// verifiedMax bounds the tokens that are remembered, some 300 bytes each.
const verifiedMax = 16_384

// tokenName stands for a token: no two have the same.
type tokenName [sha256.Size]byte

func nameOf(token string) tokenName { return sha256.Sum256([]byte(token)) }

// verified are tokens whose signature was right, by name, with what they say: a
// client shows the same one with each request. Strangers can put none there. Any
// goroutine may use it.
//
// There are two generations. A token that is used is in the young one; when
// that is full it becomes the old one, and what the old one had is forgotten.
type verified struct {
	mu         sync.Mutex
	young, old map[tokenName]*jwtClaims
}

func newVerified() *verified { return &verified{young: map[tokenName]*jwtClaims{}} }

// get returns what the token says, which must not be changed; nil: it is not
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

// headsMax bounds the headers that are remembered. An issuer has one for each key.
const headsMax = 2 * KeysMax

// heads are the headers of tokens whose signature was right, as they stand in
// them, with their key: so nearly all headers, those of wrong tokens too, need not
// be decoded. Any goroutine may use it.
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
		h.keys[strings.Clone(head)] = key // not the whole token
	}
}
