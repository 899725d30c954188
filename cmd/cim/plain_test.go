package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"cim/client"
)

// FuzzWriteLine writes any text as a line that has nothing but what prints, and
// reads it back.
func FuzzWriteLine(f *testing.F) {
	for _, seed := range []string{"", "a\nb\r\t", "\x1b[31m", "\u009b31m\x7f", "\u202eabc", "<&>", "\u2028", "\U000e0001", "👩\u200d👩", "张三", `"\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			t.Skip("no text from a route is")
		}
		var line strings.Builder
		if err := writeLine(&line, map[string]string{text: text}); err != nil {
			t.Fatal(err)
		}
		body, ended := strings.CutSuffix(line.String(), "\n")
		if !ended || strings.ContainsFunc(body, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("the line is %q", line.String())
		}
		var got map[string]string
		if err := json.Unmarshal([]byte(body), &got); err != nil || got[text] != text || len(got) != 1 {
			t.Errorf("%q comes back as %q, %v", text, got, err)
		}
	})
}

// TestReportHarmless: what a route says in a refusal reaches a terminal as text.
func TestReportHarmless(t *testing.T) {
	var said strings.Builder
	report(&said, errors.Join(&client.Refusal{Path: "/p2pRoute", Message: "\x1b]0;owned\a"}, errors.New("second\x9b")))
	if got := said.String(); strings.ContainsAny(got, "\x1b\a\u009b") || strings.Count(got, "\n") != 2 || strings.Count(got, "cim: ") != 2 {
		t.Errorf("said %q", got)
	}
}
