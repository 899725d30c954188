package route

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cim/internal/link"
	"cim/proto"
	"cim/route/access"
)

// hangWorld is a route with ann, who has no session, and ben, whose session is
// not held, on a clock of its own.
type hangWorld struct {
	t        *testing.T
	route    *Route
	server   *fakeServer
	ann, ben proto.User
}

func hangBubble(t *testing.T, test func(w *hangWorld)) {
	bubble(t, func(t *testing.T, r *Route, f *fakeServer, _ catchup) {
		w := &hangWorld{t: t, route: r, server: f}
		for i, user := range []*proto.User{&w.ann, &w.ben} {
			var err error
			if *user, err = r.store.Register(t.Context(), fmt.Sprintf("user%d", i)); err != nil {
				t.Fatal(err)
			}
		}
		w.put(w.ben.ID)
		time.Sleep(checkInterval / 2) // between two looks
		test(w)
	})
}

// put gives user a session that is not held.
func (w *hangWorld) put(user proto.UserID) proto.Session {
	s := w.route.cluster.server(w.server.member.Epoch)
	generation, err := w.route.store.Claim(w.t.Context(), user, s.place, 0)
	if err == nil {
		_, err = w.route.store.Confirm(w.t.Context(), user, generation)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	session := proto.Session{User: user, Generation: generation}
	w.server.put(session.User, fakeSession{generation: session.Generation, connected: true})
	return session
}

// want asks as a request over HTTP would, and checks its code and how long it
// took.
func (w *hangWorld) want(code proto.Code, least, most time.Duration, path, body string) {
	w.t.Helper()
	e := w.route.endpoints[path]
	work := newDeadline(e.timeout)
	defer work.stop()
	began := time.Now()
	a := e.serve(work, access.Caller{}, []byte(body)).pushed()
	if took := time.Since(began); a.code != code || took < least || took > most {
		w.t.Errorf("%s: %v after %v, want %v after %v to %v", path, a, took, code, least, most)
	}
}

func (w *hangWorld) private(text string) string { return privateRequest(w.ann.ID, w.ben.ID, text) }

func (w *hangWorld) suspect() bool { return w.route.cluster.server(w.server.member.Epoch).suspect() }

// hangMax is how long a server that hangs may hold up a request.
const hangMax = 300 * time.Millisecond

// TestHangingServer: a server that hangs delays the requests of its first 300 ms, by 300 ms at
// most, and none after that; messages that it does not take are stored. When it is back all arrive
// in order, once, and live messages behind them.
func TestHangingServer(t *testing.T) {
	hangBubble(t, func(w *hangWorld) {
		w.want(proto.CodeSuccess, 0, 0, proto.PathPrivate, w.private("0"))
		w.server.stop()
		began := time.Now()
		w.want(proto.CodeOffline, 250*time.Millisecond, hangMax, proto.PathPrivate, w.private("1"))
		time.Sleep(hangMax - time.Since(began))
		if !w.suspect() {
			t.Fatal("not suspect")
		}
		w.want(proto.CodeOffline, 0, 0, proto.PathPrivate, w.private("2"))
		w.want(proto.CodeFailure, 0, 0, proto.PathGroup, groupRequest(w.ann.ID, "to all"))
		w.want(proto.CodeNoServer, 0, 0, proto.PathLogin, loginRequest(w.ann, ""))
		w.want(proto.CodeOfflineFetch, 0, 0, proto.PathFetchOffline, fmt.Sprintf(`{"receiveUserId":%d}`, w.ben.ID))
		time.Sleep(time.Minute)
		w.want(proto.CodeOffline, 0, 0, proto.PathPrivate, w.private("3"))
		if n := w.waiting(); n > 1<<10 {
			t.Errorf("%d bytes wait for it", n)
		}
		w.server.goOnPaused()
		synctest.Wait()
		if w.suspect() {
			t.Error("suspect although it answers")
		}
		w.want(proto.CodeSuccess, 0, hangMax, proto.PathPrivate, w.private("4"))
		if got, want := w.server.texts(w.ben.ID), []string{"0", "1", "2", "3", "4"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestHaltedServer: a server of which one event loop stands still answers its link and delivers
// messages to its other sessions. It is suspect for as long as it says so: it delays a group
// message no longer than a server that hangs, gets no logins, and messages to its sessions are
// stored. When the loop continues, all messages arrive in order.
func TestHaltedServer(t *testing.T) {
	hangBubble(t, func(w *hangWorld) {
		w.server.halt(w.ben.ID)
		w.want(proto.CodeFailure, 0, hangMax, proto.PathGroup, groupRequest(w.ann.ID, "to all"))
		if !w.suspect() {
			t.Fatal("not suspect")
		}
		w.want(proto.CodeFailure, 0, 0, proto.PathGroup, groupRequest(w.ann.ID, "to all"))
		w.want(proto.CodeNoServer, 0, 0, proto.PathLogin, loginRequest(w.ann, ""))
		w.want(proto.CodeOffline, 0, 0, proto.PathPrivate, w.private("1"))
		time.Sleep(time.Minute)
		w.server.sendUnsolicited(&proto.Record{Kind: proto.RecordUp, User: w.ann.ID, Generation: 1}) // another loop's word
		synctest.Wait()
		time.Sleep(time.Second)
		if n := w.route.counters.suspicions.Get(); n != 1 || !w.suspect() {
			t.Errorf("suspect %d times, now %t, want once and still", n, w.suspect())
		}
		w.server.goOnHalted()
		time.Sleep(2 * checkInterval)
		synctest.Wait()
		if w.suspect() {
			t.Error("suspect although all of it goes on")
		}
		w.want(proto.CodeSuccess, 0, hangMax, proto.PathPrivate, w.private("2"))
		if got, want := w.server.texts(w.ben.ID), []string{"1", "2"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// waiting is how many bytes the link to the server has in its queue.
func (w *hangWorld) waiting() int {
	return w.route.cluster.server(w.server.member.Epoch).stream.Load().conn.Waiting()
}

// TestHangDelaysOnlyEarlyRequests: whenever a server hangs and whenever a request comes, private
// or to all, it is held up for 300 ms at most.
func TestHangDelaysOnlyEarlyRequests(t *testing.T) {
	for _, group := range []bool{false, true} {
		for _, hang := range []time.Duration{0, 10 * time.Millisecond, checkInterval - 1, idleChecksMax*checkInterval - 10*time.Millisecond} {
			for _, come := range []time.Duration{0, 30 * time.Millisecond, checkInterval, 180 * time.Millisecond, time.Second} {
				hangBubble(t, func(w *hangWorld) {
					code, path, body := proto.CodeOffline, proto.PathPrivate, w.private("x")
					if group {
						code, path, body = proto.CodeFailure, proto.PathGroup, groupRequest(w.ann.ID, "x")
					}
					time.Sleep(hang)
					w.server.stop()
					time.Sleep(come)
					w.want(code, 0, hangMax, path, body)
					w.server.goOnPaused()
				})
			}
		}
	}
}

// TestSlowGroup: a server that is slow with a broadcast and answers confirms is waited for as
// before.
func TestSlowGroup(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		code  proto.Code
	}{{broadcastTimeout - time.Millisecond, proto.CodeSuccess}, {broadcastTimeout + time.Millisecond, proto.CodeFailure}} {
		hangBubble(t, func(w *hangWorld) {
			w.server.follow(func(r *proto.Record) (*proto.Record, bool) {
				id, conn := r.ID, w.server.conns[0]
				time.AfterFunc(c.after, func() { w.server.reply(conn, id, proto.VerdictTaken, 0) })
				return nil, r.Kind == proto.RecordBroadcast
			})
			w.want(c.code, min(c.after, broadcastTimeout), broadcastTimeout, proto.PathGroup, groupRequest(w.ann.ID, "x"))
			time.Sleep(time.Second)
		})
	}
}

// TestConfirms: an idle link is confirmed each 500 ms, one with asks each 50 ms,
// and a server that hangs is sent one confirm and no more.
func TestConfirms(t *testing.T) {
	hangBubble(t, func(w *hangWorld) {
		count := func(d time.Duration) int {
			before := w.server.askedFor(proto.RecordConfirm)
			time.Sleep(d)
			synctest.Wait()
			return w.server.askedFor(proto.RecordConfirm) - before
		}
		if n := count(10 * time.Second); n != 20 {
			t.Errorf("%d confirms in 10 s of an idle link, want 20", n)
		}
		w.server.follow(verdictTo(proto.RecordBroadcast, 0))
		on := w.route.cluster.server(1).stream.Load()
		a, err := on.start(&proto.Record{Kind: proto.RecordBroadcast})
		if err != nil {
			t.Fatal(err)
		}
		if n := count(time.Second); n != 20 {
			t.Errorf("%d confirms in a second with an ask, want 20", n)
		}
		on.giveUp(a)
		w.server.stop()
		if count(time.Minute); w.waiting() > proto.RecordSize(&proto.Record{}) || !w.suspect() {
			t.Errorf("%d bytes wait for a server that hangs, suspect %t", w.waiting(), w.suspect())
		}
		w.server.goOn()
		if n := count(10 * time.Second); n < 20 || n > 21 {
			t.Errorf("%d confirms in 10 s afterwards, want 20", n)
		}
	})
}

// TestSuspectAsks: asks that wait for a suspect server are answered, and so are new ones. The
// server gets broadcasts and revokes, and nothing else; after its next record it is asked again. A
// stream that ends meanwhile is down.
func TestSuspectAsks(t *testing.T) {
	near, far := link.Pair(linkBytes)
	defer far.Close()
	s := newStream(near)
	a, err := s.start(push())
	if err != nil {
		t.Fatal(err)
	}
	s.becomeSuspect()
	if answer, ok := s.await(a, patience); !ok || !errors.Is(answer.err, errSilence) {
		t.Errorf("who waited: %+v", answer)
	}
	sent := near.Waiting()
	for _, kind := range []proto.RecordKind{proto.RecordPush, proto.RecordHold, proto.RecordResume, proto.RecordGrant} {
		if answer := s.ask(&proto.Record{Kind: kind}); !errors.Is(answer.err, errSilence) || near.Waiting() != sent {
			t.Errorf("kind %d: %+v, %d bytes wait", kind, answer, near.Waiting())
		}
	}
	for _, kind := range []proto.RecordKind{proto.RecordBroadcast, proto.RecordRevoke} {
		sent += proto.RecordSize(push())
		if answer := s.ask(&proto.Record{Kind: kind}); !errors.Is(answer.err, errSilence) || near.Waiting() != sent {
			t.Errorf("kind %d: %+v, %d bytes wait, want %d", kind, answer, near.Waiting(), sent)
		}
	}
	s.onReceive()
	if a, err = s.start(push()); err != nil || answerTo(s, &proto.Record{ID: a.id - 1}) || !answerTo(s, &proto.Record{ID: a.id}) {
		t.Errorf("heard again: %v", err)
	}
	s.becomeSuspect()
	s.end()
	if answer := s.ask(push()); !errors.Is(answer.err, errLinkDown) || len(s.waiting) != 0 {
		t.Errorf("after the end: %+v", answer)
	}
}

// TestSuspectFull: a revoke without room on the link of a suspect server ends the link, so that the
// server reports its sessions on the next one; a broadcast is lost.
func TestSuspectFull(t *testing.T) {
	near, far := link.Pair(proto.RecordSize(push()))
	s := newStream(near)
	s.becomeSuspect()
	for _, c := range []struct {
		kind proto.RecordKind
		want error
	}{{proto.RecordRevoke, link.ErrFull}, {proto.RecordBroadcast, link.ErrFull}, {proto.RecordRevoke, link.ErrClosed}} {
		s.ask(&proto.Record{Kind: c.kind})
		if err := near.Send(push()); !errors.Is(err, c.want) {
			t.Errorf("behind kind %d: %v, want %v", c.kind, err, c.want)
		}
	}
	far.Close()
}

// TestPaused: asks that were sent before the server reported its standstill are given up with the
// echo. If the echo cannot be sent, the link ends.
func TestPaused(t *testing.T) {
	near, far := link.Pair(2 * proto.RecordSize(push()))
	defer far.Close()
	s := newStream(near)
	a, err := s.start(push())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.echo(7); err != nil {
		t.Fatal(err)
	}
	if answer, ok := s.await(a, patience); !ok || !errors.Is(answer.err, errSilence) {
		t.Errorf("who waited: %+v", answer)
	}
	if err := s.echo(8); !errors.Is(err, link.ErrFull) {
		t.Errorf("no room for the echo: %v", err)
	}
}

// TestSuspectOrder: a message that is stored for silence comes before the next one, also if the
// server was only slow and does everything it was sent.
func TestSuspectOrder(t *testing.T) {
	hangBubble(t, func(w *hangWorld) {
		w.server.stop()
		w.want(proto.CodeOffline, 0, hangMax, proto.PathPrivate, w.private("1"))
		w.server.goOn()
		synctest.Wait()
		w.want(proto.CodeSuccess, 0, hangMax, proto.PathPrivate, w.private("2"))
		if got, want := w.server.texts(w.ben.ID), []string{"1", "1", "2"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if n := w.route.pendingHolds.sessions.Load(); n != 0 {
			t.Errorf("%d are missed", n)
		}
	})
}

// TestSilentSession: a server that answers confirms, but no ask about a session, as one with a
// blocked loop does, delays each message by one ask at most. When it continues, all messages arrive
// in order, without another one.
func TestSilentSession(t *testing.T) {
	hangBubble(t, func(w *hangWorld) {
		w.server.follow(func(*proto.Record) (*proto.Record, bool) { return nil, true })
		for i := range 3 {
			w.want(proto.CodeOffline, 0, askTimeout, proto.PathPrivate, w.private(fmt.Sprint(i)))
		}
		if w.suspect() {
			t.Error("suspect although it answers confirms")
		}
		w.server.follow(nil)
		time.Sleep(pendingHoldPause + askTimeout)
		synctest.Wait()
		if got, want := w.server.texts(w.ben.ID), []string{"0", "1", "2"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		w.want(proto.CodeSuccess, 0, 0, proto.PathPrivate, w.private("live"))
	})
}

// TestPageSuspect: a page that waits for a server that hangs is given up with
// everything else.
func TestPageSuspect(t *testing.T) {
	bubble(t, func(t *testing.T, r *Route, f *fakeServer, job catchup) {
		if err := r.store.Append(t.Context(), benID, ann, 0, 0, []string{"x"}); err != nil {
			t.Fatal(err)
		}
		f.follow(f.slowly(0))
		time.AfterFunc(2*time.Second, f.stop)
		began := time.Now()
		err := r.catchUp(t.Context(), job)
		if took := time.Since(began); !errors.Is(err, errSilence) || took > 2*time.Second+hangMax {
			t.Errorf("%v after %v", err, took)
		}
		f.follow(nil)
		f.goOnPaused()
		time.Sleep(time.Second)
		if page, err := r.store.Page(t.Context(), benID, 0); err != nil || len(page) != 0 {
			t.Errorf("%d texts left, %v", len(page), err)
		}
	})
}

// TestMonitorChecks: a server is suspect after silentChecksMax checks without a record, and not one
// sooner. With a record in between, or after late checks of the route, it is not.
func TestMonitorChecks(t *testing.T) {
	near, far := link.Pair(linkBytes)
	defer far.Close()
	s := linkedServers(t, "a:1:1")[0]
	on := newStream(near)
	s.stream.Store(on)
	recovered := 0
	k := linkMonitor{
		server: s, on: on, log: slog.New(slog.DiscardHandler), counters: s.counters,
		onRecovered: func(*server) { recovered++ },
	}
	looks := func(n int) {
		for range n {
			k.check()
		}
	}
	k.confirm()
	looks(silentChecksMax - 1)
	on.onReceive()
	looks(silentChecksMax)
	if s.suspect() {
		t.Error("suspect too soon")
	}
	looks(1)
	if !s.suspect() || s.responsive() || s.open() || !s.linked() {
		t.Error("not suspect")
	}
	on.onReceive()
	if s.suspect() || recovered != 0 {
		t.Error("suspect although heard")
	}
	looks(1)
	if recovered != 1 {
		t.Errorf("recovered %d times", recovered)
	}
	// A record between the monitor's check and its verdict.
	looks(silentChecksMax)
	on.heard.Store(true)
	if looks(1); s.suspect() {
		t.Error("suspect although heard just before")
	}
	on.confirming.Store(false) // nothing is on its way
	k.idle = 0
	if looks(idleChecksMax - 1); s.suspect() {
		t.Error("suspect without a confirm")
	}
}
