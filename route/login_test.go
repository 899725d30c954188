package route

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

// TestLogin: an old client gets the contract's members and no others, a client of ours its ticket
// too. The server gets the grant before the client gets its answer.
func TestLogin(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.account("ben")
	old := w.want(proto.CodeSuccess, proto.PathLogin, loginRequest(ann, ""))
	if got := string(old.DataBody); got != `{"ip":"10.0.0.1","cimServerPort":11211,"httpPort":8081}` {
		t.Errorf("dataBody %s", got)
	}
	ours := w.login(ben, ourClient)
	grants := w.servers[1].records(proto.RecordGrant)
	if len(grants) != 2 {
		t.Fatalf("%d grants, want 2", len(grants))
	}
	for i, user := range []proto.User{ann, ben} {
		g := grants[i]
		if g.User != user.ID || string(g.Name) != user.Name || g.Generation != w.record(user.ID).Generation {
			t.Errorf("grant %+v for %+v", g, user)
		}
		if granted, ok := proto.ParseGrant(g.Body); !ok || granted.Ticket.IsZero() {
			t.Errorf("grant of %s has body %x", user.Name, g.Body)
		}
		if demand := g.Flags&proto.FlagDemandTicket != 0; demand != (i == 1) {
			t.Errorf("grant of %s demands its ticket: %v", user.Name, demand)
		}
	}
	if got := proto.Ticket(grants[1].Body).String(); ours.Ticket != got {
		t.Errorf("the client got ticket %s, the server %s", ours.Ticket, got)
	}
	if string(grants[0].Body) == string(grants[1].Body) {
		t.Error("two logins, one ticket")
	}
}

// TestLoginRefused: each argument that is wrong is named, and the pair must
// match.
func TestLoginRefused(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.account("ann")
	for _, c := range []struct {
		body string
		code proto.Code
		says string
	}{
		{`{"userName":"ann"}`, proto.CodeInvalid, "userId"},
		{`{"userId":0,"userName":"ann"}`, proto.CodeInvalid, "userId"},
		{`{"userId":-1,"userName":"ann"}`, proto.CodeInvalid, "userId"},
		{`{"userId":"x","userName":"ann"}`, proto.CodeInvalid, "userId"},
		{fmt.Sprintf(`{"userId":%d}`, ann.ID), proto.CodeInvalid, "userName"},
		{loginRequest(ann, `,"client":2`), proto.CodeInvalid, "client"},
		{loginRequest(ann, ourClient+`,"ticket":"xyz"`), proto.CodeInvalid, "ticket"},
		{fmt.Sprintf(`{"userId":%d,"userName":"ben"}`, ann.ID), proto.CodeAccountMismatch, ""},
		{fmt.Sprintf(`{"userId":%d,"userName":"ann"}`, ann.ID+1), proto.CodeAccountMismatch, "userId"},
	} {
		a := w.want(c.code, proto.PathLogin, c.body)
		if !strings.Contains(a.Message, c.says) {
			t.Errorf("%s: message %q does not name %s", c.body, a.Message, c.says)
		}
	}
	if n := w.servers[1].askedFor(proto.RecordGrant); n != 0 {
		t.Errorf("%d grants", n)
	}
}

