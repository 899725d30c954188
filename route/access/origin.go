package access

import (
	"slices"
	"strings"
)

// Origin is what a browser says of the page that a request comes from.
type Origin struct {
	Origin string // the header Origin; "": none
	Site   string // the header Sec-Fetch-Site; "": none
	Host   string // the header Host
}

// Verdict is what a request gets for its Origin.
type Verdict uint8

// The verdicts.
const (
	NoPage  Verdict = iota // of no page, or of this route's own: nothing to add
	Listed                 // of a page that Config.Origins lists: the answer carries the headers of CORS
	Foreign                // of another page: refused
)

// Judge decides about a request that changes something. Without it a page that
// a user merely visits could send messages in that user's name, since the
// browser reaches addresses that the page's own server does not. A client that
// is no browser sends neither header.
func (g *Gate) Judge(o Origin) Verdict {
	switch {
	case o.Origin == "" && (o.Site == "cross-site" || o.Site == "same-site"):
		return Foreign
	case o.Origin == "", o.Origin == "http://"+o.Host, o.Origin == "https://"+o.Host:
		return NoPage
	case slices.Contains(g.config.Origins, o.Origin):
		return Listed
	}
	return Foreign
}

// pathPrefix begins the path of an old client whose base URL carries a token:
// /t/TOKEN/login.
const pathPrefix = "/t/"

// SplitPath takes a token out of a path: call is the path without it. A path
// without a token is returned as it is.
func SplitPath(path string) (text, call string) {
	rest, found := strings.CutPrefix(path, pathPrefix)
	if !found {
		return "", path
	}
	text, call, found = strings.Cut(rest, "/")
	if !found || text == "" {
		return "", path
	}
	return text, "/" + call
}
