package route

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

// sendSessions reports sessions to the newest route, as a server does when a link comes up.
func (f *fakeServer) sendSessions(id uint64, sessions ...proto.Session) {
	var body []byte
	for _, s := range sessions {
		body = proto.AppendSession(body, s)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sendUnsolicited(&proto.Record{Kind: proto.RecordSessions, ID: id, Body: body})
}

// put gives user a session that no route has granted.
func (f *fakeServer) put(user proto.UserID, session fakeSession) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions[user] = &session
}

// set changes user's session.
func (f *fakeServer) set(user proto.UserID, change func(*fakeSession)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f.sessions[user])
}

// cutOff ends the link of w to a server, for good, and returns the server as w
// has it. Links of other routes stay up.
func (w *world) cutOff(f *fakeServer) *server {
	w.t.Helper()
	f.unreachable.Store(true)
	f.cutFirst()
	at := w.route.cluster.server(f.member.Epoch)
	w.eventually("link down", func() bool { return !at.linked() })
	return at
}

// TestMembers: a member without an epoch is skipped. One of another version is live but not linked,
// logged once, and a lost part of each group message.
func TestMembers(t *testing.T) {
	w := newWorld(t, 1)
	for i, change := range []func(*proto.Member){
		func(m *proto.Member) { m.Epoch = 0 },
		func(m *proto.Member) { m.Version = proto.LinkVersion + 1 },
		func(m *proto.Member) { m.Link = "10.0.0.9:11212" },
	} {
		epoch := proto.Epoch(10 + i)
		f := newFakeServer(t, fmt.Sprintf("10.0.1.%d:1:1", i), epoch)
		change(&f.member)
		w.servers[epoch] = f
		w.register(epoch)
	}
	w.eventually("the last one linked", func() bool { return w.servers[12].dials() == 1 })
	if all := w.route.cluster.servers(); len(all.ours) != 3 || len(all.linked()) != 2 {
		t.Errorf("%d live, %d linked, want 3 and 2", len(all.ours), len(all.linked()))
	}
	if n := w.servers[10].dials() + w.servers[11].dials(); n != 0 {
		t.Errorf("%d dials", n)
	}
	if got := w.counter("cim_route_members_of_another_version_total"); got != "1" {
		t.Errorf("%s of another version, want 1", got)
	}
	w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(w.account("ann").ID, "x"))
	if got := w.counter("cim_route_group_parts_lost_total"); got != "1" {
		t.Errorf("%s parts lost, want 1", got)
	}
	w.stop()
	if n := strings.Count(w.log.String(), "another version"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// TestSessionsChecked: of the sessions that a server reports, the superseded ones are ended,
// whichever client has them, and the others are cached; then the server may send more.
func TestSessionsChecked(t *testing.T) {
	w := newWorld(t, 2)
	f := w.servers[1]
	place := w.route.cluster.server(1).place
	claim := func(user proto.UserID, place store.Place) proto.Session {
		seen, _, _ := w.store.Memory.Lookup(t.Context(), user, store.Fresh)
		generation, err := w.store.Memory.Claim(t.Context(), user, place, seen.Generation)
		if err != nil {
			t.Fatal(err)
		}
		return proto.Session{User: user, Generation: generation}
	}
	lives, moved := claim(1, place), claim(2, place)
	claim(2, w.route.cluster.server(2).place)
	for _, s := range []proto.Session{lives, moved} {
		f.put(s.User, fakeSession{generation: s.Generation, connected: true, ours: s == moved})
	}
	f.sendSessions(1, lives, moved, proto.Session{User: 3})
	w.eventually("checked", func() bool { return f.askedFor(proto.RecordChecked) == 1 })
	if checked := f.records(proto.RecordChecked)[0]; checked.ID != 1 {
		t.Errorf("checked %d", checked.ID)
	}
	if _, found := f.session(2); found {
		t.Error("a superseded session lives")
	}
	if _, found := f.session(1); !found || !w.record(1).Connected {
		t.Error("a living session was not restored")
	}
	if known, _ := w.route.caches.presence.get(1); known != (sessionKey{1, lives.Generation}) {
		t.Errorf("remembered %+v", known)
	}
	if _, found := w.route.caches.presence.get(3); found {
		t.Error("a session without a generation is remembered")
	}
	full := make([]proto.Session, proto.SessionsMax)
	for i := range full {
		full[i] = proto.Session{User: proto.UserID(100 + i)}
	}
	f.sendSessions(2, full...)
	w.eventually("checked again", func() bool { return f.askedFor(proto.RecordChecked) == 2 })
}

// TestSessionsMany: several superseded sessions at once, and one that the server first has no room
// to end.
func TestSessionsMany(t *testing.T) {
	w := newWorld(t, 1)
	f := w.servers[1]
	sessions := make([]proto.Session, proto.SessionsMax)
	for i := range sessions {
		sessions[i] = proto.Session{User: proto.UserID(i + 1), Generation: 1}
		f.put(sessions[i].User, fakeSession{generation: sessions[i].Generation, connected: true})
	}
	// A generation that was given back is above them all.
	last, err := w.store.Memory.Claim(t.Context(), 9999, store.Place{}, 0)
	for err == nil && last < 2 {
		last, err = w.store.Memory.Claim(t.Context(), 9999, store.Place{}, last)
	}
	if err != nil {
		t.Fatal(err)
	}
	refused := false
	f.follow(func(r *proto.Record) (*proto.Record, bool) {
		if r.Kind != proto.RecordRevoke || refused {
			return nil, false
		}
		refused = true
		return &proto.Record{Verdict: proto.VerdictBusy}, true
	})
	f.sendSessions(1, sessions...)
	w.eventually("checked", func() bool { return f.askedFor(proto.RecordChecked) == 1 })
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sessions) != 0 {
		t.Errorf("%d superseded sessions live", len(f.sessions))
	}
	if got := w.counter("cim_route_checks_failed_total"); got == "0" { // more on a busy machine
		t.Error("no try has failed")
	}
}