// TestRepeatLogin walks the ways a second login may come, for both settings.
func TestRepeatLogin(t *testing.T) {
	right, wrong := "right", "wrong"
	for _, c := range []struct {
		repeat RepeatLogin
		first  bool // the living session is a client's of ours
		second bool // so is the newcomer
		ticket string
		code   proto.Code
		mode   proto.RevokeMode
	}{
		{RepeatRefuse, false, false, "", proto.CodeRepeatLogin, proto.RevokeGrant},
		{RepeatRefuse, true, true, "", proto.CodeRepeatLogin, proto.RevokeGrant},
		{RepeatRefuse, true, true, right, proto.CodeSuccess, proto.RevokeTicket},
		{RepeatRefuse, true, true, wrong, proto.CodeRepeatLogin, proto.RevokeTicket},
		{RepeatRefuse, true, false, right, proto.CodeRepeatLogin, proto.RevokeGrant}, // an old client has no ticket to show
		{RepeatRefuse, false, true, wrong, proto.CodeRepeatLogin, proto.RevokeTicket},
		{RepeatReplace, true, true, "", proto.CodeSuccess, proto.RevokeReplace},
		{RepeatReplace, true, false, "", proto.CodeSuccess, proto.RevokeReplace},
		{RepeatReplace, false, true, "", proto.CodeRepeatLogin, proto.RevokeReplace},
		{RepeatReplace, false, false, "", proto.CodeRepeatLogin, proto.RevokeReplace},
	} {
		t.Run(fmt.Sprintf("%s ours=%v then ours=%v ticket=%s", c.repeat, c.first, c.second, c.ticket), func(t *testing.T) {
			config := testConfig()
			config.RepeatLogin = c.repeat
			w := newWorldWith(t, 1, config, &hookedStore{})
			ann := w.account("ann")
			first := w.connect(ann, c.first)
			before := w.record(ann.ID)
			more := ""
			if c.second {
				more = ourClient
			}
			switch c.ticket {
			case right:
				more += `,"ticket":"` + first.Ticket + `"`
			case wrong:
				more += `,"ticket":"` + strings.Repeat("5a", proto.TicketSize) + `"`
			}
			w.want(c.code, proto.PathLogin, loginRequest(ann, more))
			revokes := w.servers[1].records(proto.RecordRevoke)
			if len(revokes) != 1 || proto.RevokeMode(revokes[0].Value) != c.mode || revokes[0].Generation != before.Generation {
				t.Errorf("revokes %+v, want one of mode %d up to %d", revokes, c.mode, before.Generation)
			}
			if moved := w.record(ann.ID) != before; moved != (c.code == proto.CodeSuccess) {
				t.Errorf("record %+v, then %+v", before, w.record(ann.ID))
			}
		})
	}
}

// TestLoginAfterGrant: a login whose client has not connected blocks no other one, and is not ended
// by the next one. If its server has dropped the grant, the next login claims again.
func TestLoginAfterGrant(t *testing.T) {
	w := newWorld(t, 3)
	ann := w.account("ann")
	first := w.login(ann, ourClient)
	at := w.serverOf(ann.ID)
	record := w.record(ann.ID)
	second := w.login(ann, ourClient)
	if got := w.record(ann.ID); got != record {
		t.Errorf("record %+v, then %+v", record, got)
	}
	s, _ := at.session(ann.ID)
	if s.ticket.String() != first.Ticket || len(s.joined) != 1 || s.joined[0].String() != second.Ticket || first.Ticket == second.Ticket {
		t.Errorf("the server expects %s and %v, the clients have %s and %s", s.ticket, s.joined, first.Ticket, second.Ticket)
	}
	at.lose(ann.ID)
	w.login(ann, ourClient)
	if got := w.record(ann.ID).Generation; got <= record.Generation {
		t.Errorf("generation %d, then %d", record.Generation, got)
	}
}

// TestLoginJoinsOnlyAfterItsGrant: a login that finds another one between its
// claim and its grant waits for that instead of ending it.
func TestLoginJoinsOnlyAfterItsGrant(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.account("ann")
	w.login(ann, ourClient)
	record := w.record(ann.ID)
	asked := 0
	w.servers[1].follow(func(r *proto.Record) (*proto.Record, bool) {
		if r.Kind != proto.RecordJoin {
			return nil, false
		}
		asked++
		return &proto.Record{Verdict: proto.VerdictAbsent}, asked == 1
	})
	w.login(ann, ourClient)
	if got := w.record(ann.ID); got != record {
		t.Errorf("record %+v, then %+v", record, got)
	}
}

// TestLoginSilence: a server that does not answer a revoke counts as dead,
// after the time that it has for it; one without room does not.
func TestLoginSilence(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.online("ann", false), w.online("ben", false)
	w.servers[1].follow(verdictTo(proto.RecordRevoke, 0))
	began := time.Now()
	w.login(ann, "")
	if took := time.Since(began); took < askTimeout {
		t.Errorf("waited %v, want %v", took, askTimeout)
	}
	w.servers[1].follow(verdictTo(proto.RecordRevoke, proto.VerdictBusy))
	w.want(proto.CodeLimit, proto.PathLogin, loginRequest(ben, ""))
}

// TestLoginDeadEpoch: a record of a server that is not live is not asked about.
func TestLoginDeadEpoch(t *testing.T) {
	w := newWorld(t, 2)
	ann := w.online("ann", false)
	old := w.serverOf(ann.ID)
	w.deregister(old.member.Epoch)
	w.login(ann, "")
	if w.serverOf(ann.ID) == old {
		t.Error("logged in at a server that is gone")
	}
	if n := old.askedFor(proto.RecordRevoke); n != 0 {
		t.Errorf("%d revokes at a server that is gone", n)
	}
}

