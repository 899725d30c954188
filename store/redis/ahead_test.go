package redis

import (
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

// TestClockSetBack lets a Redis' clock be a year ahead, and sets it right: a
// lease of then is over, texts of then are neither lost nor kept for ever, and
// new ones have the right time.
func TestClockSetBack(t *testing.T) {
	said(t, shared.Addr, "FLUSHALL")
	now := time.UnixMilli(1_800_000_000_000)
	const ttl = time.Hour
	s := opened(t, Config{
		URLs: []string{"redis://" + shared.Addr}, Store: store.Config{OfflineTTL: ttl, Now: func() time.Time { return now }},
	})
	ann := registered(t, s, "ann")
	add := func(text string) {
		t.Helper()
		if err := appendText(t, s, ann, text); err != nil {
			t.Fatal(err)
		}
	}
	texts := func() (all []string) {
		t.Helper()
		page, err := s.Page(t.Context(), ann.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page {
			all = append(all, m.Text)
		}
		return all
	}
	lease := func() store.Lease {
		t.Helper()
		lease, err := s.Acquire(t.Context(), ann.ID, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return lease
	}
	right := now
	now = right.Add(365 * 24 * time.Hour)
	add("ahead")
	if lease() == 0 || lease() != 0 {
		t.Fatal("a lease ahead")
	}
	now = right
	taken := lease()
	if taken == 0 {
		t.Fatal("a lease until next year holds catch-ups up")
	}
	if lease() != 0 {
		t.Error("the lease of now was given twice")
	}
	add("now")
	if got := texts(); len(got) != 2 || got[0] != "ahead" || got[1] != "now" {
		t.Fatalf("%q, want both in their order", got)
	}
	page, err := s.Page(t.Context(), ann.ID, 0)
	if err != nil || !page[1].Stored.Equal(right) {
		t.Errorf("stored at %v, want %v, %v", page[1].Stored, right, err)
	}
	now = right.Add(ttl)
	if free, err := s.ReleaseIfEmpty(t.Context(), ann.ID, taken, 0); err != nil || !free {
		t.Errorf("an hour later texts are still there: %q, %v", texts(), err)
	}
}

func appendText(t *testing.T, s *Store, user proto.User, text string) error {
	return s.Append(t.Context(), user.ID, user, 0, 0, []string{text})
}
