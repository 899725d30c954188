package main

import (
	"net/netip"
	"slices"
	"testing"

	"cim/loadgen"
)

// TestCounts takes k and M, and nothing that is no whole number from 1.
func TestCounts(t *testing.T) {
	for text, want := range map[string][]int{"1": {1}, "5k,1.5k,2M": {5000, 1500, 2_000_000}, "2147483.647k": {2147483647}} {
		var got []int
		if err := (counts{&got}).Set(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "0.5", "1.0005k", "k", "5K", ",", "NaNk", "Infk", "2147483.648k"} {
		if err := (counts{new([]int)}).Set(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	var rate int
	for text, want := range map[string]int{"2k/s": 2000, "7": 7, "0": 0, "0/s": 0} {
		if err := (perSecond{&rate}).Set(text); err != nil || rate != want {
			t.Errorf("%s: %d, %v", text, rate, err)
		}
	}
	if (perSecond{&rate}).Set("-1/s") == nil || (perSecond{&rate}).Set("/s") == nil {
		t.Error("no rate was taken")
	}
}

// TestAddressList expands ranges, and reads back what it has written.
func TestAddressList(t *testing.T) {
	var got []netip.Addr
	list := addressList{&got}
	if err := list.Set("10.0.0.255,127.0.0.8-10"); err != nil || list.String() != "10.0.0.255,127.0.0.8,127.0.0.9,127.0.0.10" {
		t.Errorf("%v, %v", got, err)
	}
	if err := list.Set("127.0.0.0-255"); err != nil || len(got) != sourcesMax {
		t.Errorf("%d, %v", len(got), err)
	}
	if err := list.Set(""); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"x", "::1", "127.0.0.1-", "127.0.0.9-8", "127.0.0.1-256", "127.0.0.1-127.0.0.2"} {
		if list.Set(text) == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// TestShares reads back what it has written, and refuses other texts.
func TestShares(t *testing.T) {
	var m loadgen.Mix
	if err := (shares{&m}).Set("private=9,group=1"); err != nil || m != (loadgen.Mix{Group: 1, Private: 9}) || (shares{&m}).String() != "group=1,private=9" {
		t.Errorf("%v, %v", m, err)
	}
	for _, text := range []string{"", "1,9", "group=x", "others=1"} {
		if (shares{&m}).Set(text) == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
