// Package flame draws a profile as a flame graph: a picture of the calls in which a value, such as
// CPU time, was spent. A bar's width is its part of the whole, and its callees stand on it.
//
// It is pure: the same profile gives the same bytes. It reads no file, and names of functions may
// hold any text.
package flame

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// Sizes in pixels.
const (
	width     = 1200
	barHeight = 17
	top       = 48 // of the title
	margin    = 10
	// narrowest is the least width of a bar that is drawn.
	narrowest = 0.3
	// letterWidth is what a letter of a bar's name takes.
	letterWidth = 7
)

// deepest bounds the bars that stand on each other.
const deepest = 200

// call is a function within its callers, with the value of itself and its callees.
type call struct {
	name  string
	value int64
	calls map[string]*call
}

// SVG draws the value of p that is named last, which is what a profile is
// about: CPU time in a CPU profile.
func SVG(p *profile.Profile, title string) ([]byte, error) {
	if len(p.SampleType) == 0 {
		return nil, fmt.Errorf("flame: %s: the profile has no values", title)
	}
	kind := len(p.SampleType) - 1
	all, depth := tree(p, kind)
	d := drawing{kind: p.SampleType[kind], whole: all.value}
	height := top + (min(depth, deepest)+2)*barHeight
	fmt.Fprintf(&d.out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">`+"\n", width, height, width, height)
	d.out.WriteString(`<style>text{font:12px monospace;fill:#1b1f24}rect{stroke:#fff;stroke-width:.5}g:hover>rect{stroke:#000}</style>` + "\n")
	fmt.Fprintf(&d.out, `<rect width="%d" height="%d" fill="#fff"/><text x="%d" y="24">%s</text>`+"\n", width, height, margin, escaped(title))
	d.bars(all, margin, height-barHeight-margin/2, 0)
	d.out.WriteString("</svg>\n")
	return d.out.Bytes(), nil
}

// tree adds up the samples by their calls, and returns how deep they go.
func tree(p *profile.Profile, kind int) (all *call, depth int) {
	all = &call{name: "all", calls: map[string]*call{}}
	for _, sample := range p.Sample {
		value := sample.Value[kind]
		if value <= 0 {
			continue // what a difference of two profiles may have
		}
		all.value += value
		at := all
		names := stack(sample)
		for _, name := range names {
			at = at.called(name)
			at.value += value
		}
		depth = max(depth, len(names))
	}
	return all, depth
}

func (c *call) called(name string) *call {
	next := c.calls[name]
	if next == nil {
		next = &call{name: name, calls: map[string]*call{}}
		c.calls[name] = next
	}
	return next
}

// stack is the names of the calls of a sample, the outermost first.
func stack(sample *profile.Sample) []string {
	var names []string
	for _, location := range slices.Backward(sample.Location) {
		for _, line := range slices.Backward(location.Line) {
			if line.Function != nil {
				names = append(names, line.Function.Name)
			}
		}
	}
	return names
}

// drawing is a picture that grows.
type drawing struct {
	out   bytes.Buffer
	kind  *profile.ValueType
	whole int64
}

// bars draws c at x, y, and its callees on it, in the order of their names.
func (d *drawing) bars(c *call, x float64, y, depth int) {
	wide := float64(c.value) / float64(max(d.whole, 1)) * (width - 2*margin)
	if wide < narrowest || depth > deepest {
		return
	}
	d.bar(c, x, y, wide)
	for _, name := range slices.Sorted(maps.Keys(c.calls)) {
		next := c.calls[name]
		d.bars(next, x, y-barHeight, depth+1)
		x += float64(next.value) / float64(d.whole) * (width - 2*margin)
	}
}

func (d *drawing) bar(c *call, x float64, y int, wide float64) {
	part := 100 * float64(c.value) / float64(max(d.whole, 1))
	fmt.Fprintf(&d.out, `<g><title>%s: %s, %.2f %%</title><rect x="%.2f" y="%d" width="%.2f" height="%d" fill="%s"/>`,
		escaped(c.name), d.amount(c.value), part, x, y, wide, barHeight, colour(c.name))
	if text := fitting(c.name, wide); text != "" {
		fmt.Fprintf(&d.out, `<text x="%.2f" y="%d">%s</text>`, x+3, y+barHeight-5, escaped(text))
	}
	d.out.WriteString("</g>\n")
}

// amount is a value with its unit.
func (d *drawing) amount(v int64) string {
	if d.kind.Unit == "nanoseconds" {
		return fmt.Sprintf("%.1f ms", float64(v)/1e6)
	}
	return escaped(fmt.Sprintf("%d %s", v, d.kind.Unit))
}

// colour is the same for all functions of a package.
func colour(name string) string {
	from := max(strings.LastIndex(name, "/"), 0)
	part := name
	if dot := strings.Index(name[from:], "."); dot >= 0 {
		part = name[:from+dot]
	}
	h := fnv.New32a()
	h.Write([]byte(part))
	sum := h.Sum32()
	return fmt.Sprintf("hsl(%d,%d%%,%d%%)", 15+sum%45, 70+sum>>8%20, 62+sum>>16%14)
}

// fitting is as much of a name as a bar has room for: its end, which says most.
func fitting(name string, wide float64) string {
	if slash := strings.LastIndex(name, "/"); slash >= 0 {
		name = name[slash+1:]
	}
	letters, room := []rune(name), int((wide-6)/letterWidth)
	switch {
	case room < 3:
		return ""
	case len(letters) > room:
		return string(letters[:room-1]) + "…"
	}
	return name
}

func escaped(text string) string {
	var out strings.Builder
	if err := xml.EscapeText(&out, []byte(text)); err != nil {
		panic(err) // a strings.Builder takes everything
	}
	return out.String()
}