// TestGrantRefused: after any refusal the next server is tried; when none takes the grant the claim
// is released and the answer is 7100.
func TestGrantRefused(t *testing.T) {
	for _, verdict := range []proto.Verdict{proto.VerdictRefused, proto.VerdictBusy, 0} {
		w := newWorld(t, 3)
		ann := w.account("ann")
		order := w.route.choice.order(w.route.cluster.servers(), ann.ID)
		for _, s := range order[:2] {
			w.servers[s.member.Epoch].follow(verdictTo(proto.RecordGrant, verdict))
		}
		w.login(ann, "")
		if got := w.record(ann.ID).Place; got != order[2].place {
			t.Errorf("%v: placed at %+v, want %+v", verdict, got, order[2].place)
		}
		w.want(proto.CodeSuccess, proto.PathOffLine, fmt.Sprintf(`{"userId":%d,"msg":%q}`, ann.ID, proto.GoodbyeMsg))
		w.servers[order[2].member.Epoch].follow(verdictTo(proto.RecordGrant, verdict))
		w.want(proto.CodeNoServer, proto.PathLogin, loginRequest(ann, ""))
		if got := w.record(ann.ID); got != (store.Record{}) {
			t.Errorf("%v: record %+v is left", verdict, got)
		}
		w.stop()
	}
}

// TestGrantTries: a login asks no more servers than it has time for.
func TestGrantTries(t *testing.T) {
	w := newWorld(t, grantTries+1)
	ann := w.account("ann")
	for _, f := range w.servers {
		f.follow(verdictTo(proto.RecordGrant, proto.VerdictRefused))
	}
	w.want(proto.CodeNoServer, proto.PathLogin, loginRequest(ann, ""))
	asked := 0
	for _, f := range w.servers {
		asked += f.askedFor(proto.RecordGrant)
	}
	if asked != grantTries {
		t.Errorf("%d servers asked, want %d", asked, grantTries)
	}
}

// TestGrantLives: a session that no grant began keeps its user.
func TestGrantLives(t *testing.T) {
	w := newWorld(t, 2)
	ann := w.account("ann")
	for _, f := range w.servers {
		f.follow(verdictTo(proto.RecordGrant, proto.VerdictLives))
	}
	w.want(proto.CodeRepeatLogin, proto.PathLogin, loginRequest(ann, ""))
	if got := w.record(ann.ID); got != (store.Record{}) {
		t.Errorf("record %+v is left", got)
	}
}

// TestNoServer: without a linked server there is no login, and no group message.
func TestNoServer(t *testing.T) {
	w := newWorld(t, 0)
	ann := w.account("ann")
	w.want(proto.CodeNoServer, proto.PathLogin, loginRequest(ann, ""))
	w.want(proto.CodeNoServer, proto.PathGroup, groupRequest(ann.ID, "x"))
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, ann.ID, "x"))
}

// TestClaimSuperseded: a login that is overtaken starts over, three times at most.
func TestClaimSuperseded(t *testing.T) {
	for _, c := range []struct {
		overtaken int
		code      proto.Code
	}{{claimTries - 1, proto.CodeSuccess}, {claimTries, proto.CodeRepeatLogin}} {
		hooked := &hookedStore{}
		w := newWorldWith(t, 1, testConfig(), hooked)
		ann := w.account("ann")
		claims := 0
		hooked.before = func(call string) error {
			if call != "Claim" {
				return nil
			}
			if claims++; claims <= c.overtaken {
				seen := w.record(ann.ID).Generation
				place := store.Place{Host: "10.9.9.9", CIMPort: 1, HTTPPort: 1, Epoch: 99}
				_, err := hooked.Memory.Claim(t.Context(), ann.ID, place, seen)
				return err
			}
			return nil
		}
		w.want(c.code, proto.PathLogin, loginRequest(ann, ""))
		w.stop()
	}
}

// TestClaimFails: the store's failure is 4000.
func TestClaimFails(t *testing.T) {
	hooked := &hookedStore{before: func(call string) error {
		if call == "Claim" {
			return errors.New("no")
		}
		return nil
	}}
	w := newWorldWith(t, 1, testConfig(), hooked)
	ann := w.account("ann")
	w.want(proto.CodeFailure, proto.PathLogin, loginRequest(ann, ""))
}

