package route

import (
	"context"
	"fmt"
	"testing"

	"cim/proto"
	"cim/store"
)

// member is the route's state of the server with this name, if there is one.
func (w *world) member(name string) MemberState {
	for _, m := range w.route.State().Members {
		if m.Name == name {
			return m
		}
	}
	return MemberState{}
}

// wantMember waits until the server is what state says.
func (w *world) wantMember(name, state string) MemberState {
	w.t.Helper()
	w.eventually(name+" is "+state, func() bool { return w.member(name).State == state })
	return w.member(name)
}

// TestMemberStates checks the state of each member.
func TestMemberStates(t *testing.T) {
	w := newWorld(t, 3)
	defer w.stop() // before the ends of servers that come later are waited for
	for i, change := range []func(*proto.Member){
		func(m *proto.Member) { m.Guest = "guest" },
		func(m *proto.Member) { m.Version = proto.LinkVersion + 1 },
	} {
		epoch := proto.Epoch(10 + i)
		f := newFakeServer(t, fmt.Sprintf("10.0.1.%d:1:1", i), epoch)
		change(&f.member)
		w.servers[epoch] = f
	}
	w.register(10) // when all stand in the table that dials read
	w.register(11)
	if m := w.wantMember("10.0.1.0:1:1", "guest"); m.Epoch != 0 || m.UnlinkedSeconds != 0 {
		t.Errorf("a guest: %+v", m)
	}
	if m := w.wantMember("10.0.1.1:1:1", MemberVersion); m.Version != proto.LinkVersion+1 {
		t.Errorf("of another version: %+v", m)
	}
	one := w.servers[1].member.Name()
	if m := w.wantMember(one, MemberLinked); m.Epoch != 1 || m.UnlinkedSeconds != 0 || m.Asks != 0 || m.Broadcasts != 0 {
		t.Errorf("linked: %+v", m)
	}
	w.servers[1].stop()
	w.wantMember(one, MemberSuspect)
	w.servers[1].goOn()
	w.wantMember(one, MemberLinked)

	two := w.servers[2]
	two.mu.Lock()
	two.sendToAll(&proto.Record{Kind: proto.RecordLeaving})
	two.mu.Unlock()
	w.wantMember(two.member.Name(), MemberLeaving)

	three := w.servers[3]
	if err := w.registry.Deregister(context.Background(), three.member); err != nil {
		t.Fatal(err)
	}
	w.wantMember(three.member.Name(), MemberVanished)

	w.servers[1].unreachable.Store(true)
	w.servers[1].cut()
	w.eventually("it is down", func() bool { m := w.member(one); return m.State == MemberUnlinked && m.UnlinkedSeconds > 0 })
	if n := len(w.route.State().Members); n != 5 {
		t.Errorf("%d members, want 5", n)
	}
}

// TestState counts what the route was asked and what its store could not do.
func TestState(t *testing.T) {
	w := newWorld(t, 1)
	ann, bob := w.online("ann", true), w.account("bob")
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "x"))
	w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ann.ID, "x"))
	w.want(proto.CodeInvalid, proto.PathGroup, `{}`)
	w.store.before = func(call string) error {
		if call == "Append" {
			return store.ErrAway
		}
		return nil
	}
	w.want(proto.CodeFailure, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "x"))
	s := w.route.State()
	if s.Address != w.route.Addr() || s.Draining || s.Logins != 1 || s.Messages != 4 || s.Stored != 1 || s.Requests < 7 || s.Requests > 9 {
		t.Errorf("%+v", s)
	}
	if s.StoreFaults["away"] != 1 || len(s.StoreFaults) != 1 {
		t.Errorf("store faults %v", s.StoreFaults)
	}
}
