package route

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cim/internal/token"
	"cim/proto"
	"cim/route/access"
	"cim/store"
)

// refuse has the tokens of user refused at the route.
func (g *guarded) refuse(user proto.User) time.Time {
	g.t.Helper()
	since, err := g.route.RefuseTokens(g.t.Context(), user.ID)
	if err != nil {
		g.t.Fatal(err)
	}
	return since
}

// TestOlderTokensRefused: after RefuseTokens each call refuses the user's tokens
// that were issued before, also those that do not say when, and no others.
func TestOlderTokensRefused(t *testing.T) {
	for _, mode := range []access.Mode{access.Check, access.Require} {
		g := newGuarded(t, mode)
		ann, ben := g.account("ann"), g.account("ben")
		before := time.Now().Truncate(time.Second)
		since := g.refuse(ann)
		if since.Before(time.Now()) || since.Nanosecond() != 0 {
			t.Errorf("tokens count from %v on, want the next whole second after %v", since, before)
		}
		if again := g.refuse(ann); again.Before(since) {
			t.Errorf("refused again: from %v on, before %v", again, since)
		} else {
			since = again
		}
		message := fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"msg":"x"}`, ann.ID, ben.ID)
		benMessage := fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"msg":"x"}`, ben.ID, ann.ID)
		for _, c := range []struct {
			name, path, body string
			claims           token.Claims
			status           int
		}{
			{"does not say when", proto.PathPrivate, message, token.Claims{User: int64(ann.ID)}, 401},
			{"an hour old", proto.PathPrivate, message, token.Claims{User: int64(ann.ID), Issued: before.Add(-time.Hour)}, 401},
			{"of the second before", proto.PathPrivate, message, token.Claims{User: int64(ann.ID), Issued: since.Add(-time.Second)}, 401},
			{"of the second from which they count", proto.PathPrivate, message, token.Claims{User: int64(ann.ID), Issued: since}, 200},
			{"login", proto.PathLogin, loginRequest(ann, ""), token.Claims{User: int64(ann.ID)}, 401},
			{"offLine", proto.PathOffLine, message, token.Claims{User: int64(ann.ID)}, 401},
			{"group", proto.PathGroup, message, token.Claims{User: int64(ann.ID)}, 401},
			{"fetch", proto.PathFetchOffline, fmt.Sprintf(`{"receiveUserId":%d}`, ann.ID), token.Claims{User: int64(ann.ID)}, 401},
			{"who is online", proto.PathOnlineUser, "{}", token.Claims{User: int64(ann.ID)}, 401},
			{"another user's", proto.PathPrivate, benMessage, token.Claims{User: int64(ben.ID)}, 200},
			{"a service's", proto.PathPrivate, message, token.Claims{Service: true}, 200},
			{"fresh login", proto.PathLogin, loginRequest(ann, ""), token.Claims{User: int64(ann.ID), Issued: since}, 200},
		} {
			response, a := g.send(http.MethodPost, c.path, c.body, "Authorization: Bearer "+g.issue(c.claims))
			if response.StatusCode != c.status {
				t.Errorf("%s, %s: HTTP %d, %d %q, want %d", mode, c.name, response.StatusCode, a.Code, a.Message, c.status)
			}
			if want := "log in anew, with a fresh token: those of user"; c.status == 401 && (!strings.Contains(a.Message, want) || response.Header.Get("WWW-Authenticate") != "Bearer") {
				t.Errorf("%s, %s: %q, want %q", mode, c.name, a.Message, want)
			}
		}
		path := "/t/" + g.token(ann.ID, token.AudiencePath)
		if response, _ := g.send(http.MethodPost, path+proto.PathPrivate, message); response.StatusCode != 401 {
			t.Errorf("%s, in the path: HTTP %d, want 401", mode, response.StatusCode)
		}
		if got := g.counter(`cim_route_access_refused_total{why="revoked"}`); got != "9" {
			t.Errorf("%s: %s refusals counted, want 9", mode, got)
		}
		g.stop()
	}
}

// TestRefuseTokensOf: a route without tokens reports that, and so does one without such a user.
func TestRefuseTokensOf(t *testing.T) {
	g := newGuarded(t, access.Off)
	ann := g.account("ann")
	if _, err := g.route.RefuseTokens(t.Context(), ann.ID); !errors.Is(err, ErrNoTokens) {
		t.Errorf("with --auth off: %v", err)
	}
	g.stop()
	g = newGuarded(t, access.Require)
	if _, err := g.route.RefuseTokens(t.Context(), 7); !errors.Is(err, ErrNoAccount) {
		t.Errorf("of no account: %v", err)
	}
}

