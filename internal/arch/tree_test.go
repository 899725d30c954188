package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// root is the module's folder, relative to this one.
const root = "../.."

// module is the prefix of all own imports: the path in go.mod and a slash.
var module = readModule() + "/"

func readModule() string {
	goMod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(goMod)) {
		if path, is := strings.CutPrefix(line, "module "); is {
			return strings.TrimSpace(path)
		}
	}
	panic("go.mod has no module")
}

// source is one Go file of the module.
type source struct {
	folder string // from the module's root, with slashes
	name   string
	lines  int
	text   string
	syntax *ast.File
}

func (s source) path() string { return path.Join(s.folder, s.name) }

// test reports whether s is compiled into tests only.
func (s source) test() bool { return strings.HasSuffix(s.name, "_test.go") }

// external reports whether s belongs to a package's external test.
func (s source) external() bool { return s.test() && strings.HasSuffix(s.syntax.Name.Name, "_test") }

// generated reports whether protoc wrote s.
func (s source) generated() bool { return strings.HasSuffix(s.name, ".pb.go") }

// imports are the paths that s imports.
func (s source) imports() []string {
	var paths []string
	for _, spec := range s.syntax.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			panic(err) // the parser accepted the literal
		}
		paths = append(paths, p)
	}
	return paths
}

func parseSource(folder, name, text string) (source, error) {
	syntax, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, fmt.Errorf("%s: %w", path.Join(folder, name), err)
	}
	return source{folder: folder, name: name, lines: strings.Count(text, "\n"), text: text, syntax: syntax}, nil
}

// loadTree reads all Go files of the module, except folders that the go command
// ignores, and other modules.
func loadTree(t *testing.T) []source {
	t.Helper()
	var tree []source
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && file != root && (ignored(entry.Name()) || ofOther(file)) {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(file) != ".go" {
			return nil
		}
		s, err := readSource(file)
		tree = append(tree, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(tree) == 0 {
		t.Fatalf("no Go file under %s", root)
	}
	return tree
}

func readSource(file string) (source, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return source{}, err
	}
	folder, err := filepath.Rel(root, filepath.Dir(file))
	if err != nil {
		return source{}, err
	}
	return parseSource(filepath.ToSlash(folder), filepath.Base(file), string(text))
}

// ofOther reports whether the folder is a module of its own.
func ofOther(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, "go.mod"))
	return err == nil
}

func ignored(folder string) bool {
	return folder == "testdata" || strings.HasPrefix(folder, ".") || strings.HasPrefix(folder, "_")
}
