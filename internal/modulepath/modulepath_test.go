package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

const there = "git.example.com/team/chat"

// TestCheckPath accepts paths that can be fetched, and no others.
func TestCheckPath(t *testing.T) {
	for _, path := range []string{"cim", there, "github.com/You/cim", "example.com/cim", "a.b/c.d/e-f_g~h"} {
		if err := checkPath(path); err != nil {
			t.Error(err)
		}
	}
	for _, path := range []string{
		"", "chat", "github.com", "github/you/cim", "/github.com/you/cim", "github.com/you/cim/", "github.com//cim",
		"github.com/you/../cim", "github.com/./cim", "github.com/.you/cim", "github.com/you./cim", "https://github.com/you/cim",
		"gopkg.in/you/cim", "github.com/you/cim/v2", "github.com/you/c im", "github.com/you/cim;rm", "github.com/you/cim@v1", `github.com\you\cim`,
		"GitHub.com/you/cim", "github.com:443/you/cim", "github.com/you/ü", "git_hub.com/you/cim", "-x.com/you/cim\n",
	} {
		if err := checkPath(path); err == nil {
			t.Errorf("%q was taken", path)
		}
	}
}

// TestText changes mentions of packages of the module, and no text that only looks
// like one.
func TestText(t *testing.T) {
	r := newRenamer("tree", there, map[string]bool{"client": true, "client/terminal": true, "cmd": true, "cmd/tree": true})
	for before, want := range map[string]string{
		`"tree/client"`:                            `"` + there + `/client"`,
		"import \"tree/client/terminal\"\n":        "import \"" + there + "/client/terminal\"\n",
		"go get tree/client":                       "go get " + there + "/client",
		"go build tree/cmd/tree.":                  "go build " + there + "/cmd/tree.",
		"tree/client":                              there + "/client",
		"-replace tree=/path, -replace=tree=/path": "-replace " + there + "=/path, -replace=" + there + "=/path",
		"-require tree@v0.0.0":                     "-require " + there + "@v0.0.0",
		`"tree/nowhere"`:                           `"tree/nowhere"`,
		"tree/contexts.yaml":                       "tree/contexts.yaml",
		"tree/clients":                             "tree/clients",
		"bin/tree/client":                          "bin/tree/client",
		"example.com/tree/client":                  "example.com/tree/client",
		"tree standalone, package=tree.Frame":      "tree standalone, package=tree.Frame",
		there + "/client":                          there + "/client",
	} {
		if got := r.text(before); got != want {
			t.Errorf("%q became %q, want %q", before, got, want)
		}
	}
}

// TestDescriptor: the generated descriptor is written unchanged if the path stays,
// and otherwise has the new path.
func TestDescriptor(t *testing.T) {
	code, err := os.ReadFile("../../proto/cimpb/cim.pb.go")
	if err != nil {
		t.Fatal(err)
	}
	goMod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	from, err := pathOf(string(goMod))
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]bool{"proto": true, "proto/cimpb": true}
	same, err := newRenamer(from, from, folders).descriptor(code)
	if err != nil || !bytes.Equal(same, code) {
		t.Errorf("the descriptor is not written as the generator wrote it: %v", err)
	}
	long := "example.com/" + strings.Repeat("x", 200) + "/cim"
	for _, to := range []string{there, long} {
		next, err := newRenamer(from, to, folders).descriptor(code)
		if err != nil {
			t.Fatal(err)
		}
		found := rawDescriptor.FindSubmatch(next)
		raw, err := unquoteLines(string(found[2]))
		if err != nil {
			t.Fatal(err)
		}
		var file descriptorpb.FileDescriptorProto
		if err := proto.Unmarshal([]byte(raw), &file); err != nil || file.GetOptions().GetGoPackage() != to+"/proto/cimpb" {
			t.Errorf("go_package %q, %v", file.GetOptions().GetGoPackage(), err)
		}
	}
}

// TestRenameTree renames a copy of this tree there and back: after the first the
// old path is gone, after the second everything is as it was.
func TestRenameTree(t *testing.T) {
	root := filepath.Join("..", "..")
	folder := filepath.Join(t.TempDir(), "tree")
	if err := copyTree(root, folder); err != nil {
		t.Fatal(err)
	}
	goMod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	before, err := pathOf(string(goMod))
	if err != nil {
		t.Fatal(err)
	}
	changed, err := renameTree(folder, there)
	if err != nil || changed < 300 {
		t.Fatalf("%d files changed, %v", changed, err)
	}
	files, folders, err := listTree(folder)
	if err != nil {
		t.Fatal(err)
	}
	old := newRenamer(before, "elsewhere.example/x", folders)
	for _, path := range files {
		text, err := readText(filepath.Join(folder, path))
		if err != nil {
			t.Fatal(err)
		}
		if old.text(string(text)) != string(text) {
			t.Errorf("%s still has %s", path, before)
		}
	}
	if again, err := renameTree(folder, there); err != nil || again != 0 {
		t.Errorf("a second time: %d files changed, %v", again, err)
	}
	if back, err := renameTree(folder, before); err != nil || back != changed {
		t.Errorf("%d files changed, and %d on the way back: %v", changed, back, err)
	}
	for _, path := range files {
		now, err := os.ReadFile(filepath.Join(folder, path))
		if err != nil {
			t.Fatal(err)
		}
		first, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(now, first) {
			t.Errorf("%s is not as it was", path)
		}
	}
}
