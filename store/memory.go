package store

import (
	"context"
	"slices"
	"sync"
	"time"

	"cim/proto"
)

// Memory is a store that forgets everything when its process ends.
type Memory struct {
	*MemoryPresence
	*MemoryLeases
	config Config

	mu      sync.RWMutex
	names   map[proto.UserID]string
	ids     map[string]proto.UserID
	last    proto.UserID                     // the largest id given so far
	refused map[proto.UserID]proto.UnixMilli // tokens that were issued before
	boxes   map[proto.UserID]*memoryBox
	serial  uint64 // the last one given: one count for all boxes
}

// memoryBox is the texts of one user, oldest first; never empty.
type memoryBox struct {
	messages []OfflineMessage
	usage    Usage // of messages
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store. config must pass its Check.
func NewMemory(config Config) *Memory {
	m := &Memory{
		config:  config.Complete(),
		names:   make(map[proto.UserID]string),
		ids:     make(map[string]proto.UserID),
		boxes:   make(map[proto.UserID]*memoryBox),
		refused: make(map[proto.UserID]proto.UnixMilli),
	}
	m.MemoryPresence = NewMemoryPresence(m)
	m.MemoryLeases = NewMemoryLeases(m.config.Now, m.read)
	return m
}

// Ready is that of Store: memory always serves.
func (m *Memory) Ready(ctx context.Context) error { return ctx.Err() }

// Close is that of Store.
func (m *Memory) Close() error { return nil }

// Register is that of Accounts.
func (m *Memory) Register(ctx context.Context, name string) (proto.User, error) {
	if err := ctx.Err(); err != nil {
		return proto.User{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if id, found := m.ids[name]; found {
		return proto.User{ID: id, Name: name}, nil
	}
	m.last = NextUserID(m.config.Now(), m.last)
	m.ids[name], m.names[m.last] = m.last, name
	return proto.User{ID: m.last, Name: name}, nil
}

// Find is that of Accounts.
func (m *Memory) Find(ctx context.Context, name string) (proto.User, bool, error) {
	if err := ctx.Err(); err != nil {
		return proto.User{}, false, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	id, found := m.ids[name]
	if !found {
		return proto.User{}, false, nil
	}
	return proto.User{ID: id, Name: name}, true, nil
}

// Account is that of Accounts.
func (m *Memory) Account(ctx context.Context, id proto.UserID) (string, bool, error) {
	if err := ctx.Err(); err != nil {
		return "", false, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	name, found := m.names[id]
	return name, found, nil
}

// RefuseTokensBefore is that of Accounts.
func (m *Memory) RefuseTokensBefore(ctx context.Context, id proto.UserID, at proto.UnixMilli) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refused[id] = max(m.refused[id], at)
	return nil
}

// TokensRefusedBefore is that of Accounts.
func (m *Memory) TokensRefusedBefore(ctx context.Context, id proto.UserID) (proto.UnixMilli, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.refused[id], nil
}

// Append is that of Offline.
func (m *Memory) Append(ctx context.Context, receiver proto.UserID, sender proto.User, id proto.TextID, at proto.UnixMilli, texts []string) error {
	return m.put(ctx, receiver, TextsOf(sender, id, at, texts), func(box *memoryBox, more Usage) error {
		return CheckAppend(box.usage, box.of(sender.ID), more)
	})
}

// Return is that of Offline.
func (m *Memory) Return(ctx context.Context, user proto.UserID, texts []Returned) error {
	return m.put(ctx, user, texts, func(box *memoryBox, more Usage) error { return CheckReturn(box.usage, more) })
}

// put puts those of texts into user's box that it does not have, if check lets
// them in.
func (m *Memory) put(ctx context.Context, user proto.UserID, texts []Returned, check func(box *memoryBox, more Usage) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	stored := m.config.Now().Truncate(time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(user)
	box := m.boxes[user]
	if box == nil {
		box = &memoryBox{}
	} else if newest := box.messages[len(box.messages)-1].Stored; stored.Before(newest) {
		stored = newest
	}
	fresh, usage := box.fresh(texts)
	if err := check(box, usage); err != nil || len(fresh) == 0 {
		return err
	}
	for _, text := range fresh {
		m.serial++
		box.messages = append(box.messages, OfflineMessage{
			Serial: m.serial, Sender: text.Sender, Text: text.Text, ID: text.ID, Stored: stored, Sent: text.Sent,
		})
	}
	box.usage = box.usage.Plus(usage)
	m.boxes[user] = box
	return nil
}

// of is the usage of one sender's texts.
func (b *memoryBox) of(sender proto.UserID) (usage Usage) {
	for _, message := range b.messages {
		if message.Sender.ID == sender {
			usage = usage.Plus(UsageOf(message.Text))
		}
	}
	return usage
}

// fresh returns those of texts that the box does not have, and what they take.
func (b *memoryBox) fresh(texts []Returned) (fresh []Returned, usage Usage) {
	has := make(map[TextKey]bool)
	for _, message := range b.messages {
		has[TextKey{Sender: message.Sender.ID, ID: message.ID}] = true
	}
	for _, text := range texts {
		key := TextKey{Sender: text.Sender.ID, ID: text.ID}
		if key.ID != 0 && has[key] {
			continue
		}
		has[key] = true
		fresh, usage = append(fresh, text), usage.Plus(UsageOf(text.Text))
	}
	return fresh, usage
}

// Page is that of Offline.
func (m *Memory) Page(ctx context.Context, user proto.UserID, after uint64) ([]OfflineMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(user)
	var page []OfflineMessage
	bytes := 0
	if box := m.boxes[user]; box != nil {
		for _, message := range box.messages {
			if message.Serial <= after {
				continue
			}
			if !PageTakes(len(page), bytes, len(message.Text)) {
				break
			}
			page = append(page, message)
			bytes += len(message.Text)
		}
	}
	return page, nil
}

// Remove is that of Offline.
func (m *Memory) Remove(ctx context.Context, user proto.UserID, keys []TextKey) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	named := make(map[TextKey]bool, len(keys)) // by sender and id, or by serial
	for _, key := range keys {
		if key.ID != 0 {
			named[TextKey{Sender: key.Sender, ID: key.ID}] = true
		} else {
			named[TextKey{Serial: key.Serial}] = true
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(user, func(message OfflineMessage) bool {
		return named[TextKey{Serial: message.Serial}] ||
			message.ID != 0 && named[TextKey{Sender: message.Sender.ID, ID: message.ID}]
	})
	return nil
}

// read reports whether user's box has nothing behind the serial after.
func (m *Memory) read(user proto.UserID, after uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(user)
	box := m.boxes[user]
	return box == nil || box.messages[len(box.messages)-1].Serial <= after
}

// expire drops the texts of user's box that are too old. mu is held.
func (m *Memory) expire(user proto.UserID) {
	now := m.config.Now()
	m.drop(user, func(message OfflineMessage) bool { return m.config.Expired(message.Stored, now) })
}

// drop takes the texts out of user's box of which gone says so. mu is held.
func (m *Memory) drop(user proto.UserID, gone func(OfflineMessage) bool) {
	box := m.boxes[user]
	if box == nil {
		return
	}
	box.messages = slices.DeleteFunc(box.messages, func(message OfflineMessage) bool {
		if !gone(message) {
			return false
		}
		box.usage = box.usage.Minus(UsageOf(message.Text))
		return true
	})
	if len(box.messages) == 0 {
		delete(m.boxes, user)
	}
}