// TestSessionsStoreAway: sessions wait for the store as long as their link is
// up, and no longer.
func TestSessionsStoreAway(t *testing.T) {
	hooked := &hookedStore{}
	var tries, gone atomic.Int32
	gone.Store(1)
	hooked.before = func(call string) error {
		if call == "Restore" {
			tries.Add(1)
			if gone.Load() != 0 {
				return store.ErrAway
			}
		}
		return nil
	}
	w := newWorldWith(t, 1, testConfig(), hooked)
	f := w.servers[1]
	f.sendSessions(1, proto.Session{User: 1, Generation: 1})
	w.eventually("tried again", func() bool { return tries.Load() >= 2 })
	if n := f.askedFor(proto.RecordChecked); n != 0 {
		t.Fatalf("%d checked while the store is away", n)
	}
	f.cut()
	w.eventually("linked again", func() bool { return f.dials() == 2 && w.route.cluster.server(1).linked() })
	gone.Store(0)
	f.sendSessions(1, proto.Session{User: 1, Generation: 1})
	w.eventually("checked", func() bool { return f.askedFor(proto.RecordChecked) == 1 })
}

// TestSessionsRefused: what no server sends ends its link.
func TestSessionsRefused(t *testing.T) {
	hooked := &hookedStore{}
	hooked.before = func(call string) error {
		if call == "Restore" {
			return store.ErrAway
		}
		return nil
	}
	for name, send := range map[string]func(f *fakeServer){
		"two at once": func(f *fakeServer) {
			f.sendSessions(1, proto.Session{User: 1, Generation: 1})
			f.sendSessions(2, proto.Session{User: 2, Generation: 1})
		},
		"one too many": func(f *fakeServer) { f.sendSessions(1, make([]proto.Session, proto.SessionsMax+1)...) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorldWith(t, 1, testConfig(), hooked)
			send(w.servers[1])
			w.eventually("link ended", func() bool { return w.servers[1].dials() == 2 })
		})
	}
}

