package route

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

// fill stores texts for ben, all of ann's, with ids from id on; 0: without.
func fill(t *testing.T, r *Route, id proto.TextID, texts ...string) {
	t.Helper()
	if err := r.store.Append(context.Background(), benID, ann, id, 0, texts); err != nil {
		t.Fatal(err)
	}
}

func boxOf(t *testing.T, r *Route) (texts []string) {
	t.Helper()
	page, err := r.store.Page(context.Background(), benID, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range page {
		texts = append(texts, m.Text)
	}
	return texts
}

// frames are the frames that ben got, each its texts joined.
func (f *fakeServer) frames() (frames []string) {
	last := -1
	for _, d := range f.got(benID) {
		if d.frame == last {
			frames[len(frames)-1] += " " + d.text
		} else {
			frames = append(frames, d.text)
		}
		last = d.frame
	}
	return frames
}

// TestAckSessionKeepsTheBox: texts that a session will acknowledge stay in the box until then, and
// the catch-up ends nevertheless. Texts without an id are removed by the route, and are never in
// one frame with others.
func TestAckSessionKeepsTheBox(t *testing.T) {
	bubble(t, func(t *testing.T, r *Route, f *fakeServer, c catchup) {
		f.change(benID, func(s *fakeSession) { s.ack = true })
		c.ack = true
		fill(t, r, 10, "10", "11")
		fill(t, r, 0, "none", "none either")
		fill(t, r, 12, "12")
		if err := r.catchUp(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got, want := f.frames(), []string{"10 11", "none none either", "12"}; !slices.Equal(got, want) {
			t.Errorf("frames %q, want %q", got, want)
		}
		if got, want := boxOf(t, r), []string{"10", "11", "12"}; !slices.Equal(got, want) {
			t.Errorf("the box has %q, want %q", got, want)
		}
		if s, _ := f.session(benID); s.held {
			t.Error("the session is held although it has got everything")
		}
		if lease, err := r.store.Acquire(t.Context(), benID, time.Second); err != nil || lease == 0 {
			t.Errorf("the lease was not given back: %v, %v", lease, err)
		}
	})
}

// TestCatchUpBehindTheCursor: texts that were pushed to this session and are not acknowledged yet
// are not sent again, whichever record brought the cursor; to the next session they are.
func TestCatchUpBehindTheCursor(t *testing.T) {
	for name, held := range map[string]bool{"of up": true, "of a hold": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *Route, f *fakeServer, c catchup) {
				f.change(benID, func(s *fakeSession) { s.ack = true })
				c.ack = true
				fill(t, r, 10, "10", "11")
				if err := r.catchUp(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				fill(t, r, 12, "12")
				f.change(benID, func(s *fakeSession) { s.held, c.cursor = true, s.cursor })
				if c.held = held; !held {
					c.holdState = holdState{}
				}
				if err := r.catchUp(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				if got, want := f.frames(), []string{"10 11", "12"}; !slices.Equal(got, want) {
					t.Errorf("frames %q, want %q", got, want)
				}
				f.change(benID, func(s *fakeSession) { s.cursor, s.held = 0, true })
				if err := r.catchUp(t.Context(), catchup{session: c.session}); err != nil {
					t.Fatal(err)
				}
				if got, want := f.frames(), []string{"10 11", "12", "10 11 12"}; !slices.Equal(got, want) {
					t.Errorf("frames %q, want %q", got, want)
				}
			})
		})
	}
}

