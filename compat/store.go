package compat

import (
	"context"
	"errors"

	"cim/proto"
	"cim/store"
)

// Store is the store that the Adapter's route works with.
func (a *Adapter) Store() store.Store { return &sharedStore{Shared: a.store, adapter: a} }

// sharedStore reads the original's records as records of its servers, and keeps
// texts in the form that all who may have to bring them can read.
type sharedStore struct {
	Shared
	adapter *Adapter
}

// Lookup is that of Presence.
func (s *sharedStore) Lookup(ctx context.Context, user proto.UserID, freshness store.Freshness) (store.Record, bool, error) {
	record, found, err := s.Shared.Lookup(ctx, user, freshness)
	if found && err == nil {
		record = s.adapter.resolved(record)
	}
	return record, found, err
}

// Connected is that of Presence.
func (s *sharedStore) Connected(ctx context.Context) ([]store.Present, error) {
	present, err := s.Shared.Connected(ctx)
	for i := range present {
		present[i].Record = s.adapter.resolved(present[i].Record)
	}
	return present, err
}

// Append is that of Offline.
func (s *sharedStore) Append(ctx context.Context, receiver proto.UserID, sender proto.User, id proto.TextID, at proto.UnixMilli, texts []string) error {
	if s.adapter.members.seen().original {
		return s.AppendOriginal(ctx, receiver, sender, id, at, texts)
	}
	return s.Shared.Append(ctx, receiver, sender, id, at, texts)
}

// Return is that of Offline.
func (s *sharedStore) Return(ctx context.Context, user proto.UserID, texts []store.Returned) error {
	for s.adapter.members.seen().original && len(texts) > 0 {
		first, n := texts[0], sameMessage(texts)
		lines := make([]string, n)
		for i, text := range texts[:n] {
			lines[i] = text.Text
		}
		err := s.AppendOriginal(ctx, user, first.Sender, first.ID, first.Sent, lines)
		if errors.Is(err, store.ErrBoxFull) {
			break // the room beyond the bounds is there in our form only
		}
		if err != nil {
			return err
		}
		texts = texts[n:]
	}
	if len(texts) == 0 {
		return nil
	}
	return s.Shared.Return(ctx, user, texts)
}

// sameMessage is how many texts at the beginning are of one message.
func sameMessage(texts []store.Returned) int {
	first := texts[0]
	n := 1
	for n < len(texts) && texts[n].Sender == first.Sender && texts[n].Sent == first.Sent && texts[n].ID == first.ID.Next(n) {
		n++
	}
	return n
}
