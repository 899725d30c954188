package compat

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"

	"cim/proto"
	"cim/route"
	"cim/store"
)

// TestOriginalPush sends to a user on a server of the original, as the contract
// has it; what is not handed over is stored, in the original's form.
func TestOriginalPush(t *testing.T) {
	w := newWorld(t, 1)
	ann, bob := w.account("ann"), w.account("bob")
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "alone"))
	if texts := w.store.asideTexts(); len(texts) != 0 {
		t.Errorf("%q are in the original's form, and nobody reads it", texts)
	}
	o := w.old()
	w.store.at(bob, o.place)
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
		if texts := w.store.asideTexts(); !slices.Contains(texts, name) {
			t.Errorf("%s: stored in the original's form: %q", name, texts)
		}
	}
	w.gone(o)
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "gone"))
	if texts := w.store.asideTexts(); slices.Contains(texts, "gone") {
		t.Error("stored in the original's form with no process of it there")
	}
}

// TestOriginalForm stores in the original's form where a server of ours serves
// its routes.
func TestOriginalForm(t *testing.T) {
	w := newWorld(t, 0)
	defer w.stop() // before the server's end is waited for
	w.add(7, "10.0.0.7:11211:8081", func(m *proto.Member) { m.Original = true })
	w.eventually("link up", func() bool { return w.in(route.MemberLinked) == 1 })
	ann, bob := w.account("ann"), w.account("bob")
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "text"))
	if texts := w.store.asideTexts(); !slices.Equal(texts, []string{"text"}) {
		t.Errorf("in the original's form: %q", texts)
	}
}

// TestUngrantedSession sends to a session that a route of the original has let
// in at a server of ours: live at once, and what is stored when its client had
// the time to ask that route.
func TestUngrantedSession(t *testing.T) {
	w := newWorld(t, 1)
	w.old()
	ann, bob := w.account("ann"), w.account("bob")
	home := w.servers[1]
	w.store.at(bob, w.home(1))
	w.put(ann, bob.ID, "stored")
	home.put(bob.ID, fakeSession{})
	home.connect(bob.ID)
	w.eventually("not held", func() bool { return !home.session(bob.ID).held })
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "live"))
	if got := home.texts(bob.ID); !slices.Equal(got, []string{"live"}) {
		t.Errorf("he got %q", got)
	}
	w.want(proto.CodeSuccess, proto.PathFetchOffline, fmt.Sprintf(`{"receiveUserId":%d}`, bob.ID))
	if got := home.texts(bob.ID); !slices.Equal(got, []string{"live", "stored"}) {
		t.Errorf("he got %q", got)
	}
}

// TestOriginalGroup brings group messages to users of both kinds: those that
// wait together share a scan, and come in order.
func TestOriginalGroup(t *testing.T) {
	w := newWorld(t, 1)
	ann, bob, cem, eve, lost := w.account("ann"), w.online("bob"), w.account("cem"), w.account("eve"), w.account("lost")
	o, other := w.old(), w.old()
	w.store.at(ann, o.place)
	w.store.at(cem, o.place)
	w.store.at(eve, other.place)
	w.store.at(lost, store.Place{Host: "10.9.9.9", CIMPort: 1, HTTPPort: 2})
	w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ann.ID, "first"))
	gate := make(chan struct{})
	w.store.mu.Lock()
	w.store.scanning = gate
	w.store.mu.Unlock()
	const messages = 10
	var all sync.WaitGroup
	for i := range messages {
		all.Go(func() {
			a, err := w.try(proto.PathGroup, groupRequest(ann.ID, fmt.Sprint(i)))
			if err != nil || a.Code != proto.Number(proto.CodeSuccess) {
				t.Errorf("code %d, %v", a.Code, err)
			}
		})
		w.eventually("it waits, and the first is scanned for", func() bool {
			scans := w.adapter.scans
			scans.mu.Lock()
			defer scans.mu.Unlock()
			return int(scans.count) == i+2 && scans.running != nil
		})
	}
	close(gate)
	all.Wait()
	want := []string{"MESSAGE first"}
	for i := range messages {
		want = append(want, "MESSAGE "+fmt.Sprint(i))
	}
	w.eventually("all have come", func() bool { return len(o.took(cem)) == len(want) && len(other.took(eve)) == len(want) })
	w.wantTook(o, cem, want...)
	w.wantTook(other, eve, want...)
	w.wantTook(o, ann)
	if got := w.servers[1].texts(bob.ID); len(got) != messages+1 {
		t.Errorf("bob got %q", got)
	}
	if w.store.scans != 3 {
		t.Errorf("%d scans for %d messages, want 3", w.store.scans, messages+1)
	}
}

// TestOriginalGroupAlone sends to servers of the original alone, whoever is
// there, and tells when nobody took it.
func TestOriginalGroupAlone(t *testing.T) {
	w := newWorld(t, 0)
	o := w.old()
	ann, bob := w.account("ann"), w.account("bob")
	if err := w.route.Ready(); err != nil {
		t.Errorf("not ready beside a server of the original: %v", err)
	}
	w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ann.ID, "nobody"))
	w.store.at(bob, o.place)
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

// TestOriginalFetch sends what is stored to a user on a server of the original:
// a hundred texts of one sender at a time, each once. What fails stays.
func TestOriginalFetch(t *testing.T) {
	w := newWorld(t, 0)
	o := w.old()
	ann, bob, cem := w.account("ann"), w.account("bob"), w.account("cem")
	fetch := fmt.Sprintf(`{"receiveUserId":%d}`, bob.ID)
	w.want(proto.CodeOffline, proto.PathFetchOffline, fetch)
	w.store.at(bob, o.place)
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
	w := newWorld(t, 1)
	w.online("ann")
	o := w.old()
	bob, lost := w.account("bob"), w.account("lost")
	w.store.at(bob, o.place)
	w.store.at(lost, store.Place{Host: "10.9.9.9", CIMPort: 1, HTTPPort: 2})
	a := w.want(proto.CodeSuccess, proto.PathOnlineUser, "")
	var users []proto.UserBody
	if err := json.Unmarshal(a.DataBody, &users); err != nil || len(users) != 2 {
		t.Errorf("online: %+v, %v", users, err)
	}
}
