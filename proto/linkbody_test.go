package proto

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestReturnedEdges(t *testing.T) {
	three := AppendBody(nil, MessageFrom(CommandMessage, User{1, "ann"}, 9, []string{"a", "b", "c"}))
	one := AppendSentBody(nil, 1, "ann", 7, []byte("hi"))
	good := AppendReturned(AppendReturned(nil, Returned{Body: three, Skip: 2}), Returned{Body: one})
	got, err := ParseReturned(good)
	if want := []Returned{{three, 2}, {one, 0}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %v, %v; want %v", got, err, want)
	}
	if n := ReturnedSize(len(three)) + ReturnedSize(len(one)); n != len(good) {
		t.Errorf("%d bytes, ReturnedSize says %d", len(good), n)
	}
	many := bytes.Repeat(AppendReturned(nil, Returned{Body: one}), ReturnedMax)
	if got, err := ParseReturned(many); err != nil || len(got) != ReturnedMax {
		t.Errorf("%d of %d messages, %v", len(got), ReturnedMax, err)
	}
	for name, bad := range map[string][]byte{
		"nothing":                nil,
		"torn head":              good[:returnedHead-1],
		"torn body":              good[:len(good)-1],
		"trailing byte":          append(slices.Clone(good), 0),
		"length of 4 GiB":        append([]byte{0xff, 0xff, 0xff, 0xff, 0, 0}, one...),
		"no frame":               AppendReturned(nil, Returned{Body: []byte{0xff}}),
		"all texts acknowledged": AppendReturned(nil, Returned{Body: three, Skip: 3}),
		"one message too many":   append(many, AppendReturned(nil, Returned{Body: one})...),
	} {
		var condemned *LinkError
		if got, err := ParseReturned(bad); !errors.As(err, &condemned) {
			t.Errorf("%s: read %d messages, %v", name, len(got), err)
		}
	}
	longest := AppendReturned(nil, Returned{Body: make([]byte, ReturnedBodyMax)})
	if len(longest) > FrameMax {
		t.Errorf("the longest message takes %d bytes of a record, want at most %d", len(longest), FrameMax)
	}
}

func TestTextKeysEdges(t *testing.T) {
	keys := []TextKey{{1, 2, 3}, {math.MinInt64, math.MaxUint64, math.MaxUint64}, {}}
	body := AppendTextKeys(nil, keys...)
	if got, err := ParseTextKeys(body); err != nil || !slices.Equal(got, keys) {
		t.Errorf("read %v, %v; want %v", got, err, keys)
	}
	full := AppendTextKeys(nil, make([]TextKey, TextKeysMax)...)
	if got, err := ParseTextKeys(full); err != nil || len(got) != TextKeysMax || len(full) > FrameMax {
		t.Errorf("%d of %d keys, %v, in %d bytes", len(got), TextKeysMax, err, len(full))
	}
	for name, bad := range map[string][]byte{
		"a byte less": body[:len(body)-1], "one key more": AppendTextKeys(full, TextKey{}),
	} {
		if got, err := ParseTextKeys(bad); err == nil {
			t.Errorf("%s: read %d keys", name, len(got))
		}
	}
}

func TestEpochEdges(t *testing.T) {
	for _, epoch := range []Epoch{0, 1, math.MaxUint64} {
		if got, err := ParseEpoch(AppendEpoch(nil, epoch)); got != epoch || err != nil {
			t.Errorf("read %d, %v; want %d", got, err, epoch)
		}
	}
	for _, bad := range [][]byte{make([]byte, 7), make([]byte, 9)} {
		if got, err := ParseEpoch(bad); err == nil {
			t.Errorf("%d bytes: epoch %d", len(bad), got)
		}
	}
}

func TestWantFlags(t *testing.T) {
	for _, want := range []Want{WantTaken, WantReceived, WantStored} {
		if got := WantOf(WantFlags(want) | FlagOffline | FlagMove | FlagStored); got != want || !want.Valid() {
			t.Errorf("want %d comes back as %d", want, got)
		}
	}
	for _, sent := range []uint64{3, 255, 256, 1 << 31} {
		var v View
		frame := appendNumber(nil, fieldWant, sent)
		if reason := v.Parse(frame); reason != ReasonNone || v.Want.Valid() {
			t.Errorf("a want of %d is read as %d, %v", sent, v.Want, reason)
		}
	}
}

func TestParseTextID(t *testing.T) {
	for text, want := range map[string]TextID{"": 0, "1": 1, "18446744073709551615": math.MaxUint64} {
		if got, err := ParseTextID(text); got != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, bad := range []string{"0", "-1", "+1", "1.0", "0x1", " 1", "18446744073709551616"} {
		if got, err := ParseTextID(bad); err == nil || !strings.Contains(err.Error(), "textId") {
			t.Errorf("%q: %d, %v", bad, got, err)
		}
	}
}

// FuzzLinkBodies parses the bodies of records. Accepted ones must be written as the
// same bytes, and each returned message must be valid.
func FuzzLinkBodies(f *testing.F) {
	f.Add(AppendReturned(nil, Returned{Body: AppendSentBody(nil, 1, "ann", 7, []byte("hi"))}))
	f.Add(AppendReturned(nil, Returned{Body: AppendBody(nil, MessageFrom(CommandMessage, User{1, "ann"}, 9, []string{"a", "b"})), Skip: 1}))
	f.Add(AppendTextKeys(nil, TextKey{1, 2, 3}, TextKey{}))
	f.Add(AppendEpoch(nil, 7))
	f.Fuzz(func(t *testing.T, body []byte) {
		if all, err := ParseReturned(body); err == nil {
			var again []byte
			for _, r := range all {
				var v View
				if reason := v.Parse(r.Body); reason != ReasonNone || r.Skip >= v.Texts() {
					t.Fatalf("returned message %x: %v, %d of %d texts acknowledged", r.Body, reason, r.Skip, v.Texts())
				}
				again = AppendReturned(again, r)
			}
			if len(all) == 0 || len(all) > ReturnedMax || !bytes.Equal(again, body) {
				t.Fatalf("%x was read, %x written", body, again)
			}
		}
		if keys, err := ParseTextKeys(body); err == nil && !bytes.Equal(AppendTextKeys(nil, keys...), body) {
			t.Fatalf("%x was read as keys %v", body, keys)
		}
		if epoch, err := ParseEpoch(body); err == nil && epoch != 0 && !bytes.Equal(AppendEpoch(nil, epoch), body) {
			t.Fatalf("%x was read as epoch %d", body, epoch)
		}
	})
}
