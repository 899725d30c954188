package arch

import (
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// rules are the rules for the tree. Each has files that it must refuse, and files
// that it must accept.
var rules = []struct {
	name     string
	rule     rule
	refused  []file
	accepted []file
}{
	{
		"layers", eachSource(checkLayers),
		[]file{
			{"proto/a.go", `package proto; import "own/store"`},
			{"server/a.go", `package server; import "own/route"`},
			{"store/a.go", `package store; import "own/store/storetest"`},
			{"client/a_test.go", `package client; import "own/server"`},
			{"client/a.go", `package client_test; import "own/server"`},
			{"route/a_test.go", `package route_test; import "own/server"`},
			{"proto/a.go", `package proto; import "own/internal/arch"`},
			{"internal/arch/a.go", `package arch; import "own/proto"`},
			{"proto/a.go", `package proto; import "own/proto/cimpb"`},
			{"nowhere/a.go", `package nowhere`},
			{"internal/e2e/a_test.go", `package e2e; import "own/internal/arch"`},
			{"cmd/cim/a_test.go", `package main; import "own/internal/e2e"`},
			{"server/a.go", `package server; import "own/nowhere"`},
		},
		[]file{
			{"store/a.go", `package store; import "own/proto"`},
			{"store/storetest/a.go", `package storetest; import "own/store"`},
			{"store/a_test.go", `package store_test; import "own/store/storetest"`},
			{"internal/e2e/a_test.go", `package e2e; import "own/server"`},
			{"client/a_test.go", `package client_test; import "own/server"`},
			{"client/terminal/a.go", `package terminal; import "own/client"`},
			{"server/a.go", `package server; import ("own/server/shard"; "own/internal/link"; "fmt")`},
		},
	},
	{
		"doors", eachSource(checkDoors),
		[]file{
			{"route/a.go", `package route; import "github.com/panjf2000/gnet/v2"`},
			{"store/a.go", `package store; import "go.etcd.io/bbolt"`},
			{"server/a.go", `package server; import "example.com/unheard/of"`},
			{"server/a.go", `package server; import "github.com/valyala/fasthttpx"`},
		},
		[]file{
			{"route/a_test.go", `package route; import "github.com/panjf2000/gnet/v2"`},
			{"store/storetest/a.go", `package storetest; import "pgregory.net/rapid"`},
			{"server/a.go", `package server; import ("github.com/valyala/fasthttp/fasthttputil"; "net/http"; "own/proto")`},
		},
	},
	{
		"purity", eachSource(checkPurity),
		[]file{
			{"proto/a.go", `package proto; import "time"`},
			{"proto/a.go", `package proto; import "sync/atomic"`},
			{"internal/wheel/a.go", `package wheel; import "net/http"`},
			{"server/shard/a.go", `package shard; import "os"`},
			{"server/shard/a.go", `package shard; func f() { go f() }`},
			{"server/shard/a.go", `package shard; var c chan int`},
			{"server/shard/a.go", `package shard; func f() { select {} }`},
			{"server/shard/a.go", `package shard; func f(c C) { c <- 1 }`},
			{"server/shard/a.go", `package shard; func f(c C) { <-c }`},
		},
		[]file{
			{"proto/a.go", `package proto; import ("net/netip"; "timeless"); func f(a, b int) bool { return a < -b }`},
			{"proto/a_test.go", `package proto; import "time"; func f() { go f() }`},
			{"server/a.go", `package server; import "sync"; func f() { go f() }`},
		},
	},
	{
		"docs", findUndocumented,
		[]file{
			{"proto/a.go", `package proto`},
			{"proto/a.go", "// Something else.\npackage proto"},
			{"proto/a.go", "// Package protocol is another name.\npackage proto"},
			{"cmd/cim/a.go", "// Package main is its name, not its job.\npackage main"},
		},
		[]file{
			{"proto/a.go", "// Package proto is bytes.\npackage proto"},
			{"cmd/cim/a.go", "// Command cim is all of it.\npackage main"},
			{"proto/a_test.go", `package proto`},
		},
	},
	{
		"length", eachSource(checkLength),
		[]file{
			{"proto/a.go", "package proto\n" + strings.Repeat("\n", linesMax-1)},
			{"proto/a_test.go", "package proto\n" + strings.Repeat("\n", testLinesMax-1)},
		},
		[]file{
			{"proto/a.go", "package proto\n" + strings.Repeat("\n", linesMax-2)},
			{"proto/a_test.go", "package proto\n" + strings.Repeat("\n", testLinesMax-2)},
			{"proto/a.pb.go", "package proto\n" + strings.Repeat("\n", linesMax)},
		},
	},
	{
		"names", eachSource(checkNames),
		[]file{
			{"proto/a.go", `package protoutil`},
			{"common/a.go", `package bytes`},
			{"server/session_manager.go", `package server`},
			{"server/helper_test.go", `package server`},
		},
		[]file{{"server/session.go", `package server`}},
	},
	{
		"adapter", eachSource(checkAdapter),
		[]file{
			{"route/a.go", "package route\n\n// As the Original does."},
			{"store/redis/a_test.go", "package redis\n\nfunc TestOriginal() {}"},
			{"store/redis/a.go", `package redis; import "own/compat/redisform"`},
			{"route/a_test.go", `package route; import "own/compat"`},
			{"bench/a.go", `package bench; import "own/compat/standin"`},
		},
		[]file{
			{"route/a.go", `package route`},
			{"server/a.go", "package server\n\n// As the original does."},
			{"compat/a.go", `package compat; import "own/compat/standin"`},
			{"cmd/cim/a.go", `package main; import "own/compat"`},
			{"internal/e2e/a_test.go", `package e2e; import "own/compat/standin"`},
		},
	},
}

// file is a Go file of a test: its path from the root, and its text, in which own
// stands for the path of the module.
type file struct{ path, text string }

func (f file) source(t *testing.T) source {
	t.Helper()
	s, err := parseSource(path.Dir(f.path), path.Base(f.path), strings.ReplaceAll(f.text, `"own/`, `"`+module))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTree checks the module against each rule.
func TestTree(t *testing.T) {
	tree := loadTree(t)
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, fault := range r.rule(tree) {
				t.Error(fault)
			}
		})
	}
}

