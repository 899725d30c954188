package route

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cim/proto"
	"cim/route/access"
	"cim/store"
)

// awayStore is a store that a test may take away: then each call lasts until
// its deadline, as one of a store behind a network does. Calls that are not
// here are passed on.
type awayStore struct {
	store.Store
	gone       atomic.Bool
	calls      atomic.Int64 // while it was away
	broken     atomic.Bool  // fresh look-ups of records fail in another way
	lateClaims atomic.Bool  // claims are done when the request's time is over
	// afterAppend is called behind each successful Append; nil: nothing.
	afterAppend func()
}

func (a *awayStore) reach(ctx context.Context) error {
	if !a.gone.Load() {
		return nil
	}
	a.calls.Add(1)
	<-ctx.Done()
	return fmt.Errorf("%w: %w", store.ErrAway, ctx.Err())
}

func (a *awayStore) Ready(ctx context.Context) error { return a.reach(ctx) }

func (a *awayStore) Register(ctx context.Context, name string) (proto.User, error) {
	if err := a.reach(ctx); err != nil {
		return proto.User{}, err
	}
	return a.Store.Register(ctx, name)
}

func (a *awayStore) Find(ctx context.Context, name string) (proto.User, bool, error) {
	if err := a.reach(ctx); err != nil {
		return proto.User{}, false, err
	}
	return a.Store.Find(ctx, name)
}

func (a *awayStore) Account(ctx context.Context, id proto.UserID) (string, bool, error) {
	if err := a.reach(ctx); err != nil {
		return "", false, err
	}
	return a.Store.Account(ctx, id)
}

func (a *awayStore) Lookup(ctx context.Context, user proto.UserID, f store.Freshness) (store.Record, bool, error) {
	if err := a.reach(ctx); err != nil {
		return store.Record{}, false, err
	}
	if f == store.Fresh && a.broken.Load() {
		return store.Record{}, false, errors.New("broken")
	}
	return a.Store.Lookup(ctx, user, f)
}

func (a *awayStore) Claim(ctx context.Context, user proto.UserID, place store.Place, seen proto.Generation) (proto.Generation, error) {
	generation, err := a.Store.Claim(ctx, user, place, seen)
	if a.lateClaims.Load() {
		<-ctx.Done()
	}
	return generation, err
}

func (a *awayStore) Append(ctx context.Context, receiver proto.UserID, sender proto.User, id proto.TextID, at proto.UnixMilli, texts []string) error {
	if err := a.reach(ctx); err != nil {
		return err
	}
	err := a.Store.Append(ctx, receiver, sender, id, at, texts)
	if err == nil && a.afterAppend != nil {
		a.afterAppend()
	}
	return err
}

func (a *awayStore) Release(ctx context.Context, user proto.UserID, generation proto.Generation) (bool, error) {
	if err := a.reach(ctx); err != nil {
		return false, err
	}
	return a.Store.Release(ctx, user, generation)
}

func (a *awayStore) Acquire(ctx context.Context, user proto.UserID, ttl time.Duration) (store.Lease, error) {
	if err := a.reach(ctx); err != nil {
		return 0, err
	}
	return a.Store.Acquire(ctx, user, ttl)
}

func (a *awayStore) Confirm(ctx context.Context, user proto.UserID, generation proto.Generation) (bool, error) {
	if err := a.reach(ctx); err != nil {
		return false, err
	}
	return a.Store.Confirm(ctx, user, generation)
}

func (a *awayStore) Page(ctx context.Context, user proto.UserID, after uint64) ([]store.OfflineMessage, error) {
	if err := a.reach(ctx); err != nil {
		return nil, err
	}
	return a.Store.Page(ctx, user, after)
}

func (a *awayStore) Remove(ctx context.Context, user proto.UserID, keys []store.TextKey) error {
	if err := a.reach(ctx); err != nil {
		return err
	}
	return a.Store.Remove(ctx, user, keys)
}

func (a *awayStore) Abandon(ctx context.Context, user proto.UserID, lease store.Lease) error {
	if err := a.reach(ctx); err != nil {
		return err
	}
	return a.Store.Abandon(ctx, user, lease)
}

// awayWorld is a route with ann; with ben, who has a session that is not held; and with cem, who
// has no session but is cached. The store is not away yet.
type awayWorld struct {
	t             *testing.T
	route         *Route
	server        *fakeServer
	store         *awayStore
	ann, ben, cem proto.User
}

