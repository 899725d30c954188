package main

import (
	"net/netip"
	"testing"
)

// TestPrefixes reads lists of addresses and prefixes, and shows them as they
// were meant.
func TestPrefixes(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "",
		"10.0.0.7":                            "10.0.0.7",
		" 10.0.0.7 , ,10.1.0.0/16":            "10.0.0.7,10.1.0.0/16",
		"2001:db8::1,2001:db8:1::/48":         "2001:db8::1,2001:db8:1::/48",
		"::ffff:10.0.0.7,::ffff:10.1.0.0/112": "10.0.0.7,10.1.0.0/16",
		"0.0.0.0/0,::/0":                      "0.0.0.0/0,::/0",
	} {
		var list []netip.Prefix
		if err := (prefixes{&list}).Set(text); err != nil || (prefixes{&list}).String() != want {
			t.Errorf("%q: %v, shown as %q, want %q", text, err, prefixes{&list}, want)
		}
	}
	for _, text := range []string{"localhost", "10.0.0", "10.0.0.7/33", "10.0.0.7/24", "fe80::1%eth0", "10.0.0.7;10.0.0.8", "::ffff:10.0.0.0/64"} {
		var list []netip.Prefix
		if err := (prefixes{&list}).Set(text); err == nil || list != nil {
			t.Errorf("%q: taken as %v", text, list)
		}
	}
}
