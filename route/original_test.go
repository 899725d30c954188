package route

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"

	"cim/proto"
	"cim/store"
)

// TestOriginalPush sends to a user on a server of the original, as the contract
// has it; what is not handed over is stored, in the original's form.
func TestOriginalPush(t *testing.T) {
	w := newBesideWorld(t, 1)
	ann, bob := w.account("ann"), w.account("bob")
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "alone"))
	if texts := w.beside.asideTexts(); len(texts) != 0 {
		t.Errorf("%q are in the original's form, and nobody reads it", texts)
	}
	o := w.old()
	w.beside.at(bob, o.place)
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "<one>"))
	w.want(proto.CodeSuccess, proto.PathPrivate, fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"batchMsg":["2","3"]}`, ann.ID, bob.ID))
	w.wantTook(o, bob, "MESSAGE <one>", "MESSAGE 2", "MESSAGE 3")
	properties := map[string]string{"sendUserId": fmt.Sprint(ann.ID), "sendUserName": "ann", "receiveUserId": fmt.Sprint(bob.ID)}
	if got := o.bodies[0].Properties; !maps.Equal(got, properties) {
		t.Errorf("properties %v, want %v", got, properties)
	}
	for name, answer := range map[string]func(w http.ResponseWriter, _ proto.SendMsgRequest){
		"HTTP 500": func(w http.ResponseWriter, _ proto.SendMsgRequest) {
			w.WriteHeader(http.StatusInternalServerError)
			io.WriteString(w, `{"code":"9000"}`)
		},
		"a code":  func(w http.ResponseWriter, _ proto.SendMsgRequest) { io.WriteString(w, `{"code":"7000"}`) },
		"no JSON": func(w http.ResponseWriter, _ proto.SendMsgRequest) { io.WriteString(w, "OK") },
	} {
		o.answers(answer)
		w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, bob.ID, name))
		if texts := w.beside.asideTexts(); !slices.Contains(texts, name) {
			t.Errorf("%s: stored in the original's form: %q", name, texts)
		}
	}
	w.gone(o)
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "gone"))
	if texts := w.beside.asideTexts(); slices.Contains(texts, "gone") {
		t.Error("stored in the original's form with no process of it there")
	}
}

// TestOriginalForm stores in the original's form where a server of ours serves
// its routes.
func TestOriginalForm(t *testing.T) {
	w := newBesideWorld(t, 0)
	defer w.stop() // before the server's end is waited for
	w.servers[7] = newFakeServer(t, "10.0.0.7:11211:8081", 7)
	w.servers[7].member.Original = true
	w.register(7)
	w.eventually("link up", func() bool { return len(w.route.cluster.servers().linked()) == 1 })
	ann, bob := w.account("ann"), w.account("bob")
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "text"))
	if texts := w.beside.asideTexts(); !slices.Equal(texts, []string{"text"}) {
		t.Errorf("in the original's form: %q", texts)
	}
}

// TestUngrantedSession sends to a session that a route of the original has let
// in at a server of ours: live at once, and what is stored when its client had
// the time to ask that route.
func TestUngrantedSession(t *testing.T) {
	w := newBesideWorld(t, 1)
	w.old()
	ann, bob := w.account("ann"), w.account("bob")
	home := w.servers[1]
	w.beside.at(bob, w.route.cluster.server(1).place)
	w.put(ann, bob.ID, "stored")
	home.put(bob.ID, fakeSession{})
	home.connect(bob.ID, false)
	w.eventually("not held", func() bool { s, _ := home.session(bob.ID); return !s.held })
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "live"))
	if got := home.texts(bob.ID); !slices.Equal(got, []string{"live"}) {
		t.Errorf("he got %q", got)
	}
	w.eventually("a catch-up waits", func() bool { return w.route.lazies.waiting.Load() == 1 }) // begun behind the resume
	w.want(proto.CodeSuccess, proto.PathFetchOffline, fmt.Sprintf(`{"receiveUserId":%d}`, bob.ID))
	if got := home.texts(bob.ID); !slices.Equal(got, []string{"live", "stored"}) {
		t.Errorf("he got %q", got)
	}
	again := catchup{session: session{bob.ID, 0, w.route.cluster.server(1)}, lazy: true}
	if joined := again.join(catchup{session: again.session}); joined.lazy {
		t.Error("a catch-up that somebody asked for waits for another route")
	}
}

// TestOriginalGroup brings group messages to users of both kinds: those that
// wait together share a scan, and come in order.
func TestOriginalGroup(t *testing.T) {
	w := newBesideWorld(t, 1)
	ann, bob, cem, eve, lost := w.account("ann"), w.online("bob", false), w.account("cem"), w.account("eve"), w.account("lost")
	o, other := w.old(), w.old()
	w.beside.at(ann, o.place)
	w.beside.at(cem, o.place)
	w.beside.at(eve, other.place)
	w.beside.at(lost, store.Place{Host: "10.9.9.9", CIMPort: 1, HTTPPort: 2})
	w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ann.ID, "first"))
	gate := make(chan struct{})
	w.beside.mu.Lock()
	w.beside.scanning = gate
	w.beside.mu.Unlock()
	const messages = 10
	var all sync.WaitGroup
	for i := range messages {
		all.Go(func() {
			_, a, err := w.try(http.MethodPost, proto.PathGroup, groupRequest(ann.ID, fmt.Sprint(i)))
			if err != nil || a.Code != proto.Number(proto.CodeSuccess) {
				t.Errorf("code %d, %v", a.Code, err)
			}
		})
		w.eventually("it waits", func() bool {
			w.route.asides.mu.Lock()
			defer w.route.asides.mu.Unlock()
			return w.route.asides.taken == i+1
		})
		w.eventually("the first is scanned for", func() bool {
			w.route.asides.mu.Lock()
			defer w.route.asides.mu.Unlock()
			return len(w.route.asides.waiting) == i
		})
	}
	close(gate)
	all.Wait()
	want := []string{"MESSAGE first"}
	for i := range messages {
		want = append(want, "MESSAGE "+fmt.Sprint(i))
	}
	w.wantTook(o, cem, want...)
	w.wantTook(other, eve, want...)
	w.wantTook(o, ann)
	if got := w.servers[1].texts(bob.ID); len(got) != messages+1 {
		t.Errorf("bob got %q", got)
	}
	if w.beside.scans != 3 {
		t.Errorf("%d scans for %d messages, want 3", w.beside.scans, messages+1)
	}
}

// TestOriginalGroupAlone sends to servers of the original alone, whoever is
// there, and tells when nobody took it.
func TestOriginalGroupAlone(t *testing.T) {
	w := newBesideWorld(t, 0)
	o := w.old()
	ann, bob := w.account("ann"), w.account("bob")
	if err := w.route.Ready(); err != nil {
		t.Errorf("not ready beside a server of the original: %v", err)
	}
	w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ann.ID, "nobody"))
	w.beside.at(bob, o.place)
	w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ann.ID, "one"))
	w.wantTook(o, bob, "MESSAGE one")
	o.answers(func(w http.ResponseWriter, _ proto.SendMsgRequest) { w.WriteHeader(http.StatusInternalServerError) })
	w.want(proto.CodeFailure, proto.PathGroup, groupRequest(ann.ID, "none"))
	if got := w.counter("cim_route_original_deliveries_lost_total"); got != "1" {
		t.Errorf("%s deliveries are lost, want 1", got)
	}
	w.gone(o)
	w.want(proto.CodeNoServer, proto.PathGroup, groupRequest(ann.ID, "gone"))
}

// TestAsidesBound fills the places of waiting group messages, and one more.
func TestAsidesBound(t *testing.T) {
	w := newBesideWorld(t, 1)
	ann, bob := w.account("ann"), w.online("bob", false)
	w.old()
	as := w.route.asides
	for i := range asidesMax {
		if !as.reserve() {
			t.Fatalf("place %d is refused", i)
		}
	}
	w.want(proto.CodeLimit, proto.PathGroup, groupRequest(ann.ID, "one more"))
	if got := w.servers[1].texts(bob.ID); len(got) != 0 {
		t.Errorf("a part was sent of what was refused: %q", got)
	}
	as.unreserve()
	w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ann.ID, "room"))
	for range asidesMax - 1 {
		as.unreserve()
	}
	if as.taken != 0 {
		t.Errorf("%d places are taken", as.taken)
	}
}

// TestOriginalFetch sends what is stored to a user on a server of the original:
// a hundred texts of one sender at a time, each once. What fails stays.
func TestOriginalFetch(t *testing.T) {
	w := newBesideWorld(t, 0)
	o := w.old()
	ann, bob, cem := w.account("ann"), w.account("bob"), w.account("cem")
	fetch := fmt.Sprintf(`{"receiveUserId":%d}`, bob.ID)
	w.want(proto.CodeOffline, proto.PathFetchOffline, fetch)
	w.beside.at(bob, o.place)
	var want []string
	put := func(sender proto.User, n int) {
		for range n {
			text := fmt.Sprint(len(want))
			w.put(sender, bob.ID, text)
			want = append(want, "OFFLINE "+text)
		}
	}
	put(ann, proto.OfflineBatchMax+1)
	put(cem, 2)
	put(ann, 1)
	w.want(proto.CodeSuccess, proto.PathFetchOffline, fetch)
	w.wantTook(o, bob, want...)
	var sizes []int
	for _, body := range o.bodies {
		sizes = append(sizes, max(1, len(body.BatchMsg)))
	}
	if !slices.Equal(sizes, []int{proto.OfflineBatchMax, 1, 2, 1}) {
		t.Errorf("frames of %v texts", sizes)
	}
	if left := w.boxed(bob.ID); len(left) != 0 {
		t.Errorf("%d texts are left", len(left))
	}
	o.answers(func(w http.ResponseWriter, _ proto.SendMsgRequest) { w.WriteHeader(http.StatusInternalServerError) })
	w.put(ann, bob.ID, "stays")
	w.want(proto.CodeOfflineFetch, proto.PathFetchOffline, fetch)
	if left := w.boxed(bob.ID); !slices.Equal(left, []string{"stays"}) {
		t.Errorf("left: %q", left)
	}
	o.answers(nil)
	w.want(proto.CodeSuccess, proto.PathFetchOffline, fetch)
	if got := o.took(bob); got[len(got)-1] != "OFFLINE stays" || len(w.boxed(bob.ID)) != 0 {
		t.Errorf("he got %q", got[len(want):])
	}
}

// TestOriginalOnline lists users on live servers of the original.
func TestOriginalOnline(t *testing.T) {
	w := newBesideWorld(t, 1)
	w.online("ann", false)
	o := w.old()
	bob, lost := w.account("bob"), w.account("lost")
	w.beside.at(bob, o.place)
	w.beside.at(lost, store.Place{Host: "10.9.9.9", CIMPort: 1, HTTPPort: 2})
	_, a := w.request(http.MethodGet, proto.PathOnlineUser, "")
	var users []proto.UserBody
	if err := json.Unmarshal(a.DataBody, &users); err != nil || len(users) != 2 {
		t.Errorf("online: %+v, %v", users, err)
	}
}

// TestAsidesEnd: a message to everybody that still waits when the route ends is lost,
// and who waits for it is told.
func TestAsidesEnd(t *testing.T) {
	as := newAsides(nil)
	if !as.reserve() {
		t.Fatal("no place")
	}
	a := as.start(message{})
	<-as.kick
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	as.run(ctx)
	select {
	case <-a.ended:
	default:
		t.Error("it has not ended")
	}
	if lost := a.lost.Load(); lost != 1 || as.taken != 0 {
		t.Errorf("%d lost, %d places taken, want 1 and 0", lost, as.taken)
	}
}
