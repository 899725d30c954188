package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestContextFaults reads broken files: each fault names file and line, and no change overwrites
// the file.
func TestContextFaults(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no YAML":        {"contexts: [", "yaml: line 1"},
		"no mapping":     {"- a", "line 1"},
		"unknown key":    {"in-use: ''\ncontext: {}\n", "line 2: context: no such key"},
		"list":           {"contexts: [a]", "line 1: contexts: want a mapping"},
		"no context":     {"\ncontexts:\n  home: ann\n", "line 3: home: want route and name"},
		"unknown field":  {"contexts:\n  home:\n    user: ann\n", "line 3: user: no such key"},
		"bad field":      {"contexts:\n  home:\n    route: http://a\n    name: [ann]\n", "line 4: name: want one plain value"},
		"second context": {"contexts:\n  home:\n    route: http://a\n  work:\n    route: {}\n", "line 5: route: want one plain value"},
		"no route":       {"contexts:\n  home:\n    name: ann\n", "line 2: home: route: there is none"},
		"bad route":      {"contexts:\n  \"home\":\n    route: a\n", "line 2: home: route \"a\" is not a URL"},
		"bad user":       {"contexts:\n  home:\n    route: http://a\n    name: ' '\n", "line 2: home: name: "},
		"bad name":       {"contexts:\n  a b:\n    route: http://a\n", "line 2: a b: context \"a b\""},
		"flow":           {"contexts: {home: {route: 1}}\n", "from line 1: home: route \"1\" is not a URL"},
		"dangling":       {"in-use: work\ncontexts:\n  home:\n    route: http://a\n", `line 1: in-use: there is no context "work"`},
		"twice":          {"contexts:\n  a: {route: 'http://a'}\n  a: {route: 'http://a'}\n", "line 3: mapping key \"a\" already defined"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "contexts.yaml")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := readContexts(path)
			if err == nil || !strings.Contains(err.Error(), path+": ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("read: %v, want %q of %s", err, c.want, path)
			}
			b := &contextBook{path: path}
			if err := b.keep("more", contextEntry{routes: []string{"http://a"}, name: "ann"}); err == nil {
				t.Error("a change went through")
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != c.text {
				t.Errorf("the file is %q now, %v", text, err)
			}
		})
	}
}

// TestContextBounds walks a name and the file to their bounds and one byte
// past them.
func TestContextBounds(t *testing.T) {
	for name, good := range map[string]bool{
		strings.Repeat("x", contextNameMax): true, strings.Repeat("x", contextNameMax+1): false,
		"": false, "a.b-c_1": true, "Büro": true, "-a": false, "a/b": false, "a\x00": false, "\xff": false,
	} {
		if err := checkContextName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
	path := filepath.Join(t.TempDir(), "contexts.yaml")
	for size, good := range map[int]bool{contextsMaxBytes: true, contextsMaxBytes + 1: false} {
		if err := os.WriteFile(path, []byte("#"+strings.Repeat("x", size-1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readContexts(path); (err == nil) != good {
			t.Errorf("a file of %d bytes: %v", size, err)
		}
	}
}

// TestContextChanges has many writers at once: no change is lost, through a
// link too, and names that YAML could take for something else come back.
func TestContextChanges(t *testing.T) {
	folder := t.TempDir()
	path, behind := filepath.Join(folder, "link.yaml"), filepath.Join(folder, "real.yaml")
	if err := errors.Join(os.WriteFile(behind, nil, 0o600), os.Symlink(behind, path)); err != nil {
		t.Fatal(err)
	}
	names := []string{"true", "null", "1.5", "2026-01-01", "in-use", "contexts"}
	for i := range 20 {
		names = append(names, fmt.Sprint(i))
	}
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() {
			var err error
			for range 10 { // a busy machine may take more than the time for its lock
				b, fault := readContexts(path)
				if err = fault; err == nil {
					err = b.keep(name, contextEntry{routes: []string{"http://a", "http://b"}, name: name})
				}
				if !errors.Is(err, syscall.EWOULDBLOCK) {
					break
				}
			}
			if err != nil {
				t.Errorf("keep %q: %v", name, err)
			}
		})
	}
	all.Wait()
	b, err := readContexts(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if entry, err := b.find(name); err != nil || entry.name != name || len(entry.routes) != 2 {
			t.Errorf("%q: %+v, %v", name, entry, err)
		}
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link became %v, %v", info, err)
	}
	if files, err := os.ReadDir(folder); err != nil || len(files) != 2 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}