func awayBubble(t *testing.T, test func(w *awayWorld)) {
	bubble(t, func(t *testing.T, r *Route, f *fakeServer, c catchup) {
		w := &awayWorld{t: t, route: r, server: f, store: &awayStore{Store: r.store}}
		r.store = w.store
		for i, user := range []*proto.User{&w.ann, &w.ben, &w.cem} {
			var err error
			if *user, err = r.store.Register(t.Context(), fmt.Sprintf("user%d", i)); err != nil {
				t.Fatal(err)
			}
		}
		generation, err := r.store.Claim(t.Context(), w.ben.ID, c.server.place, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.put(w.ben.ID, fakeSession{generation: generation, connected: true})
		for _, to := range []proto.User{w.ben, w.cem} {
			w.want(answerBound, proto.PathPrivate, privateRequest(w.ann.ID, to.ID, "before"))
		}
		test(w)
	})
}

// answerBound is how soon a request must be answered while the store is away.
const answerBound = 2 * time.Second

// want asks as a request over HTTP would, and fails if that takes longer than most.
func (w *awayWorld) want(most time.Duration, path, body string) answer {
	w.t.Helper()
	e := w.route.endpoints[path]
	work := newDeadline(e.timeout)
	defer work.stop()
	began := time.Now()
	a := e.serve(work, access.Caller{}, []byte(body)).pushed()
	if took := time.Since(began); took > most {
		w.t.Errorf("%s took %v, want at most %v", path, took, most)
	}
	return a
}

// TestAcksWhileStoreIsAway: what is acknowledged while the store is away is removed when it
// is back, and is not brought to the next session.
func TestAcksWhileStoreIsAway(t *testing.T) {
	awayBubble(t, func(w *awayWorld) {
		if err := w.route.store.Append(w.t.Context(), w.cem.ID, w.ann, 10, 1, []string{"read", "unread"}); err != nil {
			w.t.Fatal(err)
		}
		w.store.gone.Store(true)
		body := proto.AppendTextKeys(nil, proto.TextKey{Sender: w.ann.ID, ID: 10})
		if err := w.route.onAcked(&proto.Record{User: w.cem.ID, Body: body}); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.store.gone.Store(false)
		time.Sleep(storeTimeout + removePause)
		w.route.awaitAcked(w.t.Context(), w.cem.ID)
		left, err := w.route.store.Page(w.t.Context(), w.cem.ID, 0)
		if err != nil {
			w.t.Fatal(err)
		}
		var texts []string
		for _, m := range left {
			texts = append(texts, m.Text)
		}
		if want := []string{"before", "unread"}; !slices.Equal(texts, want) {
			w.t.Errorf("the box has %q, want %q", texts, want)
		}
	})
}

// TestAcksAtTheDrain: removals that wait for the store do not keep a drain from its
// end.
func TestAcksAtTheDrain(t *testing.T) {
	awayBubble(t, func(w *awayWorld) {
		w.store.gone.Store(true)
		for id := range 3 * sendWorkers {
			body := proto.AppendTextKeys(nil, proto.TextKey{Sender: w.ann.ID, ID: 10})
			if err := w.route.onAcked(&proto.Record{User: proto.UserID(id + 1), Body: body}); err != nil {
				w.t.Fatal(err)
			}
		}
		time.Sleep(storeTimeout + removePause - time.Millisecond) // between two tries
		began := time.Now()
		w.t.Cleanup(func() { // behind the drain
			if took := time.Since(began); took > storeTimeout+removePause {
				w.t.Errorf("drained after %v", took)
			}
			w.route.counters.refused.each(func(what string, n uint64) {
				if what == "acked" && n != 3*sendWorkers {
					w.t.Errorf("%d removals were given up, want %d", n, 3*sendWorkers)
				}
			})
		})
	})
}

// TestStoreAway: while the store is away messages to live sessions continue, and requests that need
// it are refused in time with a reason; when it is back all is as before.
func TestStoreAway(t *testing.T) {
	awayBubble(t, func(w *awayWorld) {
		w.store.gone.Store(true)
		toBen, toCem := privateRequest(w.ann.ID, w.ben.ID, "x"), privateRequest(w.ann.ID, w.cem.ID, "x")
		if a := w.want(answerBound, proto.PathPrivate, toBen); a.code != proto.CodeSuccess {
			t.Errorf("to a living session: %v", a)
		}
		if a := w.want(0, proto.PathPrivate, toBen); a.code != proto.CodeSuccess {
			t.Errorf("right behind: %v", a)
		}
		if a := w.want(answerBound, proto.PathGroup, groupRequest(w.ann.ID, "x")); a.code != proto.CodeSuccess {
			t.Errorf("to all: %v", a)
		}
		user := fmt.Sprintf(`{"userId":%d,"userName":%q,"receiveUserId":%d,"msg":"offLine"}`, w.ben.ID, w.ben.Name, w.ben.ID)
		for path, body := range map[string]string{
			proto.PathPrivate: toCem, proto.PathRegister: `{"userName":"new"}`, proto.PathLogin: user,
			proto.PathOffLine: user, proto.PathOnlineUser: "", proto.PathFetchOffline: user,
		} {
			time.Sleep(2 * outagePause)
			a := w.want(answerBound, path, body)
			if a.code != proto.CodeFailure || !strings.Contains(a.message, "cannot be reached") {
				t.Errorf("%s: %v", path, a)
			}
		}
		w.server.disconnectSilently(w.ben.ID)
		if a := w.want(answerBound, proto.PathPrivate, toBen); a.code != proto.CodeFailure {
			t.Errorf("the last known session has ended: %v", a)
		}
		w.store.gone.Store(false)
		time.Sleep(outagePause)
		for _, body := range []string{toBen, toCem} {
			if a := w.want(0, proto.PathPrivate, body); a.code != proto.CodeOffline {
				t.Errorf("back: %v", a)
			}
		}
	})
}

// TestStoreAwayMeanwhile: a request that has started when the store goes away, and waits for a
// silent server too, ends in time.
func TestStoreAwayMeanwhile(t *testing.T) {
	awayBubble(t, func(w *awayWorld) {
		w.server.follow(func(r *proto.Record) (*proto.Record, bool) {
			w.store.gone.Store(true)
			return nil, true
		})
		for range 2 {
			a := w.want(answerBound, proto.PathPrivate, privateRequest(w.ann.ID, w.ben.ID, "x"))
			if a.code != proto.CodeFailure {
				t.Errorf("%v", a)
			}
			time.Sleep(outagePause) // the next one finds the store away from its beginning on
		}
	})
}

// TestFetchAway: a fetch whose store goes away after its catch-up has started does not wait for the
// catch-up's further tries; when the store is back, the next one gets the lease in time.
func TestFetchAway(t *testing.T) {
	awayBubble(t, func(w *awayWorld) {
		if err := w.store.Append(t.Context(), w.ben.ID, w.ann, 0, 0, []string{"x"}); err != nil {
			t.Fatal(err)
		}
		w.server.follow(func(r *proto.Record) (*proto.Record, bool) {
			if r.Kind == proto.RecordHold {
				w.store.gone.Store(true)
			}
			return nil, false
		})
		fetch := fmt.Sprintf(`{"receiveUserId":%d}`, w.ben.ID)
		if a := w.want(answerBound, proto.PathFetchOffline, fetch); a.code != proto.CodeFailure {
			t.Errorf("%v", a)
		}
		w.server.follow(nil)
		w.store.gone.Store(false)
		time.Sleep(outagePause)
		if a := w.want(leaseTime, proto.PathFetchOffline, fetch); a.code != proto.CodeSuccess {
			t.Errorf("back: %v", a)
		}
		if got := w.server.texts(w.ben.ID); len(got) != 2 {
			t.Errorf("got %q", got)
		}
	})
}

// TestReleasesAway: ends that wait for the store do not hold up the drain for
// one deadline after another.
func TestReleasesAway(t *testing.T) {
	awayBubble(t, func(w *awayWorld) {
		w.store.gone.Store(true)
		for id := range 20 * releaseWorkers {
			w.route.releases.add(endedSession{user: proto.UserID(id + 1), generation: 1})
		}
		time.Sleep(time.Millisecond)
		began := time.Now()
		w.route.releases.drain()
		if took := time.Since(began); took > answerBound {
			t.Errorf("drained after %v", took)
		}
		w.route.releases = newReleaseQueue(w.route) // which the route's own drain ends
	})
}

// TestOutagePause: within the pause the store is not asked for cached data, after it it is asked
// again.
func TestOutagePause(t *testing.T) {
	awayBubble(t, func(w *awayWorld) {
		w.store.gone.Store(true)
		body := privateRequest(w.ann.ID, w.ben.ID, "x")
		w.want(answerBound, proto.PathPrivate, body)
		asked := w.store.calls.Load()
		time.Sleep(outagePause - 1)
		w.want(0, proto.PathPrivate, body)
		if n := w.store.calls.Load(); n != asked {
			t.Errorf("%d calls within the pause", n-asked)
		}
		time.Sleep(time.Nanosecond)
		w.want(answerBound, proto.PathPrivate, body)
		if n := w.store.calls.Load(); n == asked {
			t.Error("no call after the pause")
		}
	})
}

// TestAppendFails: a store that is away is another thing than a box that is
// full or a disk that fails.
func TestAppendFails(t *testing.T) {
	for _, c := range []struct {
		err  error
		code proto.Code
	}{
		{fmt.Errorf("append: %w", store.ErrAway), proto.CodeFailure},
		{context.DeadlineExceeded, proto.CodeFailure},
		{store.ErrBoxFull, proto.CodeOfflineStore},
		{errors.New("disk"), proto.CodeOfflineStore},
	} {
		hooked := &hookedStore{}
		w := newWorldWith(t, 0, testConfig(), hooked)
		ann, ben := w.account("ann"), w.account("ben")
		hooked.before = func(call string) error {
			if call == "Append" {
				return c.err
			}
			return nil
		}
		w.want(c.code, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "x"))
		w.stop()
	}
}