// TestRules proves that each rule refuses what it must, and nothing else.
func TestRules(t *testing.T) {
	for _, r := range rules {
		for _, f := range r.refused {
			if len(r.rule([]source{f.source(t)})) == 0 {
				t.Errorf("%s: let pass %s: %.80s", r.name, f.path, f.text)
			}
		}
		for _, f := range r.accepted {
			for _, fault := range r.rule([]source{f.source(t)}) {
				t.Errorf("%s: refused %s: %.80s: %s", r.name, f.path, f.text, fault)
			}
		}
	}
}

var (
	tableRow = regexp.MustCompile("(?m)^\\| (\\d) \\| ((?:`[a-z/]+`(?:, )?)+) \\|")
	quoted   = regexp.MustCompile("`([a-z/]+)`")
)

// TestDocument compares the table of ARCHITECTURE.md with layers.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(root + "/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]int{}
	for _, row := range tableRow.FindAllStringSubmatch(string(text), -1) {
		layer, err := strconv.Atoi(row[1])
		if err != nil {
			t.Fatal(err)
		}
		for _, folder := range quoted.FindAllStringSubmatch(row[2], -1) {
			written[folder[1]] = layer
		}
	}
	for folder, layer := range written {
		if found, ok := layers[folder]; !ok || found != layer {
			t.Errorf("ARCHITECTURE.md has %s in layer %d, the test has %d (%t)", folder, layer, found, ok)
		}
	}
	for folder, layer := range layers {
		found, ok := written[folder]
		if parent, ofParent := written[path.Dir(folder)]; !ok && ofParent {
			found, ok = parent, true
		}
		if !ok || found != layer {
			t.Errorf("the test has %s in layer %d, ARCHITECTURE.md has %d (%t)", folder, layer, found, ok)
		}
	}
}
