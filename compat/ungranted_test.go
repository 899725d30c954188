package compat

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

// TestOriginalLogin logs in at servers of both kinds, at none that does not
// answer, and not twice.
func TestOriginalLogin(t *testing.T) {
	w := newWorld(t, 1)
	olds := []*oldServer{w.old(), w.old()}
	at := map[string]int{}
	for i := range 40 {
		user := w.account(fmt.Sprint("user", i))
		body := w.login(user, ourClient)
		name := fmt.Sprintf("%s:%d:%d", body.IP, body.CIMServerPort, body.HTTPPort)
		theirs := name != w.servers[1].member.Name()
		if theirs != (body.Ticket == "") {
			t.Errorf("%s is sent to %s with ticket %q", user.Name, name, body.Ticket)
		}
		at[name]++
		if place, old := w.store.place(user); old != theirs || old && placeName(place) != name {
			t.Errorf("%s has the record %+v", user.Name, place)
		}
		if theirs {
			w.want(proto.CodeRepeatLogin, proto.PathLogin, loginRequest(user, ""))
		}
	}
	if len(at) != 3 || olds[0].connects.Load() == 0 {
		t.Errorf("logins by server: %v", at)
	}
	for range 8 { // dead ones, each in front of some users
		w.old().cim.Close()
	}
	olds[0].cim.Close()
	w.gone(olds[1])
	for i := range 10 {
		user := w.account(fmt.Sprint("late", i))
		if body := w.login(user, ""); body.CIMServerPort == olds[0].member.CIMPort {
			t.Errorf("%s is sent to a server that does not answer", user.Name)
		}
	}
	w.remove(1)
	user := w.account("last")
	w.want(proto.CodeNoServer, proto.PathLogin, loginRequest(user, ""))
	if _, found := w.store.place(user); found {
		t.Error("a login that was refused has left a record")
	}
}

// TestOriginalRepeat judges a login by what stands already.
func TestOriginalRepeat(t *testing.T) {
	w := newWorld(t, 1)
	o := w.old()
	ann := w.account("ann")
	w.store.at(ann, o.place)
	w.want(proto.CodeRepeatLogin, proto.PathLogin, loginRequest(ann, ""))
	w.store.mu.Lock()
	delete(w.store.loggedIn, ann.ID)
	w.store.mu.Unlock()
	w.login(ann, "") // the record alone is nothing
	bob := w.account("bob")
	w.store.at(bob, store.Place{Host: "10.9.9.9", CIMPort: 1, HTTPPort: 2})
	w.login(bob, "") // that server is gone, and he with it
	cem := w.account("cem")
	w.store.mu.Lock()
	w.store.loggedIn[cem.ID] = true
	w.store.mu.Unlock()
	began := time.Now()
	w.login(cem, "") // a login that came to nothing
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("let in after %v: the other login may be under way", took)
	}
	eve := w.account("eve")
	w.store.at(eve, w.home(1))
	w.servers[1].put(eve.ID, fakeSession{connected: true})
	w.want(proto.CodeRepeatLogin, proto.PathLogin, loginRequest(eve, ""))
	w.servers[1].lose(eve.ID)
	w.login(eve, "")
}

// TestOriginalLoginUnknown cannot find out whether a user is logged in at a server of
// the original: that is a failure of the store, and no load.
func TestOriginalLoginUnknown(t *testing.T) {
	w := newWorld(t, 1)
	o := w.old()
	ann := w.account("ann")
	w.store.at(ann, o.place)
	w.store.setFault(store.ErrAway)
	w.want(proto.CodeFailure, proto.PathLogin, loginRequest(ann, ""))
	w.store.setFault(nil)
	w.want(proto.CodeRepeatLogin, proto.PathLogin, loginRequest(ann, ""))
}

// goodbyeRequest is /offLine with a msg.
func goodbyeRequest(user proto.User, msg string) string {
	return fmt.Sprintf(`{"userId":%d,"msg":%q}`, user.ID, msg)
}

