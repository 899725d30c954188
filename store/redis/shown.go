package redis

import (
	"cmp"
	"slices"
	"sync"

	"cim/proto"
	"cim/store"
)

// shownMax bounds the users to whom texts of the original are shown at once:
// more than catch-ups run. For one more another is forgotten, who is shown the
// same texts again.
const shownMax = 1024

// shown are the serials of the original's texts that this Store has shown and
// not removed yet.
type shown struct {
	mu    sync.Mutex
	users map[proto.UserID]*shownTexts // <= shownMax
}

// shownTexts are those of one user, <= listedMax.
type shownTexts struct {
	serials map[string]uint64 // by the original's ids
	last    uint64            // the largest that was given
}

// hidden returns those of ids, each once, that have no serial up to after.
func (s *shown) hidden(user proto.UserID, after uint64, ids []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := s.users[user]
	seen := make(map[string]bool, len(ids))
	var hidden []string
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		if texts == nil || texts.serials[id] == 0 || texts.serials[id] > after {
			hidden = append(hidden, id)
		}
	}
	return hidden
}

// number gives serials to texts, in their order: those that they have, or the
// next ones behind floor. Where the next one is a text's of ours it ends.
func (s *shown) number(user proto.UserID, floor uint64, messages []named) []store.OfflineMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := s.of(user)
	numbered := make([]store.OfflineMessage, 0, len(messages))
	for _, m := range messages {
		serial, found := texts.serials[m.id]
		if !found {
			serial = max(floor, texts.last) + 1
			if inside(serial) != inside(serial-1) {
				break
			}
			texts.serials[m.id] = serial
		}
		texts.last = max(texts.last, serial)
		m.message.Serial = serial
		numbered = append(numbered, m.message)
	}
	return numbered
}

// of returns the texts of user. mu is held.
func (s *shown) of(user proto.UserID) *shownTexts {
	texts := s.users[user]
	if texts != nil {
		return texts
	}
	if len(s.users) >= shownMax {
		for other := range s.users {
			delete(s.users, other)
			break
		}
	}
	texts = &shownTexts{serials: make(map[string]uint64)}
	s.users[user] = texts
	return texts
}

// upTo returns the ids that have a serial up to this one, in their order.
func (s *shown) upTo(user proto.UserID, serial uint64) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := s.users[user]
	if texts == nil {
		return nil
	}
	var ids []string
	for id, at := range texts.serials {
		if at <= serial {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(texts.serials[a], texts.serials[b]) })
	return ids
}

func (s *shown) removed(user proto.UserID, ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if texts := s.users[user]; texts != nil {
		for _, id := range ids {
			delete(texts.serials, id)
		}
	}
}

// forget ends what was shown to user: a new lease begins anew.
func (s *shown) forget(user proto.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users, user)
}