// TestStoreBroken: a cached record is used only while the store is away; a cached name always.
func TestStoreBroken(t *testing.T) {
	hooked := &hookedStore{}
	w := newWorldWith(t, 1, testConfig(), hooked)
	ann, ben := w.online("ann", false), w.online("ben", false)
	for _, c := range []struct {
		call string
		err  error
		code proto.Code
	}{
		{"Account", errors.New("broken"), proto.CodeSuccess},
		{"Lookup cached", errors.New("broken"), proto.CodeFailure},
		{"Lookup cached", store.ErrAway, proto.CodeSuccess},
		{"Account", context.DeadlineExceeded, proto.CodeSuccess},
	} {
		hooked.before = func(call string) error {
			if call == c.call {
				return c.err
			}
			return nil
		}
		w.want(c.code, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "x"))
	}
	if got := w.counter("cim_route_last_known_records_used_total"); got == "0" {
		t.Error("no last known record used")
	}
}

// TestReleaseClaimLate: a claim that no server took is given back behind a request
// whose time is over.
func TestReleaseClaimLate(t *testing.T) {
	awayBubble(t, func(w *awayWorld) {
		w.server.follow(func(r *proto.Record) (*proto.Record, bool) {
			if r.Kind == proto.RecordGrant {
				w.store.gone.Store(true)
				time.AfterFunc(storeTimeout+time.Millisecond, func() { w.store.gone.Store(false) })
			}
			return &proto.Record{Verdict: proto.VerdictRefused}, r.Kind == proto.RecordGrant
		})
		a := w.want(answerBound, proto.PathLogin, loginRequest(w.cem, ""))
		if a.code != proto.CodeNoServer {
			t.Errorf("%v", a)
		}
		time.Sleep(storeTimeout + releasePause + time.Millisecond)
		if record, found, err := w.store.Store.Lookup(t.Context(), w.cem.ID, store.Fresh); found || err != nil {
			t.Errorf("record %+v, %v", record, err)
		}
	})
}

// TestClaimLate: a claim that succeeds when its request's time is over is released, and no server
// is asked, since no client would get the login.
func TestClaimLate(t *testing.T) {
	awayBubble(t, func(w *awayWorld) {
		w.store.lateClaims.Store(true)
		if a := w.want(answerBound, proto.PathLogin, loginRequest(w.cem, "")); a.code != proto.CodeFailure {
			t.Errorf("%v", a)
		}
		time.Sleep(storeTimeout + releasePause + time.Millisecond)
		if record, found, err := w.store.Lookup(t.Context(), w.cem.ID, store.Fresh); found || err != nil {
			t.Errorf("record %+v, %v: the user is claimed by a login that has failed", record, err)
		}
		if n := w.server.askedFor(proto.RecordGrant); n != 0 {
			t.Errorf("%d grants", n)
		}
	})
}
