package flame

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// made is a profile of stacks, the outermost call first, and their values.
func made(values map[string]int64) *profile.Profile {
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}}
	id := uint64(0)
	for stack, value := range values {
		sample := &profile.Sample{Value: []int64{1, value}}
		for name := range strings.SplitSeq(stack, ">") {
			id++
			f := &profile.Function{ID: id, Name: name}
			at := &profile.Location{ID: id, Line: []profile.Line{{Function: f}}}
			p.Function, p.Location = append(p.Function, f), append(p.Location, at)
			sample.Location = append([]*profile.Location{at}, sample.Location...)
		}
		p.Sample = append(p.Sample, sample)
	}
	return p
}

func draw(t *testing.T, p *profile.Profile) string {
	t.Helper()
	svg, err := SVG(p, "a <title>")
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return string(svg)
		} else if err != nil {
			t.Fatalf("%v:\n%s", err, svg)
		}
	}
}

// TestSVG: widths are parts of the whole, callers hold what they called, and
// what took nothing is not there.
func TestSVG(t *testing.T) {
	values := map[string]int64{"main>read": 1e6, "main>write>copy": 2e6, "main>write": 1e6, "gone": 0, "less": -5}
	got := draw(t, made(values))
	for _, want := range []string{
		"<title>all: 4.0 ms, 100.00 %</title>", "<title>main: 4.0 ms, 100.00 %</title>", "<title>read: 1.0 ms, 25.00 %</title>",
		"<title>write: 3.0 ms, 75.00 %</title>", "<title>copy: 2.0 ms, 50.00 %</title>", "a &lt;title&gt;", `width="590.00"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %s:\n%s", want, got)
		}
	}
	if strings.Contains(got, "gone") || strings.Contains(got, "less") {
		t.Errorf("has what took nothing:\n%s", got)
	}
	for range 10 {
		if draw(t, made(values)) != got {
			t.Fatal("the same profile gives other bytes")
		}
	}
}

// TestEdges: no sample, no value, a hostile name, calls deeper than are drawn.
func TestEdges(t *testing.T) {
	draw(t, made(nil))
	if _, err := SVG(&profile.Profile{}, "x"); err == nil {
		t.Error("a profile without values, and no error")
	}
	if got := draw(t, made(map[string]int64{"</text><script>": 1})); strings.Contains(got, "<script>") {
		t.Errorf("a name became an element:\n%s", got)
	}
	for calls, want := range map[int]int{deepest: deepest + 1, deepest + 1: deepest + 1} {
		deep := strings.TrimSuffix(strings.Repeat("f>", calls), ">")
		if got := strings.Count(draw(t, made(map[string]int64{deep: 1})), "<g>"); got != want {
			t.Errorf("%d calls: %d bars, want %d", calls, got, want)
		}
	}
}
