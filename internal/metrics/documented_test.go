package metrics

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumented: docs/operations.md lists each metric of the program, and no
// other.
func TestDocumented(t *testing.T) {
	const root = "../.."
	page, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, name := range regexp.MustCompile(`\bcim_[a-z_]+`).FindAllString(string(page), -1) {
		documented[name] = true
	}
	exported := map[string]bool{}
	for _, folder := range []string{"server", "route", "compat", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, name := range regexp.MustCompile("[\"`](cim_(?:server|route|admin|log|accept|memory)_[a-z_]+)").FindAllSubmatch(source, -1) {
				exported[string(name[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range exported {
		if !documented[name] {
			t.Errorf("%s is not in docs/operations.md", name)
		}
	}
	for name := range documented {
		if !exported[name] {
			t.Errorf("docs/operations.md has %s, which nothing exports", name)
		}
	}
	if len(exported) == 0 {
		t.Error("no metric was found")
	}
}
