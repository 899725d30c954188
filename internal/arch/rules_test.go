package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// rule reports all violations in a tree, one line for each.
type rule func(tree []source) []string

// eachSource makes a rule of a check that needs one file only.
func eachSource(check func(s source) []string) rule {
	return func(tree []source) []string {
		var faults []string
		for _, s := range tree {
			for _, fault := range check(s) {
				faults = append(faults, s.path()+": "+fault)
			}
		}
		return faults
	}
}

// checkLayers allows own imports strictly downwards only; within a layer only a
// subfolder may import its parent, and a parent's test its subfolder.
func checkLayers(s source) []string {
	if _, layered := layers[s.folder]; !layered && !outside[s.folder] && !above[s.folder] {
		return []string{"the folder has no layer in ARCHITECTURE.md"}
	}
	var faults []string
	for _, p := range s.imports() {
		target, own := strings.CutPrefix(p, module)
		if own && !mayImport(s, target) {
			faults = append(faults, "may not import "+p)
		}
	}
	return faults
}

func mayImport(s source, target string) bool {
	to, layered := layers[target]
	from, placed := layers[s.folder]
	switch {
	case !layered:
		return false
	case above[s.folder] || shown[s.folder] && s.external():
		return true
	case placed && to == from:
		return strings.HasPrefix(s.folder, target+"/") || s.test() && strings.HasPrefix(target, s.folder+"/")
	}
	return placed && to < from
}

// checkDoors allows an outside module through its doors only.
func checkDoors(s source) []string {
	if s.test() || s.folder == testFolder || outside[s.folder] {
		return nil
	}
	var faults []string
	for _, p := range s.imports() {
		if foreign(p) && !slices.Contains(doors[moduleOf(p)], s.folder) {
			faults = append(faults, p+" may not come in here")
		}
	}
	return faults
}

// foreign reports whether path is neither ours nor the standard library's.
func foreign(path string) bool {
	host, _, _ := strings.Cut(path, "/")
	return !strings.HasPrefix(path, module) && strings.Contains(host, ".")
}

// moduleOf finds the module of path among those that have doors.
func moduleOf(path string) string {
	for m := range doors {
		if within(path, m) {
			return m
		}
	}
	return ""
}

// within reports whether path is parent or below it.
func within(path, parent string) bool {
	return path == parent || strings.HasPrefix(path, parent+"/")
}

// checkPurity refuses goroutines, channels, locks, clocks and sockets in the pure
// packages.
func checkPurity(s source) []string {
	if !pure[s.folder] || s.test() {
		return nil
	}
	var faults []string
	for _, p := range s.imports() {
		if slices.ContainsFunc(impure, func(parent string) bool { return within(p, parent) }) && !purified[p] {
			faults = append(faults, "is pure and may not import "+p)
		}
	}
	ast.Inspect(s.syntax, func(n ast.Node) bool {
		if what := concurrency(n); what != "" {
			faults = append(faults, "is pure and may not have "+what)
		}
		return true
	})
	return faults
}

// concurrency names n if it is part of the language's concurrency.
func concurrency(n ast.Node) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "a go statement"
	case *ast.ChanType:
		return "a channel"
	case *ast.SelectStmt:
		return "a select"
	case *ast.SendStmt:
		return "a send"
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			return "a receive"
		}
	}
	return ""
}

// findUndocumented requires a doc of each package: its job, its owner, what it
// never does.
func findUndocumented(tree []source) []string {
	documented := map[string]bool{}
	for _, s := range tree {
		if !s.test() {
			documented[s.folder] = documented[s.folder] || hasDoc(s)
		}
	}
	var faults []string
	for folder, has := range documented {
		if !has {
			faults = append(faults, folder+": the package has no doc")
		}
	}
	slices.Sort(faults)
	return faults
}

func hasDoc(s source) bool {
	doc := s.syntax.Doc.Text()
	if s.syntax.Name.Name == "main" {
		return strings.HasPrefix(doc, "Command ")
	}
	return strings.HasPrefix(doc, "Package "+s.syntax.Name.Name+" ")
}

// checkLength bounds the length of a file.
func checkLength(s source) []string {
	most := linesMax
	if s.test() {
		most = testLinesMax
	}
	if s.generated() || s.lines < most {
		return nil
	}
	return []string{fmt.Sprintf("has %d lines, want fewer than %d", s.lines, most)}
}

// checkNames refuses a package, a folder or a file whose name does not describe its
// job.
func checkNames(s source) []string {
	var faults []string
	for _, word := range empty {
		if strings.Contains(s.path(), word) || strings.Contains(s.syntax.Name.Name, word) {
			faults = append(faults, fmt.Sprintf("%q in a name says nothing about the job", word))
		}
	}
	return faults
}

// checkAdapter keeps the adapter's system out of the packages that it adapts.
func checkAdapter(s source) []string {
	var faults []string
	if apart[s.folder] && strings.Contains(strings.ToLower(s.text), word) {
		faults = append(faults, fmt.Sprintf("%q is what %s is for", word, adapter))
	}
	if joins[s.folder] || above[s.folder] || within(s.folder, adapter) {
		return faults
	}
	for _, p := range s.imports() {
		if within(strings.TrimPrefix(p, module), adapter) {
			faults = append(faults, "may not import "+p)
		}
	}
	return faults
}