// TestLoginsAtOnce: of many logins of one user at one moment, at servers in
// turn, one stands when all are answered: the grant that the record names.
func TestLoginsAtOnce(t *testing.T) {
	config := testConfig()
	config.ServerChoice = ChoiceRoundRobin
	w := newWorldWith(t, 3, config, &hookedStore{})
	ann := w.account("ann")
	for range 20 {
		w.loginsAtOnce(ann, 8)
		record := w.record(ann.ID)
		for epoch, f := range w.servers {
			s, granted := f.session(ann.ID)
			if here := record.Place.Epoch == epoch; granted != here || here && s.generation != record.Generation {
				t.Fatalf("record %+v, server %d has %+v", record, epoch, s)
			}
		}
	}
}

func (w *world) loginsAtOnce(user proto.User, logins int) {
	codes := make(chan proto.Number, logins)
	for range logins {
		go func() {
			_, a, err := w.try(http.MethodPost, proto.PathLogin, loginRequest(user, ""))
			if err != nil {
				w.t.Error(err)
			}
			codes <- a.Code
		}()
	}
	for range logins {
		code := <-codes
		if code != proto.Number(proto.CodeSuccess) && code != proto.Number(proto.CodeRepeatLogin) {
			w.t.Errorf("code %d", code)
		}
	}
}

// TestLoginOvertaken: a login whose claim was superseded between its claim and its grant takes its
// grant back; a login that finds an older grant behind its claim ends that.
func TestLoginOvertaken(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.account("ann")
	overtaken := false
	w.servers[1].follow(func(r *proto.Record) (*proto.Record, bool) {
		if r.Kind == proto.RecordGrant && !overtaken {
			overtaken = true
			place := store.Place{Host: "10.9.9.9", CIMPort: 1, HTTPPort: 1, Epoch: 99}
			if _, err := w.store.Memory.Claim(t.Context(), ann.ID, place, r.Generation); err != nil {
				t.Error(err)
			}
		}
		return nil, false
	})
	w.login(ann, "")
	s, _ := w.servers[1].session(ann.ID)
	if record := w.record(ann.ID); record.Generation != s.generation || s.generation < 3 {
		t.Errorf("record %+v, grant %+v", record, s)
	}
	revokes := w.servers[1].records(proto.RecordRevoke)
	if len(revokes) != 1 || revokes[0].Generation != 1 {
		t.Errorf("revokes %+v, want one of generation 1", revokes)
	}
}

// TestGrantStale: a server that has a newer login of the user makes this one
// look again, at most three times.
func TestGrantStale(t *testing.T) {
	for _, c := range []struct {
		stale int
		code  proto.Code
	}{{claimTries - 1, proto.CodeSuccess}, {claimTries, proto.CodeRepeatLogin}} {
		w := newWorld(t, 1)
		ann := w.account("ann")
		grants := 0
		w.servers[1].follow(func(r *proto.Record) (*proto.Record, bool) {
			if r.Kind == proto.RecordGrant {
				grants++
			}
			return &proto.Record{Verdict: proto.VerdictStale}, r.Kind == proto.RecordGrant && grants <= c.stale
		})
		w.want(c.code, proto.PathLogin, loginRequest(ann, ""))
		if left := w.record(ann.ID) != (store.Record{}); left != (c.code == proto.CodeSuccess) {
			t.Errorf("after code %d a record is left: %t", c.code, left)
		}
		w.stop()
	}
}

// TestLoginOvertakes: a grant that comes to its server only after the newer
// login has asked there is ended behind the newer claim, even if its client
// has connected by then.
func TestLoginOvertakes(t *testing.T) {
	for _, late := range []fakeSession{{}, {connected: true}, {connected: true, ours: true}} {
		hooked := &hookedStore{}
		w := newWorldWith(t, 2, testConfig(), hooked)
		ann := w.account("ann")
		other := w.route.choice.order(w.route.cluster.servers(), ann.ID)[1]
		first, err := hooked.Memory.Claim(t.Context(), ann.ID, other.place, 0)
		if err != nil {
			t.Fatal(err)
		}
		hooked.before = func(call string) error {
			if call == "Claim" {
				late.generation = first
				f := w.servers[other.member.Epoch]
				f.mu.Lock()
				defer f.mu.Unlock()
				f.sessions[ann.ID] = &late
			}
			return nil
		}
		w.login(ann, "")
		if s, found := w.servers[other.member.Epoch].session(ann.ID); found {
			t.Errorf("the older login still stands: %+v", s)
		}
		if got := w.record(ann.ID).Generation; got <= first {
			t.Errorf("generation %d, want above %d", got, first)
		}
		w.stop()
	}
}
