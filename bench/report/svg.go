package report

import (
	"bytes"
	"fmt"
	"html"
	"strings"
)

// canvas is an SVG picture that grows with each drawing. It uses attributes and no style: a page
// may forbid styles.
type canvas struct {
	body bytes.Buffer
	// ink and soft are the colours of texts. In a page they are the page's, dark
	// or light.
	ink, soft, line, good, bad string
}

// onPaper is a canvas for a file, which has a white ground.
func onPaper() *canvas {
	return &canvas{ink: "#1b1f24", soft: "#59636e", line: "#d1d9e0", good: "#1a7f37", bad: "#cf222e"}
}

// inPage is a canvas for a page: classes take the page's colours.
func inPage() *canvas {
	return &canvas{ink: "currentColor", soft: "var(--soft)", line: "var(--line)", good: "var(--good)", bad: "var(--bad)"}
}

// Where a text stands at its point.
const (
	fromLeft = "start"
	toRight  = "end"
	inMiddle = "middle"
)

// label is a text at a point.
type label struct {
	x, y   float64
	size   int
	anchor string
	fill   string
	bold   bool
	text   string
}

func (c *canvas) text(l label) {
	weight := ""
	if l.bold {
		weight = ` font-weight="600"`
	}
	fmt.Fprintf(&c.body, `<text x="%.1f" y="%.1f" font-size="%d" text-anchor="%s" fill="%s"%s>%s</text>`+"\n",
		l.x, l.y, l.size, l.anchor, l.fill, weight, safe(l.text))
}

func (c *canvas) rect(x, y, width, height float64, fill string, opacity float64) {
	fmt.Fprintf(&c.body, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="2" fill="%s" fill-opacity="%.2f"/>`+"\n", x, y, width, height, fill, opacity)
}

func (c *canvas) stroke(x1, y1, x2, y2 float64) {
	fmt.Fprintf(&c.body, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, c.line)
}

// path is a line through points; dash is "" or an SVG dash array.
func (c *canvas) path(points [][2]float64, colour string, width float64, dash string) {
	var d strings.Builder
	for i, p := range points {
		fmt.Fprintf(&d, "%c%.1f %.1f", "ML"[min(i, 1)], p[0], p[1])
	}
	fmt.Fprintf(&c.body, `<path d="%s" fill="none" stroke="%s" stroke-width="%.1f" stroke-dasharray="%s" stroke-linejoin="round"/>`+"\n", d.String(), colour, width, dash)
}

// group encloses what draw draws, with these attributes.
func (c *canvas) group(attributes string, draw func()) {
	fmt.Fprintf(&c.body, "<g %s>\n", attributes)
	draw()
	c.body.WriteString("</g>\n")
}

// document is the whole picture. A file gets a white ground.
func (c *canvas) document(width, height float64, name string, paper bool) []byte {
	ground := ""
	if paper {
		ground = `<rect width="100%" height="100%" fill="#ffffff"/>` + "\n"
	}
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif">
<title>%s</title>
%s%s</svg>
`, width, height, width, height, safe(name), ground, c.body.Bytes())
}

// labelMax bounds a text in a picture, in characters.
const labelMax = 160

// safe is a text that can stand in a document, as an attribute, too.
func safe(text string) string { return html.EscapeString(cut(OneLine(text), labelMax)) }
