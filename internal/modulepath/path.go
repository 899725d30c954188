package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ownPath is the path of the tree in its own repository. It cannot be fetched.
const ownPath = "cim"

// element is one part of a path between slashes, as the go command accepts it.
var element = regexp.MustCompile(`^[A-Za-z0-9_~-]([A-Za-z0-9._~-]*[A-Za-z0-9_~-])?$`)

// major is the end of a path that stands for a version.
var major = regexp.MustCompile(`^v[0-9]+$`)

// checkPath reports why a module cannot be fetched under path. It accepts ownPath
// too, for the way back.
func checkPath(path string) error {
	if path == ownPath {
		return nil
	}
	fault := func(why string) error {
		return fmt.Errorf("module path %q: %s; want host/owner/name, as github.com/you/cim", path, why)
	}
	parts := strings.Split(path, "/")
	for _, part := range parts {
		if !element.MatchString(part) {
			return fault(fmt.Sprintf("%q is no part of a path", part))
		}
	}
	switch host, last := parts[0], parts[len(parts)-1]; {
	case len(parts) < 2:
		return fault("it has no slash")
	case !strings.Contains(host, ".") || strings.ToLower(host) != host || strings.ContainsAny(host, "_~"):
		return fault(fmt.Sprintf("%q is no host", host))
	case host == "gopkg.in":
		return fault("gopkg.in redirects to other hosts, and wants a version in the path")
	case major.MatchString(last):
		return fault(fmt.Sprintf("it ends with a version, %q, which this module does not have yet", last))
	}
	return nil
}

// errNoModule: go.mod has no path.
var errNoModule = errors.New("go.mod has no line that begins with module")

var moduleLine = regexp.MustCompile(`(?m)^module[ \t]+"?([^\s"]+)"?[ \t]*$`)

// pathOf is the path in the text of a go.mod.
func pathOf(goMod string) (string, error) {
	found := moduleLine.FindStringSubmatch(goMod)
	if found == nil {
		return "", errNoModule
	}
	return found[1], nil
}
