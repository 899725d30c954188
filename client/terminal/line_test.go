package terminal

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"cim/proto"
)

// TestParseLine reads each form of a line, and what only looks like one.
func TestParseLine(t *testing.T) {
	to := func(receiver, text string) line {
		return line{kind: lineMessage, message: message{receiver: receiver, text: text}}
	}
	prose := strings.Repeat("more than a name has ", 4)
	for text, want := range map[string]line{
		"":                         {kind: lineEmpty},
		" \t":                      {kind: lineEmpty},
		"hello":                    to("", "hello"),
		" :smile: you ":            to("", " :smile: you "),
		"7;;hi":                    to("7", "hi"),
		" 7 ;;hi;;there":           to("7", "hi;;there"),
		"zhang san;; hi":           {kind: lineMessage, message: message{receiver: "zhang san", text: " hi", whole: "zhang san;; hi"}},
		"for (;;) {}":              {kind: lineMessage, message: message{receiver: "for (", text: ") {}", whole: "for (;;) {}"}},
		"a, b;;":                   {kind: lineMessage, message: message{receiver: "a, b", whole: "a, b;;"}},
		"zhang_san-2@x.y;;hi":      to("zhang_san-2@x.y", "hi"),
		"张三;;hi":                   to("张三", "hi"),
		";;hi":                     to("", ";;hi"), // no name in front
		" ;; a comment":            to("", " ;; a comment"),
		"cim-route:7;;hi":          to("", "cim-route:7;;hi"), // no name starts like this
		"\ta\tb;;c":                to("", "\ta\tb;;c"),
		prose + ";;and":            to("", prose+";;and"),
		":help":                    {kind: lineAll},
		":quit ":                   {kind: lineQuit},
		"-7;;hi":                   to("-7", "hi"), // a name like any other
		"99999999999999999999;;hi": to("99999999999999999999", "hi"),
		":q!":                      {kind: lineQuit},
		":q! ":                     {kind: lineQuit},
		":olu  ":                   {kind: lineOnline},
		":all \t":                  {kind: lineAll},
		":info":                    {kind: lineInfo},
		":again":                   {kind: lineAgain},
		":ai":                      {kind: lineEcho},
		":qai":                     {kind: lineNoEcho},
		":pu":                      {kind: lineOnline},
		":pu  zh":                  {kind: lineOnline, text: "zh"},
		":q a word ":               {kind: lineSearch, text: "a word"},
		":emoji":                   {kind: lineEmoji, number: 1},
		":emoji 3":                 {kind: lineEmoji, number: 3},
		":delay two words 5":       {kind: lineDelay, message: message{receiver: "", text: "two words"}, number: 5},
		":delay bob;;hi 86400":     {kind: lineDelay, message: message{receiver: "bob", text: "hi"}, number: 86400},
		":what ":                   {kind: lineUnknown, text: ":what"},
		":olu x":                   {kind: lineUnknown, text: ":olu x"},
		":":                        {kind: lineUnknown, text: ":"},
		":Q!":                      {kind: lineUnknown, text: ":Q!"},
	} {
		if got := parseLine(text); got != want {
			t.Errorf("parseLine(%q) = %+v, want %+v", text, got, want)
		}
	}
	long := strings.Repeat("x", proto.TextMax)
	if got := parseLine(long); got.kind != lineMessage {
		t.Errorf("a line of %d bytes: %+v", len(long), got.kind)
	}
	for _, text := range []string{
		"bob;;", "7;;", "cim-x;;hi", "bo\x1bb;;hi", "b b\x1b[D;;hi", strings.Repeat("x", 65) + ";;hi", long + "x", ":q", ":emoji 0", ":emoji x", ":emoji 99999",
		":delay", ":delay hi", ":delay hi 0", ":delay hi 86401", ":delay hi x", ":delay bob;; 5", ":delay 5", "\xff", ":q \xff",
	} {
		if got := parseLine(text); got.kind != lineWrong || got.text == "" {
			t.Errorf("parseLine(%.20q) = %+v, want it refused", text, got.kind)
		}
	}
}

// FuzzParseLine finds no line that breaks it, has no receiver, or whose reply a terminal could take
// for a command.
func FuzzParseLine(f *testing.F) {
	for _, text := range []string{"hi", "7;;hi", "bo\x1bb;;hi", ":q x", ":delay \u202ea;;b 3", ":emoji 2", ":\x9b2J", ":q! \xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l := parseLine(text)
		switch l.kind {
		case lineMessage, lineDelay:
			if l.message.text == "" && l.message.whole == "" || len(l.message.text) > proto.TextMax {
				t.Errorf("a message of %d bytes", len(l.message.text))
			}
			if to := l.message.to(); Harmless(to) != to {
				t.Errorf("a receiver shown as %q", to)
			}
		case lineEmoji:
			if l.number < 1 || l.number > emojiPages() {
				t.Errorf("page %d", l.number)
			}
		case lineWrong, lineUnknown:
			answer := strings.ReplaceAll((&terminal{}).answer(l), "\n", "")
			if Harmless(answer) != answer {
				t.Errorf("the answer to %q: %q", text, answer)
			}
		}
	})
}

// TestReadLines reads lines with either end, the last one without an end, and continues after one
// that is too long.
func TestReadLines(t *testing.T) {
	long := strings.Repeat("x", 3*proto.TextMax)
	lines := make(chan string, 10)
	in := "one\r\n\n" + long + "\ntwo\n" + strings.Repeat("y", proto.TextMax) + "\nlast"
	if err := readLines(t.Context(), strings.NewReader(in), lines); err != nil {
		t.Fatal(err)
	}
	close(lines)
	got := slices.Collect(func(yield func(string) bool) {
		for l := range lines {
			if !yield(l) {
				return
			}
		}
	})
	if len(got) != 6 || got[0] != "one" || got[1] != "" || got[3] != "two" || got[5] != "last" {
		t.Fatalf("%d lines: %.10q", len(got), got)
	}
	if len(got[2]) <= proto.TextMax || len(got[4]) != proto.TextMax {
		t.Errorf("long lines of %d and %d bytes", len(got[2]), len(got[4]))
	}
}

// TestReadLinesEnds ends with its context, and with the error of its input.
func TestReadLinesEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := readLines(ctx, strings.NewReader("nobody takes this\n"), make(chan string)); err != nil {
		t.Errorf("ended context: %v", err)
	}
	broken := errors.New("broken")
	if err := readLines(t.Context(), errorReader{broken}, make(chan string)); !errors.Is(err, broken) {
		t.Errorf("broken input: %v", err)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }
