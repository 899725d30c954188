package redisform

import (
	"slices"
	"sync"
	"time"

	"cim/proto"
	"cim/store"
	"cim/store/redis"
)

// shownMax bounds the users to whom texts of the original are shown at once:
// more than catch-ups run. For one more another is forgotten, who is shown the
// same texts again.
const shownMax = 1024

// unreadMax bounds the ids of one user whose texts cannot be read, and unreadLogMax
// those of all users that are remembered as logged: past it they are logged and
// counted again.
const (
	unreadMax    = 8 << 10
	unreadLogMax = 16 << 10
)

// shown are the serials of the original's texts that this Store has shown and
// not removed yet, and the ids whose texts it could not read.
type shown struct {
	mu     sync.Mutex
	users  map[proto.UserID]*shownTexts // <= shownMax
	logged map[unreadID]bool            // <= unreadLogMax
}

type unreadID struct {
	user proto.UserID
	id   string
}

// shownTexts are those of one user, <= listedMax.
type shownTexts struct {
	texts  map[string]shownText // by the original's ids
	unread map[string]bool      // <= unreadMax
	last   uint64               // the largest serial that was given
}

// shownText is a text that was shown, with what it takes to remove it.
type shownText struct {
	storedText
	serial uint64
}

// hidden returns those of ids, each once, that can be read and have no serial up
// to after.
func (s *shown) hidden(user proto.UserID, after uint64, ids []string) []string {
	ids = s.readable(user, ids)
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
		if texts == nil || texts.texts[id].serial == 0 || texts.texts[id].serial > after {
			hidden = append(hidden, id)
		}
	}
	return hidden
}

// readable returns ids without those whose texts could not be read.
func (s *shown) readable(user proto.UserID, ids []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := s.users[user]
	if texts == nil || len(texts.unread) == 0 {
		return ids
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return texts.unread[id] })
}

// keepUnread notes ids whose texts cannot be read, and returns those that have
// not been logged.
func (s *shown) keepUnread(user proto.UserID, ids []string) (fresh []string) {
	if len(ids) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := s.of(user)
	for _, id := range ids {
		if len(texts.unread) < unreadMax {
			texts.unread[id] = true
		}
		if s.logged[unreadID{user, id}] {
			continue
		}
		if s.logged == nil || len(s.logged) >= unreadLogMax {
			s.logged = make(map[unreadID]bool)
		}
		s.logged[unreadID{user, id}] = true
		fresh = append(fresh, id)
	}
	return fresh
}

// unreadOf is how many ids of a user are known to have texts that cannot be read.
func (s *shown) unreadOf(user proto.UserID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if texts := s.users[user]; texts != nil {
		return len(texts.unread)
	}
	return 0
}

// number gives serials to texts, in their order: those that they have, or the
// next ones behind the floor of their time. Where the next one is a text's of ours
// it ends.
func (s *shown) number(user proto.UserID, floor func(created time.Time) uint64, messages []storedText) []store.OfflineMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := s.of(user)
	numbered := make([]store.OfflineMessage, 0, len(messages))
	for _, m := range messages {
		at, found := texts.texts[m.id]
		if !found {
			at = shownText{m, max(floor(m.message.Stored), texts.last) + 1}
			if at.serial>>redis.GapBits != (at.serial-1)>>redis.GapBits {
				break
			}
			at.message = store.OfflineMessage{Sender: proto.User{ID: m.message.Sender.ID}} // the rest is not needed to remove the text
			texts.texts[m.id] = at
		}
		texts.last = max(texts.last, at.serial)
		m.message.Serial = at.serial
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
	texts = &shownTexts{texts: make(map[string]shownText), unread: make(map[string]bool)}
	s.users[user] = texts
	return texts
}

// named returns the texts among those of ids that keys name, as far as they were
// shown, and the ids of those that may be named by sender and id but were not.
func (s *shown) named(user proto.UserID, ids []string, keys []store.TextKey) (texts []storedText, unknown []string) {
	serials, refs, textIDs := map[uint64]bool{}, map[store.TextKey]bool{}, map[proto.TextID]bool{}
	for _, key := range keys {
		if key.ID == 0 {
			serials[key.Serial] = true
		} else {
			refs[store.TextKey{Sender: key.Sender, ID: key.ID}], textIDs[key.ID] = true, true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.users[user]
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		text, found := shownText{}, false
		if known != nil {
			text, found = known.texts[id]
		}
		of := textID(bareID(id))
		switch {
		case !found && textIDs[of]:
			unknown = append(unknown, id)
		case found && (serials[text.serial] || refs[store.TextKey{Sender: text.message.Sender.ID, ID: of}]):
			texts = append(texts, text.storedText)
		}
	}
	return texts, unknown
}

func (s *shown) removed(user proto.UserID, ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if texts := s.users[user]; texts != nil {
		for _, id := range ids {
			delete(texts.texts, id)
		}
	}
}

// forget ends what was shown to user: a new lease begins anew.
func (s *shown) forget(user proto.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users, user)
}
