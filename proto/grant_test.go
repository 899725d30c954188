package proto

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
)

// TestGrant writes the bytes that other releases parse, and parses them back.
func TestGrant(t *testing.T) {
	ticket := Ticket{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	const ticketHex = "0102030405060708090a0b0c0d0e0f10"
	for name, c := range map[string]struct {
		grant Grant
		want  string
	}{
		"all":    {Grant{ticket, netip.MustParseAddr("203.0.113.7"), 0x0102, AddressAny}, "00000000000000000000ffffcb007107" + "0201000000000000" + "02"},
		"IPv6":   {Grant{ticket, netip.MustParseAddr("2001:db8::7"), 0, AddressSame}, "20010db8000000000000000000000007" + "0000000000000000" + "01"},
		"ticket": {Grant{Ticket: ticket}, strings.Repeat("00", 25)},
	} {
		body := AppendGrant([]byte("x"), c.grant)
		if got := hex.EncodeToString(body[1:]); got != ticketHex+c.want {
			t.Errorf("%s: wrote %s, want %s", name, got, ticketHex+c.want)
		}
		if got, ok := ParseGrant(body[1:]); !ok || got != c.grant {
			t.Errorf("%s: read %+v, %v, want %+v", name, got, ok, c.grant)
		}
	}
	long := AppendGrant(nil, Grant{Ticket: ticket, LifetimeMillis: 1 << 60})
	if got, ok := ParseGrant(long); !ok || got != (Grant{Ticket: ticket, LifetimeMillis: LifetimeMillisMax}) {
		t.Errorf("read %+v, %v, want the longest lifetime", got, ok)
	}
	if _, ok := ParseGrant(AppendGrant(nil, Grant{Rule: AddressAny + 1})); ok {
		t.Error("a rule that is not known is taken")
	}
	if got, want := JoinedTicket(ticket, 0x1122334455667788).String(), ticketHex[:16]+"1122334455667788"; got != want {
		t.Errorf("the ticket of a login that joined is %s, want %s", got, want)
	}
	for _, size := range []int{0, TicketSize, grantSize - 1, grantSize + 1} {
		if _, ok := ParseGrant(make([]byte, size)); ok {
			t.Errorf("%d bytes are taken for a grant", size)
		}
	}
}

// FuzzGrant: an accepted grant is written as the same bytes, except values out of
// bounds.
func FuzzGrant(f *testing.F) {
	f.Add(make([]byte, TicketSize))
	f.Add(AppendGrant(nil, Grant{From: netip.MustParseAddr("203.0.113.7"), LifetimeMillis: 5}))
	f.Fuzz(func(t *testing.T, body []byte) {
		g, ok := ParseGrant(body)
		if !ok {
			return
		}
		again, ok := ParseGrant(AppendGrant(nil, g))
		if !ok || again != g {
			t.Fatalf("%x: %+v, then %+v", body, g, again)
		}
	})
}