// TestLoginUncertain: a living session whose server one route cannot reach is
// not dead at once. After a while the newer login wins, and the older session
// ends as soon as its server is linked again.
func TestLoginUncertain(t *testing.T) {
	config := testConfig()
	config.RepeatLogin = RepeatReplace
	w := newWorldWith(t, 2, config, &hookedStore{})
	w.another()
	ann := w.online("ann", false)
	record := w.record(ann.ID)
	home := w.servers[record.Place.Epoch]
	at := w.cutOff(home)

	a := w.want(proto.CodeFailure, proto.PathLogin, loginRequest(ann, ""))
	if !strings.Contains(a.Message, "cannot be reached") {
		t.Errorf("message %q", a.Message)
	}
	w.want(proto.CodeFailure, proto.PathOffLine, fmt.Sprintf(`{"userId":%d,"msg":"offLine"}`, ann.ID))
	if w.record(ann.ID) != record {
		t.Fatalf("record %+v, want %+v", w.record(ann.ID), record)
	}
	if got := w.counter("cim_route_requests_in_doubt_total"); got != "2" {
		t.Errorf("%s in doubt, want 2", got)
	}

	at.unusableSince.Store(time.Now().Add(-uncertainMax).UnixNano())
	w.login(ann, "")
	if got := w.record(ann.ID); got.Place.Epoch == record.Place.Epoch || got.Generation <= record.Generation {
		t.Errorf("record %+v", got)
	}
	home.unreachable.Store(false)
	w.eventually("linked again", at.linked)
	home.sendSessions(1, proto.Session{User: ann.ID, Generation: record.Generation})
	w.eventually("the older session ended", func() bool { _, lives := home.session(ann.ID); return !lives })
}

// TestOvertakenElsewhere: a session whose server one route cannot reach ends by
// another route as soon as that one has granted a newer login.
func TestOvertakenElsewhere(t *testing.T) {
	w := newWorld(t, 2)
	w.another()
	ann := w.online("ann", false)
	record := w.record(ann.ID)
	home := w.servers[record.Place.Epoch]
	at := w.cutOff(home)
	at.unusableSince.Store(time.Now().Add(-uncertainMax).UnixNano())
	w.login(ann, "")
	w.eventually("the older session ended", func() bool { _, lives := home.session(ann.ID); return !lives })
	f := w.serverOf(ann.ID)
	f.connect(ann.ID, false)
	if s, lives := f.session(ann.ID); f == home || !lives || s.generation <= record.Generation {
		t.Errorf("the newer session is %+v", s)
	}
	f.mu.Lock()
	f.sendUnsolicited(&proto.Record{Kind: proto.RecordOvertaken, User: ann.ID, Value: uint64(f.member.Epoch)})
	f.sendUnsolicited(&proto.Record{Kind: proto.RecordOvertaken, User: ann.ID, Generation: 9, Value: 99})
	f.mu.Unlock()
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ann.ID, "lives on"))
}

// TestMove: the session of a client that moves continues, held, until the new one starts; a ticket
// of another user moves nothing.
func TestMove(t *testing.T) {
	w := newWorld(t, 2)
	ann := w.account("ann")
	body := w.connect(ann, true)
	record := w.record(ann.ID)
	home := w.servers[record.Place.Epoch]
	stranger := fmt.Sprintf(`,"client":1,"move":1,"ticket":%q`, strings.Repeat("ab", proto.TicketSize))
	w.want(proto.CodeRepeatLogin, proto.PathLogin, loginRequest(ann, stranger))

	home.sendToAll(&proto.Record{Kind: proto.RecordLeaving})
	w.eventually("no login goes to the one that leaves", func() bool {
		return len(w.route.choice.order(w.route.cluster.servers(), ann.ID)) == 1
	})
	w.login(ann, fmt.Sprintf(`,"client":1,"move":1,"ticket":%q`, body.Ticket))
	if s, lives := home.session(ann.ID); !lives || !s.held {
		t.Fatalf("the session that is left is %+v, lives %v; want it held", s, lives)
	}
	ben := w.online("ben", false)
	w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ben.ID, "to all"))
	if s, _ := home.session(ann.ID); len(s.got) != 1 {
		t.Errorf("the session that is left got %v, want the group message", s.got)
	}
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ben.ID, ann.ID, "stored"))
	next := w.serverOf(ann.ID)
	next.connect(ann.ID, true)
	w.eventually("the older session ended", func() bool { _, lives := home.session(ann.ID); return !lives })
	if s, lives := next.session(ann.ID); next == home || !lives || s.generation <= record.Generation {
		t.Errorf("the newer session is %+v", s)
	}
}

// TestMoveWithoutSession: a login that would move from a login that never connected is an
// ordinary one: its session would wait for the end of one that there is not.
func TestMoveWithoutSession(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.account("ann")
	body := w.login(ann, ourClient)
	w.login(ann, fmt.Sprintf(`,"client":1,"move":1,"ticket":%q`, body.Ticket))
	if joins := w.servers[1].records(proto.RecordJoin); len(joins) != 1 || joins[0].Flags&proto.FlagMove != 0 || joins[0].Value != 0 {
		t.Errorf("the login joins the first one by %+v, want no move", joins)
	}
	w.servers[1].lose(ann.ID)
	w.login(ann, fmt.Sprintf(`,"client":1,"move":1,"ticket":%q`, body.Ticket))
	grants := w.servers[1].records(proto.RecordGrant)
	if last := grants[len(grants)-1]; len(grants) != 2 || last.Flags&proto.FlagMove != 0 || last.Value != 0 {
		t.Errorf("%d grants, the last with flags %#x and value %d, want no move", len(grants), last.Flags, last.Value)
	}
}

