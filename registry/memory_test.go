package registry

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"cim/proto"
)

func member(host string, epoch proto.Epoch) proto.Member {
	return proto.Member{Host: host, CIMPort: 11211, HTTPPort: 8081, Epoch: epoch}
}

// step is a call of Register or Deregister.
type step struct {
	call   func(*Memory, context.Context, proto.Member) error
	member proto.Member
}

var (
	register   = (*Memory).Register
	deregister = (*Memory).Deregister
)

// TestMembers makes calls and looks at the members after the last one, and
// whether that one was a change.
func TestMembers(t *testing.T) {
	linked := member("a", 1)
	linked.Link = "a:9000"
	for name, test := range map[string]struct {
		steps   []step
		want    []proto.Member
		changed bool
	}{
		"one": {
			[]step{{register, member("a", 1)}},
			[]proto.Member{member("a", 1)},
			true,
		},
		"by name": {
			[]step{{register, member("c", 1)}, {register, member("a", 2)}, {register, member("b", 3)}},
			[]proto.Member{member("a", 2), member("b", 3), member("c", 1)},
			true,
		},
		"the same again": {
			[]step{{register, member("a", 1)}, {register, member("a", 1)}},
			[]proto.Member{member("a", 1)},
			false,
		},
		"its next run": {
			[]step{{register, member("a", 2)}, {register, member("b", 1)}, {register, member("a", 1)}},
			[]proto.Member{member("a", 1), member("b", 1)},
			true,
		},
		"another link": {
			[]step{{register, member("a", 1)}, {register, linked}},
			[]proto.Member{linked},
			true,
		},
		"gone": {
			[]step{{register, member("a", 1)}, {register, member("b", 1)}, {deregister, member("a", 1)}},
			[]proto.Member{member("b", 1)},
			true,
		},
		"the last gone": {
			[]step{{register, member("a", 1)}, {deregister, member("a", 1)}},
			nil, true,
		},
		"an earlier run gone": {
			[]step{{register, member("a", 2)}, {deregister, member("a", 1)}},
			[]proto.Member{member("a", 2)},
			false,
		},
		"an unknown gone": {
			[]step{{register, member("a", 1)}, {deregister, member("b", 1)}},
			[]proto.Member{member("a", 1)},
			false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMemory()
			var changed <-chan struct{}
			var before, beforeClone []proto.Member
			for _, step := range test.steps {
				changed, before = m.Changed(), m.Snapshot().Members
				beforeClone = slices.Clone(before)
				if err := step.call(m, t.Context(), step.member); err != nil {
					t.Fatal(err)
				}
			}
			if got := m.Snapshot().Members; !slices.Equal(got, test.want) {
				t.Errorf("members %v, want %v", got, test.want)
			}
			if got := isClosed(changed); got != test.changed {
				t.Errorf("told of a change: %t, want %t", got, test.changed)
			}
			if isClosed(m.Changed()) {
				t.Error("the next change is told before it happens")
			}
			if !slices.Equal(before, beforeClone) {
				t.Errorf("an earlier snapshot became %v, was %v", before, beforeClone)
			}
		})
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestCancelled changes nothing for a caller that has gone.
func TestCancelled(t *testing.T) {
	m := NewMemory()
	if err := m.Register(t.Context(), member("a", 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Register(ctx, member("b", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Register: %v", err)
	}
	if err := m.Deregister(ctx, member("a", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Deregister: %v", err)
	}
	if got := m.Snapshot().Members; len(got) != 1 || got[0] != member("a", 1) {
		t.Errorf("members %v, want the first alone", got)
	}
}

// TestWatcherMissesNothing has members come and go while a watcher takes the
// channel, then the snapshot, then waits: it sees the last state.
func TestWatcherMissesNothing(t *testing.T) {
	const members = 8
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	m := NewMemory()
	var all sync.WaitGroup
	for i := range members {
		host := string(rune('a' + i))
		all.Go(func() {
			for epoch := range proto.Epoch(200) {
				if err := m.Register(t.Context(), member(host, epoch+1)); err != nil {
					t.Error(err)
				}
				if err := m.Deregister(t.Context(), member(host, epoch)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for {
		changed := m.Changed()
		if got := m.Snapshot().Members; len(got) == members && allOfEpoch(got, 200) {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("the last state was not seen")
		}
	}
	all.Wait()
}

func allOfEpoch(members []proto.Member, epoch proto.Epoch) bool {
	return !slices.ContainsFunc(members, func(m proto.Member) bool { return m.Epoch != epoch })
}
