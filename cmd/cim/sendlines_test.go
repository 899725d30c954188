package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"cim/proto"
)

// TestParseReceiver reads valid and invalid values of --to.
func TestParseReceiver(t *testing.T) {
	for to, want := range map[string]sendReceiver{
		"all": {all: true}, "7": {id: 7}, "007": {id: 7}, "9223372036854775807": {id: 1<<63 - 1},
		"bob": {name: "bob"}, "Bob Lee": {name: "Bob Lee"}, "7x": {name: "7x"}, "-7": {name: "-7"}, "ALL": {name: "ALL"},
		"name:all": {name: "all"}, "name:7": {name: "7"}, "name:name:x": {name: "name:x"}, "张三": {name: "张三"},
	} {
		if got, err := parseReceiver(to); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", to, got, err, want)
		}
		if want.name != "" {
			again, err := parseReceiver(receiverText(proto.User{Name: want.name}))
			if err != nil || again != want {
				t.Errorf("%q is completed as %+v, %v", want.name, again, err)
			}
		}
	}
	for _, to := range []string{"", "0", "00", "9223372036854775808", "name:", " bob", "cim-x", "a\nb", "\xff", strings.Repeat("x", proto.UserNameMax+1)} {
		if got, err := parseReceiver(to); err == nil {
			t.Errorf("%q: %+v, want a fault", to, got)
		}
	}
}

// TestSendLineBounds walks a text to its bounds, plain and as JSON.
func TestSendLineBounds(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		good bool
	}{
		"empty":             {"", true},
		"longest":           {strings.Repeat("x", proto.TextMax), true},
		"one byte more":     {strings.Repeat("x", proto.TextMax+1), false},
		"longest JSON":      {strings.Repeat(`"`, (batchJSONMax-3)/2), true},
		"longer JSON":       {strings.Repeat(`"`, (batchJSONMax-3)/2+1), false},
		"no UTF-8":          {"a\xff", false},
		"control character": {"\x00\x1b", true},
	} {
		l := newSendLine(1, c.text)
		if (l.fault == nil) != c.good || c.good && l.text != c.text || !c.good && l.text != "" {
			t.Errorf("%s: %v", name, l.fault)
		}
	}
}

// TestBatch takes the waiting lines, in order, up to each bound of a request.
func TestBatch(t *testing.T) {
	long, wide := strings.Repeat("x", 31<<10), strings.Repeat("\x01", 4<<10)
	for name, c := range map[string]struct {
		texts []string
		want  []int // the lengths of the batches
	}{
		"nothing":       {nil, nil},
		"one":           {[]string{"a"}, []int{1}},
		"most":          {make([]string, proto.BatchMax), []int{proto.BatchMax}},
		"one more":      {make([]string, proto.BatchMax+1), []int{proto.BatchMax, 1}},
		"bytes":         {[]string{long, long, ""}, []int{3}},
		"byte more":     {[]string{long, long, "x"}, []int{2, 1}},
		"JSON":          {[]string{wide, wide, wide}, []int{2, 1}},
		"fault between": {[]string{"a", "\xff", "b", "c"}, []int{1, 1, 2}},
		"faults":        {[]string{"\xff", "\xff"}, []int{1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			l := &sendLines{lines: make(chan sendLine, linesWaitMax)}
			for i, text := range c.texts {
				l.lines <- newSendLine(i+1, text)
			}
			close(l.lines)
			number := 0
			for _, want := range append(c.want, 0) {
				batch := l.batch(t.Context(), proto.BatchMax)
				if len(batch) != want {
					t.Fatalf("a batch of %d behind line %d, want %d", len(batch), number, want)
				}
				for _, line := range batch {
					if number++; line.number != number {
						t.Fatalf("line %d, want %d", line.number, number)
					}
				}
			}
		})
	}
}

// TestReadLinesFault: a fault of the input comes after the lines that were read.
func TestReadLinesFault(t *testing.T) {
	broken := errors.New("broken")
	l := readLines(t.Context(), io.MultiReader(strings.NewReader("one\ntwo"), iotest.ErrReader(broken)))
	for want := range 2 {
		if line, ok := <-l.lines; !ok || line.number != want+1 {
			t.Errorf("%+v, %v, want line %d", line, ok, want+1)
		}
	}
	if _, ok := <-l.lines; ok || !errors.Is(l.err, broken) {
		t.Errorf("the end is %v", l.err)
	}
}

// FuzzReadLine holds each line against a plain split of the input.
func FuzzReadLine(f *testing.F) {
	for _, seed := range []string{"", "\n", "a", "a\n", "a\r\n\n\rb\r", "\xff\n", strings.Repeat("x", proto.TextMax) + "\r\ny"} {
		f.Add(seed, 0)
	}
	f.Add("\na", proto.TextMax+1)
	f.Fuzz(func(t *testing.T, input string, more int) {
		input = strings.Repeat("z", min(max(more, 0), 2*proto.TextMax)) + input
		want := strings.Split(input, "\n")
		if last := len(want) - 1; want[last] == "" {
			want = want[:last]
		}
		l := readLines(t.Context(), iotest.HalfReader(strings.NewReader(input)))
		for i, text := range want {
			if i < strings.Count(input, "\n") {
				text = strings.TrimSuffix(text, "\r")
			}
			line, ok := <-l.lines
			good := len(text) <= proto.TextMax && utf8.ValidString(text) && len(proto.Body(text)) < batchJSONMax
			if !ok || line.number != i+1 || (line.fault == nil) != good || good && line.text != text {
				t.Fatalf("line %d: %.50q, %v, want %.50q", i+1, line.text, line.fault, text)
			}
		}
		if line, ok := <-l.lines; ok || l.err != nil {
			t.Fatalf("one more: %+v, %v", line, l.err)
		}
	})
}
