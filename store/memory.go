package store

import (
	"context"
	"sync"
	"time"

	"cim/proto"
)

// Memory is a store that forgets everything when its process ends.
type Memory struct {
	*MemoryPresence
	*MemoryLeases
	config Config

	mu     sync.RWMutex
	names  map[proto.UserID]string
	ids    map[string]proto.UserID
	last   proto.UserID // the largest id given so far
	boxes  map[proto.UserID]*memoryBox
	serial uint64 // the last one given: one count for all boxes
}

// memoryBox is the texts of one user, oldest first; never empty.
type memoryBox struct {
	messages []OfflineMessage
	bytes    int // of texts; <= BoxMaxBytes
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store. config must pass its Check.
func NewMemory(config Config) *Memory {
	m := &Memory{
		config: config.Complete(),
		names:  make(map[proto.UserID]string),
		ids:    make(map[string]proto.UserID),
		boxes:  make(map[proto.UserID]*memoryBox),
	}
	m.MemoryPresence = NewMemoryPresence(m)
	m.MemoryLeases = NewMemoryLeases(m.config.Now, m.empty)
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

// Append is that of Offline.
func (m *Memory) Append(ctx context.Context, receiver proto.UserID, sender proto.User, id proto.TextID, at proto.UnixMilli, texts []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	stored := m.config.Now().Truncate(time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(receiver)
	box := m.boxes[receiver]
	if box == nil {
		box = &memoryBox{}
	} else if newest := box.messages[len(box.messages)-1].Stored; stored.Before(newest) {
		stored = newest
	}
	if !BoxTakes(len(box.messages), box.bytes, texts) {
		return ErrBoxFull
	}
	for i, text := range texts {
		m.serial++
		box.messages = append(box.messages, OfflineMessage{
			Serial: m.serial, Sender: sender, Text: text, ID: id.Next(i), Stored: stored, Sent: at,
		})
		m.boxes[receiver] = box
	}
	box.bytes += TextBytes(texts)
	return nil
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
func (m *Memory) Remove(ctx context.Context, user proto.UserID, serial uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(user, func(message OfflineMessage) bool { return message.Serial <= serial })
	return nil
}

// empty reports whether nothing waits for user.
func (m *Memory) empty(user proto.UserID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(user)
	return m.boxes[user] == nil
}

// expire drops the texts of user's box that are too old. mu is held.
func (m *Memory) expire(user proto.UserID) {
	now := m.config.Now()
	m.drop(user, func(message OfflineMessage) bool { return m.config.Expired(message.Stored, now) })
}

// drop takes texts off the head of user's box while gone says so. mu is held.
func (m *Memory) drop(user proto.UserID, gone func(OfflineMessage) bool) {
	box := m.boxes[user]
	if box == nil {
		return
	}
	for len(box.messages) > 0 && gone(box.messages[0]) {
		box.bytes -= len(box.messages[0].Text)
		box.messages = box.messages[1:]
	}
	if len(box.messages) == 0 {
		delete(m.boxes, user)
	}
}