// TestSilentServerRevokes: a living session whose server gave no answer is ended by
// what the server finds on its link later.
func TestSilentServerRevokes(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.online("ann", false)
	first := true
	w.servers[1].follow(func(r *proto.Record) (*proto.Record, bool) {
		silent := r.Kind == proto.RecordRevoke && first
		first = first && !silent
		return nil, silent
	})
	w.login(ann, "")
	var modes []proto.RevokeMode
	for _, r := range w.servers[1].records(proto.RecordRevoke) {
		modes = append(modes, proto.RevokeMode(r.Value))
	}
	if want := []proto.RevokeMode{proto.RevokeGrant, proto.RevokeSuperseded}; !slices.Equal(modes, want) {
		t.Errorf("revoked by %v, want %v", modes, want)
	}
}

// TestTwoRoutes: a message stored through one route reaches a session whose
// login, catch-up and end another one served.
func TestTwoRoutes(t *testing.T) {
	w := newWorld(t, 2)
	other := w.another()
	ann, ben := w.online("ann", false), w.online("ben", true)
	other.want(proto.CodeRepeatLogin, proto.PathLogin, loginRequest(ben, ""))
	other.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "1"))
	f := w.serverOf(ben.ID)
	f.disconnectSilently(ben.ID)
	other.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "2"))
	other.connect(ben, true)
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "3"))
	f = w.serverOf(ben.ID)
	if got, want := f.texts(ben.ID), []string{"2", "3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	other.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ann.ID, "4"))
	if got, want := f.texts(ben.ID), []string{"2", "3", "4"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestFetchElsewhere: while another route sends, a fetch waits for it; when
// that route has gone, the fetch sends once the lease is over.
func TestFetchElsewhere(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.online("ann", false), w.online("ben", false)
	lease, err := w.store.Acquire(t.Context(), ben.ID, time.Minute)
	if err != nil || lease == 0 {
		t.Fatal(lease, err)
	}
	w.put(ann, ben.ID, "x")
	done := make(chan error, 1)
	go func() {
		_, a, err := w.try(http.MethodPost, proto.PathFetchOffline, fmt.Sprintf(`{"receiveUserId":%d}`, ben.ID))
		if a.Code != proto.Number(proto.CodeSuccess) {
			err = errors.Join(err, fmt.Errorf("code %d", a.Code))
		}
		done <- err
	}()
	w.eventually("refused the lease", func() bool {
		return w.counter(`cim_route_catchups_total{outcome="elsewhere"}`) != "0"
	})
	if err := w.store.Abandon(t.Context(), ben.ID, lease); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := w.servers[1].texts(ben.ID); len(got) != 1 {
		t.Errorf("got %q when the fetch was answered", got)
	}
}

// TestMissed: a message stored while the link to a living session's server is
// down reaches it when the link is up.
func TestMissed(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.online("ann", false), w.online("ben", false)
	f := w.servers[1]
	w.cutOff(f)
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "x"))
	w.eventually("missed", func() bool { return w.route.pendingHolds.waiting(1) == 1 })
	f.unreachable.Store(false)
	w.eventually("caught up", func() bool { return len(f.texts(ben.ID)) == 1 })
}

// TestOnlineUserMany: a cluster's users are listed within the time that a list
// has, by either method.
func TestOnlineUserMany(t *testing.T) {
	w := newWorld(t, 1)
	place := w.route.cluster.server(1).place
	const many = 36_000
	for i := range many {
		generation, err := w.store.Memory.Claim(context.Background(), proto.UserID(i+1), place, 0)
		if err == nil {
			_, err = w.store.Memory.Confirm(context.Background(), proto.UserID(i+1), generation)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		w.eventually("a list in time by "+method, func() bool { // a busy machine may take longer once
			_, a := w.request(method, proto.PathOnlineUser, "")
			return bytes.Count(a.DataBody, []byte("userId")) == many
		})
	}
}
