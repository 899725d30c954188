package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

// textMax bounds a file that is read: larger ones are records of runs.
const textMax = 1 << 20

// skipped are folders of the root without text of ours: build results, and records
// of earlier runs, which stay as they were.
var skipped = map[string]bool{".git": true, "bin": true, "results": true, "cim-data": true}

// renamer changes the path of a module from one to another.
type renamer struct {
	from, to string
	folders  map[string]bool // of the tree, with slashes

	mention *regexp.Regexp // a path that begins with from
	edit    *regexp.Regexp // a flag of go mod edit, with the module
	line    *regexp.Regexp // the line of go.mod
}

func newRenamer(from, to string, folders map[string]bool) *renamer {
	quoted := regexp.QuoteMeta(from)
	return &renamer{
		from: from, to: to, folders: folders,
		mention: regexp.MustCompile(`(^|[^A-Za-z0-9_./~-])` + quoted + `((?:/[A-Za-z0-9_-]+)+)`),
		edit:    regexp.MustCompile(`(-(?:replace|require)[ =])` + quoted + `([=@])`),
		line:    regexp.MustCompile(`(?m)^(module[ \t]+)` + quoted + `((?:/[A-Za-z0-9_-]+)*[ \t]*)$`),
	}
}

// text changes each mention of a package of the module. A path that is no folder of
// the tree is no mention.
func (r *renamer) text(text string) string {
	text = r.mention.ReplaceAllStringFunc(text, func(found string) string {
		parts := r.mention.FindStringSubmatch(found)
		if !r.folders[strings.TrimPrefix(parts[2], "/")] {
			return found
		}
		return parts[1] + r.to + parts[2]
	})
	return r.edit.ReplaceAllString(text, "${1}"+r.to+"${2}")
}

// file changes the text of one file, whose path is from the root.
func (r *renamer) file(path string, text []byte) ([]byte, error) {
	if filepath.Base(path) == "go.mod" {
		return []byte(r.line.ReplaceAllString(string(text), "${1}"+r.to+"${2}")), nil
	}
	changed := []byte(r.text(string(text)))
	if filepath.Ext(path) != ".go" {
		return changed, nil
	}
	if strings.HasSuffix(path, ".pb.go") {
		var err error
		if changed, err = r.descriptor(changed); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if bytes.Equal(changed, text) {
		return text, nil
	}
	formatted, err := format.Source(changed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return formatted, nil
}

// renameTree changes the path of the module in root, and returns the number of
// changed files.
func renameTree(root, to string) (changed int, err error) {
	goMod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return 0, err
	}
	from, err := pathOf(string(goMod))
	if err != nil || from == to {
		return 0, err
	}
	files, folders, err := listTree(root)
	if err != nil {
		return 0, err
	}
	r := newRenamer(from, to, folders)
	for _, path := range files {
		text, err := readText(filepath.Join(root, path))
		if err != nil {
			return changed, err
		}
		next, err := r.file(filepath.ToSlash(path), text)
		if err != nil {
			return changed, err
		}
		if bytes.Equal(next, text) {
			continue
		}
		if err := writeText(filepath.Join(root, path), next); err != nil {
			return changed, err
		}
		changed++
	}
	return changed, nil
}

// listTree lists the files and folders below root, relative to it.
func listTree(root string) (files []string, folders map[string]bool, err error) {
	folders = map[string]bool{}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && skipped[name]:
			return filepath.SkipDir
		case entry.IsDir():
			folders[filepath.ToSlash(name)] = true
		case entry.Type().IsRegular() && !skipped[name]: // in a worktree .git is a file
			files = append(files, name)
		}
		return nil
	})
	return files, folders, err
}

// readText reads a file; binary or too long files are returned empty.
func readText(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil || info.Size() > textMax {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil || !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return nil, err
	}
	return text, nil
}

// writeText replaces the content of a file, and keeps its mode.
func writeText(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}

// copyTree copies the files of a tree, except skipped folders.
func copyTree(from, to string) error {
	files, _, err := listTree(from)
	if err != nil {
		return err
	}
	for _, path := range files {
		target := filepath.Join(to, path)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		content, err := os.ReadFile(filepath.Join(from, path))
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