// TestOriginalOffLine takes goodbyes of servers of the original: they end no
// session of ours.
func TestOriginalOffLine(t *testing.T) {
	w := newWorld(t, 1)
	o := w.old()
	ann, ungranted := w.account("ann"), w.account("ungranted")
	home := w.servers[1]
	for _, msg := range []string{"ann", proto.GoodbyeMsg} {
		w.store.at(ann, o.place)
		w.want(proto.CodeSuccess, proto.PathOffLine, goodbyeRequest(ann, msg))
		if _, found := w.store.place(ann); found || w.store.loggedIn[ann.ID] {
			t.Errorf("msg %q: the record on a server of the original stays", msg)
		}
	}
	w.store.loggedIn[ann.ID] = true
	w.want(proto.CodeSuccess, proto.PathOffLine, goodbyeRequest(ann, "ann"))
	if w.store.loggedIn[ann.ID] {
		t.Error("somebody without a record counts as logged in after his goodbye")
	}
	w.store.at(ungranted, w.home(1))
	home.put(ungranted.ID, fakeSession{connected: true})
	w.want(proto.CodeSuccess, proto.PathOffLine, goodbyeRequest(ungranted, "ungranted"))
	if _, found := w.store.place(ungranted); !found {
		t.Error("a server's goodbye has removed the record of a session that lives")
	}
	home.lose(ungranted.ID)
	w.want(proto.CodeSuccess, proto.PathOffLine, goodbyeRequest(ungranted, "ungranted"))
	if _, found := w.store.place(ungranted); found {
		t.Error("the record of no session stays")
	}
	w.gone(o)
	bob := w.online("bob")
	w.want(proto.CodeSuccess, proto.PathOffLine, goodbyeRequest(bob, "bob"))
	if record, _, err := w.store.Memory.Lookup(t.Context(), bob.ID, store.Fresh); err != nil || record.Generation == 0 {
		t.Error("a server's goodbye has removed the record of a session that lives")
	}
}

// TestUngrantedDown ends a session without a grant: its record goes, and none of
// another place.
func TestUngrantedDown(t *testing.T) {
	w := newWorld(t, 1)
	o := w.old()
	ann, bob := w.account("ann"), w.account("bob")
	home := w.servers[1]
	w.store.at(ann, w.home(1))
	w.store.at(bob, o.place)
	for _, user := range []proto.User{ann, bob} {
		home.tell(&proto.Record{Kind: proto.RecordDown, User: user.ID})
	}
	w.eventually("the record is gone", func() bool { _, found := w.store.place(ann); return !found })
	w.stop() // all that was told is done
	if _, found := w.store.place(bob); !found {
		t.Error("the record of another place is gone")
	}
}

// TestOriginalUnasked has a node without data of ours before a route that was not
// told of servers of the original: it gets no logins and no messages, and is
// logged once.
func TestOriginalUnasked(t *testing.T) {
	w := newWorldWith(t, 0, Config{})
	o := w.old()
	ann, bob := w.account("ann"), w.account("bob")
	w.want(proto.CodeNoServer, proto.PathLogin, loginRequest(ann, ""))
	w.want(proto.CodeNoServer, proto.PathGroup, groupRequest(ann.ID, "to all"))
	w.store.at(bob, o.place)
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "text"))
	if texts := w.store.asideTexts(); len(texts) != 0 {
		t.Errorf("%q are in the original's form", texts)
	}
	w.wantTook(o, bob)
	if n := o.connects.Load(); n != 0 {
		t.Errorf("%d connects to it", n)
	}
	if err := w.route.Ready(); err == nil || !strings.Contains(err.Error(), "--original") {
		t.Errorf("ready: %v, want word of --original", err)
	}
	w.old()
	w.eventually("both are passed by", func() bool { return w.counter("cim_route_members_passed_by") == "2" })
	w.stop()
	if n := strings.Count(w.log.String(), "without data of cim"); n != 2 {
		t.Errorf("%d lines for 2 members: %s", n, w.log)
	}
}

// TestOldestServer has a node of the original's 1.0.0: it is passed by at a route
// with --original too.
func TestOldestServer(t *testing.T) {
	w := newWorld(t, 0)
	for _, host := range []string{"ip-10.0.0.7", "ip-gateway"} {
		if err := w.registry.Register(t.Context(), proto.Member{Host: host, CIMPort: 1, HTTPPort: 2}); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("both are seen", func() bool { return w.in(Guest) == 1 })
	if _, there := w.member("ip-gateway:1:2"); !there || w.counter("cim_route_members_passed_by") != "1" {
		t.Errorf("the servers of the original: %+v, %s are passed by", w.route.State().Members, w.counter("cim_route_members_passed_by"))
	}
	w.stop()
	if log := w.log.String(); strings.Count(log, "version 1.0.0") != 1 || strings.Contains(log, "--original") {
		t.Errorf("the log: %s", log)
	}
}
