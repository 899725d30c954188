package proto

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// TestNewNames: a new name has no invisible characters, and none that look like
// another one; it may have letters and marks of any script.
func TestNewNames(t *testing.T) {
	for _, name := range []string{
		"ann", "é", "张三", "with space", "😀", "Ольга", "שלום", "नमस्ते", "e.e", "ﬁ", "한글", "ก็", "x\u0316", "ＡＢ",
	} {
		if err := CheckNewName(name); err != nil {
			t.Errorf("%+q: %v", name, err)
		}
	}
	for _, c := range []struct{ kind, characters string }{
		{"zero width", "\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e"},
		{"direction", "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"},
		{"invisible operators and deprecated format", "\u2061\u2062\u2063\u2064\u2065\u206a\u206f"},
		{"fillers", "\u115f\u1160\u3164\uffa0\u2800\u17b4\u17b5"},
		{"variation selectors", "\u180b\u180f\ufe00\ufe0f\U000e0100\U000e01ef"},
		{"joiner of graphemes", "\u034f"},
		{"tags", "\U000e0001\U000e0020\U000e007f"},
		{"annotations", "\ufff9\ufffb"},
		{"noncharacters", "\ufffe\uffff\U0001ffff\ufdd0\ufdef"},
		{"spaces", "\u00a0\u1680\u2002\u2007\u200a\u202f\u205f\u3000\u2028\u2029"},
		{"not in NFC", "\u212b\u212a\u0340\u0958"},
	} {
		for _, r := range c.characters {
			for _, name := range []string{"an" + string(r) + "n", string(r)} {
				err := CheckNewName(name)
				if err == nil {
					t.Errorf("%s: %+q may be a name", c.kind, name)
				} else if !strings.Contains(err.Error(), "userName") {
					t.Errorf("%s: %v names no member", c.kind, err)
				}
			}
		}
	}
	for _, name := range []string{"e\u0301", "\u0301", "\u0301a", "\u20dd", strings.Repeat("\u0301", 3)} {
		if CheckNewName(name) == nil {
			t.Errorf("%+q may be a name", name)
		}
	}
}

// TestNameSpellings: an account is looked up under each valid spelling of its name,
// first as it was typed.
func TestNameSpellings(t *testing.T) {
	for name, want := range map[string][]string{
		"ann":                         {"ann"},
		"\u00e9":                      {"\u00e9", "e\u0301"},
		"e\u0301":                     {"e\u0301", "\u00e9"},
		"ann\u200b":                   {"ann\u200b"},
		strings.Repeat("e\u0301", 64): {strings.Repeat("\u00e9", 64)},
		strings.Repeat("\u00e9", 64):  {strings.Repeat("\u00e9", 64)},
		strings.Repeat("e\u0301", 65): nil,
		strings.Repeat("\u0958", 64):  {strings.Repeat("\u0958", 64)},
		"":                            nil,
		"\xff":                        nil,
		"cim-x":                       nil,
		"a\u0323\u0307":               {"a\u0323\u0307", "\u1ea1\u0307"},
	} {
		got, err := NameSpellings(name)
		if !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%+q: %+q, %v, want %+q", name, got, err, want)
		}
	}
	if !SameName("e\u0301", "\u00e9") || SameName("e", "\u00e9") || SameName("ann\u200b", "ann") {
		t.Error("names are compared otherwise than in NFC")
	}
}

// FuzzNames: a valid new name is within the bounds of a record, and is one name in
// all its spellings.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"ann", "e\u0301", "\u0958", "\u200b", "\xff", strings.Repeat("\u0958", 64), "K\u212a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		spellings, err := NameSpellings(name)
		if (err == nil) != (len(spellings) > 0) {
			t.Fatalf("%+q: %+q, %v", name, spellings, err)
		}
		for _, spelling := range spellings {
			if !SameName(spelling, name) || CheckUserName(spelling) != nil {
				t.Errorf("%+q is spelt %+q", name, spelling)
			}
		}
		normal := NormalName(name)
		if CheckNewName(normal) != nil {
			return
		}
		if len(normal) > RecordNameMax || !norm.NFC.IsNormalString(normal) || utf8.RuneCountInString(normal) > UserNameMax {
			t.Errorf("%+q may become the name %+q", name, normal)
		}
	})
}