// TestPageCarriesItsSerial: the next page of this generation begins behind it.
func TestPageCarriesItsSerial(t *testing.T) {
	bubble(t, func(t *testing.T, r *Route, f *fakeServer, c catchup) {
		fill(t, r, 10, "10", "11")
		page, err := r.store.Page(t.Context(), benID, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.catchUp(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		pushes := f.records(proto.RecordPush)
		if len(pushes) != 1 || pushes[0].Value != page[1].Serial {
			t.Errorf("pushes %+v, want one of serial %d", pushes, page[1].Serial)
		}
		if got := boxOf(t, r); len(got) != 0 {
			t.Errorf("the box of a session that does not acknowledge has %q", got)
		}
	})
}

// TestCatchUpJoinsStates: of two words about one session the later state counts,
// and of two sessions the newer's.
func TestCatchUpJoinsStates(t *testing.T) {
	one := catchup{session: session{benID, 7, nil}, holdState: holdState{holds: 3, cursor: 10, ack: true}}
	two := catchup{session: session{benID, 7, nil}, holdState: holdState{holds: 2, cursor: 20, older: 9}}
	for _, joined := range []catchup{one.merge(two), two.merge(one)} {
		if want := (holdState{holds: 3, cursor: 20, ack: true, older: 9}); joined.holdState != want {
			t.Errorf("%+v, want %+v", joined.holdState, want)
		}
	}
	newer := catchup{session: session{benID, 8, nil}, holdState: holdState{holds: 1}}
	for _, joined := range []catchup{one.merge(newer), newer.merge(one)} {
		if joined.holdState != newer.holdState {
			t.Errorf("%+v, want %+v", joined.holdState, newer.holdState)
		}
	}
}

// TestPageRefusedBusy: a session that has no room for a page is no failure; the catch-up
// ends, and the next one goes on.
func TestPageRefusedBusy(t *testing.T) {
	bubble(t, func(t *testing.T, r *Route, f *fakeServer, c catchup) {
		fill(t, r, 10, "10")
		f.follow(verdictTo(proto.RecordPush, proto.VerdictBusy))
		if err := r.catchUp(t.Context(), c); err == nil {
			t.Fatal("the catch-up is done")
		}
		var ends []string
		r.counters.catchups.each(func(name string, _ uint64) { ends = append(ends, name) })
		if !slices.Equal(ends, []string{"busy"}) {
			t.Errorf("it ended by %q", ends)
		}
		f.follow(nil)
		if err := r.catchUp(t.Context(), c); err != nil || !slices.Equal(f.texts(benID), []string{"10"}) {
			t.Errorf("the next one: %v, ben got %q", err, f.texts(benID))
		}
	})
}

// TestResumeWaitsForTheOlderSession: what an older session of the user returns
// comes before anything live; for olderMax the catch-up waits for it, and not at
// all for a server that does not answer.
func TestResumeWaitsForTheOlderSession(t *testing.T) {
	for name, test := range map[string]struct {
		script func(after time.Duration) *proto.Record
		least  time.Duration
		most   time.Duration
		texts  string
	}{
		"returns": {func(after time.Duration) *proto.Record {
			if after < time.Second {
				return &proto.Record{Verdict: proto.VerdictTaken}
			}
			return &proto.Record{Verdict: proto.VerdictAbsent}
		}, time.Second, time.Second + 2*olderPause, "10 returned"},
		"for ever": {
			func(time.Duration) *proto.Record { return &proto.Record{Verdict: proto.VerdictTaken} },
			olderMax, olderMax + 2*olderPause, "10 returned",
		},
		"is silent": {func(time.Duration) *proto.Record { return nil }, 0, 2 * askTimeout, "10"},
		"has none":  {func(time.Duration) *proto.Record { return &proto.Record{Verdict: proto.VerdictAbsent} }, 0, olderPause, "10"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *Route, f *fakeServer, c catchup) {
				c.older = 1
				fill(t, r, 10, "10")
				began := time.Now()
				back := time.AfterFunc(500*time.Millisecond, func() { fill(t, r, 20, "returned") })
				defer back.Stop()
				f.follow(func(ask *proto.Record) (*proto.Record, bool) {
					if ask.Kind != proto.RecordReturning {
						return nil, false
					}
					if ask.User != benID || ask.Generation != c.generation-1 {
						t.Errorf("asked for %d of user %d", ask.Generation, ask.User)
					}
					return test.script(time.Since(began)), true
				})
				err := r.catchUp(t.Context(), c)
				if took := time.Since(began); err != nil || took < test.least || took > test.most {
					t.Errorf("%v after %v, want %v to %v", err, took, test.least, test.most)
				}
				if got := strings.Join(f.texts(benID), " "); got != test.texts {
					t.Errorf("ben got %q, want %q", got, test.texts)
				}
			})
		})
	}
}