// TestRefusedAtAnotherRoute: what another route has stored takes effect here after
// refusalCacheTime. While the store is away the cached refusal counts; without one no request is
// served.
func TestRefusedAtAnotherRoute(t *testing.T) {
	var gone atomic.Bool
	hooked := &hookedStore{before: func(call string) error {
		if gone.Load() && call == "TokensRefusedBefore" {
			return store.ErrAway
		}
		return nil
	}}
	g := newGuardedOn(t, access.Require, hooked)
	ann, ben := g.account("ann"), g.account("ben")
	post := func(user proto.User) (int, proto.Number) {
		body := fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"msg":"x"}`, user.ID, ben.ID)
		response, a := g.send(http.MethodPost, proto.PathPrivate, body, "Authorization: Bearer "+g.token(user.ID))
		return response.StatusCode, a.Code
	}
	want := func(what string, user proto.User, status int, code proto.Code) {
		t.Helper()
		if gotStatus, got := post(user); gotStatus != status || got != proto.Number(code) {
			t.Errorf("%s: HTTP %d, code %d, want %d, %d", what, gotStatus, got, status, code)
		}
	}
	age := func(before proto.UnixMilli) { // caches the refusal, without a failed call shortly before
		g.route.caches.noteRefusal(ann.ID, refusedTokens{before, time.Now().Add(-refusalCacheTime)})
		g.route.outage.failed.Store(0)
	}
	want("before", ann, 200, proto.CodeOffline)
	gone.Store(true)
	age(0)
	want("the store is away, known", ann, 200, proto.CodeOffline)
	want("the store is away, unknown", ben, 200, proto.CodeFailure)
	gone.Store(false)
	at := proto.UnixMilli(time.Now().UnixMilli())
	if err := hooked.RefuseTokensBefore(t.Context(), ann.ID, at); err != nil {
		t.Fatal(err)
	}
	age(0)
	want("refused at another route", ann, 401, proto.CodeInvalid)
	gone.Store(true)
	age(at)
	want("the store is away, refused", ann, 401, proto.CodeInvalid)
}

// TestRefusedWhileLoggingIn: tokens that are refused between the check of a login's token and its
// answer start no session, also if the client has connected by then; nor does a granted login whose
// client has not connected. A session stays until it is kicked.
func TestRefusedWhileLoggingIn(t *testing.T) {
	var crossing, early atomic.Bool // the client connects before the second look
	var g *guarded
	var ann proto.User
	hooked := &hookedStore{}
	hooked.before = func(call string) error {
		if call == "Claim" && crossing.Load() {
			return hooked.Memory.RefuseTokensBefore(t.Context(), ann.ID, proto.UnixMilli(time.Now().UnixMilli()))
		}
		if call == "TokensRefusedBefore" && early.Load() && g.record(ann.ID) != (store.Record{}) {
			early.Store(false)
			g.servers[1].connect(ann.ID, true)
		}
		return nil
	}
	g = newGuardedOn(t, access.Require, hooked)
	login := func(issued time.Time) int {
		t.Helper()
		bearer := "Authorization: Bearer " + g.issue(token.Claims{User: int64(ann.ID), Issued: issued})
		response, _ := g.send(http.MethodPost, proto.PathLogin, loginRequest(ann, ourClient), bearer)
		return response.StatusCode
	}
	nothing := func(what string) {
		t.Helper()
		g.eventually(what+": neither a session nor a record", func() bool {
			_, found := g.servers[1].session(ann.ID)
			return !found && g.record(ann.ID) == (store.Record{})
		})
	}
	crossing.Store(true)
	for _, name := range []string{"ben", "ann"} {
		ann = g.account(name)
		early.Store(name == "ben")
		if status := login(time.Now().Add(-time.Hour)); status != 401 || early.Load() {
			t.Errorf("refused while it logged in: HTTP %d, want 401; it did not connect: %t", status, early.Load())
		}
		nothing("refused while it logged in")
	}
	crossing.Store(false)

	if status := login(time.Now().Add(time.Second)); status != 200 {
		t.Fatalf("a fresh token: HTTP %d", status)
	}
	since := g.refuse(ann)
	nothing("refused before its client came")

	if status := login(since); status != 200 {
		t.Fatalf("a fresh token: HTTP %d", status)
	}
	g.servers[1].connect(ann.ID, true)
	g.eventually("connected", func() bool { return g.record(ann.ID).Connected })
	g.refuse(ann)
	if _, found := g.servers[1].session(ann.ID); !found {
		t.Error("a session has ended, which only a kick does")
	}
}
