package proto

import (
	"math"
	"strings"
	"testing"
)

var namedMember = Member{Host: "10.0.0.7", CIMPort: 11211, HTTPPort: 8081}

// TestMemberData writes the bytes that other versions parse, and parses them back.
func TestMemberData(t *testing.T) {
	m := namedMember
	m.Epoch, m.Link, m.Version = math.MaxUint64, "10.0.0.7:9000", 1
	data, err := AppendMemberData([]byte("x"), m)
	if err != nil {
		t.Fatal(err)
	}
	const want = `x{"epoch":"18446744073709551615","link":"10.0.0.7:9000","version":1}`
	if string(data) != want {
		t.Errorf("wrote %s, want %s", data, want)
	}
	if got, err := ParseMemberData(namedMember, data[1:]); err != nil || got != m {
		t.Errorf("read %+v, %v, want %+v", got, err, m)
	}
}

// TestMemberDataOfOthers parses data that is not ours: the name stays, and the
// epoch is 0 unless it is valid.
func TestMemberDataOfOthers(t *testing.T) {
	for name, test := range map[string]struct {
		data  string
		epoch Epoch
		fault bool
	}{
		"none":           {"", 0, false},
		"a later one":    {`{"epoch":"7","zone":{"a":[1]},"version":2}`, 7, false},
		"empty":          {`{}`, 0, false},
		"a word":         {`10.0.0.7`, 0, true},
		"null":           {`null`, 0, true},
		"an array":       {`["epoch"]`, 0, true},
		"half":           {`{"epoch":"7"`, 0, true},
		"a bare epoch":   {`{"epoch":7}`, 0, true},
		"not an epoch":   {`{"epoch":"-1"}`, 0, true},
		"twice":          {`{"epoch":"7","epoch":"8"}`, 0, true},
		"Java's stream":  {"\xac\xed\x00\x05p", 0, true},
		"largest":        {`{"epoch":"7"}` + strings.Repeat(" ", MemberDataMax-13), 7, false},
		"one byte over":  {`{"epoch":"7"}` + strings.Repeat(" ", MemberDataMax-12), 0, true},
		"half, then bad": {`{"epoch":"7","link":5}`, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseMemberData(namedMember, []byte(test.data))
			if (err != nil) != test.fault {
				t.Errorf("error %v, want one: %t", err, test.fault)
			}
			if got.Epoch != test.epoch || got.Name() != namedMember.Name() {
				t.Errorf("read %+v, want epoch %d", got, test.epoch)
			}
		})
	}
}

// TestMemberDataBound writes up to the bound, and no byte more.
func TestMemberDataBound(t *testing.T) {
	m := namedMember
	empty, err := AppendMemberData(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	spare := MemberDataMax - len(empty) - len(`"link":"",`)
	m.Link = strings.Repeat("h", spare)
	if data, err := AppendMemberData(nil, m); err != nil || len(data) != MemberDataMax {
		t.Errorf("at the bound: %d bytes, %v", len(data), err)
	}
	m.Link += "h"
	if data, err := AppendMemberData(nil, m); err == nil || len(data) != 0 {
		t.Errorf("past the bound: %d bytes, %v", len(data), err)
	}
}

// FuzzMemberData parses anything. Accepted data is written, if it fits, and parsed
// with the same result.
func FuzzMemberData(f *testing.F) {
	f.Add([]byte(`{"epoch":"7","link":"10.0.0.7:9000","version":1}`))
	f.Add([]byte(`{"epoch":7}`))
	f.Add([]byte("\xac\xed\x00\x05p"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMemberData(namedMember, data)
		if m.Name() != namedMember.Name() {
			t.Fatalf("the name became %s", m.Name())
		}
		if err != nil {
			if m != namedMember {
				t.Fatalf("refused with %+v", m)
			}
			return
		}
		written, err := AppendMemberData(nil, m)
		if err != nil {
			return // escapes can make it longer than it was
		}
		if again, err := ParseMemberData(namedMember, written); err != nil || again != m {
			t.Fatalf("%s read as %+v, %v, was %+v", written, again, err, m)
		}
	})
}