// TestResumeWhileSessionReturns: a session that puts what it kept into the box is not
// let go before the catch-up has looked at the box behind that.
func TestResumeWhileSessionReturns(t *testing.T) {
	bubble(t, func(t *testing.T, r *Route, f *fakeServer, c catchup) {
		resumes := 0
		f.follow(func(ask *proto.Record) (*proto.Record, bool) {
			if ask.Kind != proto.RecordResume {
				return nil, false
			}
			if resumes++; resumes < 3 {
				return &proto.Record{Verdict: proto.VerdictReturning, Value: 1}, true
			}
			if resumes == 3 {
				fill(t, r, 10, "kept")
				return &proto.Record{Verdict: proto.VerdictReturning, Value: 1}, true
			}
			return nil, false
		})
		if err := r.catchUp(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got := f.texts(benID); !slices.Equal(got, []string{"kept"}) {
			t.Errorf("ben got %q", got)
		}
		if s, _ := f.session(benID); s.held || resumes != 4 {
			t.Errorf("after %d resumes held is %t", resumes, s.held)
		}
	})
}

// TestBoxKeepsAtMostAPage: sent texts that are still stored never exceed one page, whatever is
// acknowledged.
func TestBoxKeepsAtMostAPage(t *testing.T) {
	bubble(t, func(t *testing.T, r *Route, f *fakeServer, c catchup) {
		for range 5 {
			fill(t, r, 0, strings.Split(strings.Repeat("x ", 99)+"x", " ")...)
		}
		removes := 0
		r.store = &removeSpy{Store: r.store, saw: func(keys int) {
			if removes++; keys > store.PageMax {
				t.Errorf("%d keys, want at most %d", keys, store.PageMax)
			}
		}}
		if err := r.catchUp(t.Context(), c); err != nil || removes != 3 {
			t.Errorf("%v, %d removals of 500 texts", err, removes)
		}
		if got := boxOf(t, r); len(got) != 0 {
			t.Errorf("%d texts are left", len(got))
		}
	})
}

type removeSpy struct {
	store.Store
	saw func(keys int)
}

func (s *removeSpy) Remove(ctx context.Context, user proto.UserID, keys []store.TextKey) error {
	s.saw(len(keys))
	return s.Store.Remove(ctx, user, keys)
}

// TestSessionEndsInItsCatchUp: what an old client's kernel had, and the client may
// not have read when its connection broke, comes again.
func TestSessionEndsInItsCatchUp(t *testing.T) {
	bubble(t, func(t *testing.T, r *Route, f *fakeServer, c catchup) {
		fill(t, r, 10, "10")
		fill(t, r, 0, strings.Split(strings.Repeat("x ", 99)+"x", " ")...)
		pages := 0
		f.follow(func(ask *proto.Record) (*proto.Record, bool) {
			if ask.Kind != proto.RecordPush {
				return nil, false
			}
			if pages++; pages == 2 {
				delete(f.sessions, benID)
			}
			return nil, false
		})
		if err := r.catchUp(t.Context(), c); err == nil {
			t.Fatal("the catch-up is done")
		}
		if got := boxOf(t, r); len(got) != 101 {
			t.Errorf("the box has %d texts, want all 101", len(got))
		}
		if lease, err := r.store.Acquire(t.Context(), benID, time.Second); err != nil || lease == 0 {
			t.Errorf("the lease was not given back: %v, %v", lease, err)
		}
	})
}
