package route

import (
	"fmt"
	"testing"

	"cim/proto"
	"cim/route/access"
)

// TestLoginAddress: the rule in a grant for where a client without a ticket must connect from.
func TestLoginAddress(t *testing.T) {
	for _, c := range []struct {
		address LoginAddress
		mode    access.Mode
		want    proto.AddressRule
	}{
		{LoginAddressAuto, access.Off, proto.AddressAuto},
		{LoginAddressAuto, access.Check, proto.AddressAuto},
		{LoginAddressAuto, access.Require, proto.AddressSame},
		{LoginAddressSame, access.Off, proto.AddressSame},
		{LoginAddressAny, access.Off, proto.AddressAny},
		{LoginAddressAny, access.Require, proto.AddressAny},
	} {
		config := testConfig()
		config.LoginAddress, config.Access.Mode = c.address, c.mode
		if got := config.addressRule(); got != c.want {
			t.Errorf("%s with auth %s: rule %d, want %d", c.address, c.mode, got, c.want)
		}
	}
	config := testConfig()
	config.LoginAddress = LoginAddressSame
	w := newWorldWith(t, 1, config, &hookedStore{})
	ann := w.account("ann")
	w.login(ann, "")
	if got := w.granted(ann.ID); len(got) != 1 || got[0].Rule != proto.AddressSame {
		t.Errorf("granted %+v, want one of rule %d", got, proto.AddressSame)
	}
}

// TestGoodbyeSparesPendingLogin: a server that spares a login whose client is on the way keeps
// its record too, whatever the goodbye says.
func TestGoodbyeSparesPendingLogin(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.account("ann")
	w.login(ann, ourClient)
	record := w.record(ann.ID)
	for msg, mode := range map[string]proto.RevokeMode{proto.GoodbyeMsg: proto.RevokeGoodbye, "x": proto.RevokeGone} {
		asked := proto.RevokeMode(99)
		w.servers[1].follow(func(r *proto.Record) (*proto.Record, bool) {
			if r.Kind != proto.RecordRevoke {
				return nil, false
			}
			asked = proto.RevokeMode(r.Value)
			return &proto.Record{Verdict: proto.VerdictLives}, true
		})
		w.want(proto.CodeSuccess, proto.PathOffLine, fmt.Sprintf(`{"userId":%d,"msg":%q}`, ann.ID, msg))
		if asked != mode || w.record(ann.ID) != record {
			t.Errorf("msg %q: asked with mode %d, record %+v, want mode %d and %+v", msg, asked, w.record(ann.ID), mode, record)
		}
	}
}
