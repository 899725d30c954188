package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestYAMLText reads plain values that YAML might take for numbers, dates and
// the like: they stay the text that was written.
func TestYAMLText(t *testing.T) {
	for _, written := range []string{
		"00491701234567", "1.10", "1_000", "0x10", "0o17", "017", "1e3", "1234567890123456e10", "12345678901234567890123",
		"+49", "-0", ".5", "5.", ".inf", ".NaN", "yes", "no", "on", "off", "y", "n", "True", "FALSE", "~", "null", "Null", "NULL",
		"2026-01-02", "2026-01-02T03:04:05Z", "12:30:45", "190:20:30", "=", "<<", "0b11", "1,000", "a b", "Zoë",
	} {
		for _, style := range []string{"k: %", "k: %  # a comment", "? k\n: %", "{k: %}", "k: '%'", `k: "%"`, "k: !!str %"} {
			if strings.Contains(style, "{") && strings.Contains(written, ",") {
				continue // there a comma divides
			}
			read, err := parseYAML([]byte(strings.ReplaceAll(style, "%", written) + "\n"))
			if err != nil {
				t.Errorf("%q in %q: %v", written, style, err)
				continue
			}
			if got, err := scalarText(read.values["k"]); err != nil || got != written {
				t.Errorf("%q in %q: %q, %v", written, style, got, err)
			}
		}
	}
}

// TestYAMLShapes reads documents of each shape.
func TestYAMLShapes(t *testing.T) {
	for text, want := range map[string]map[string]any{
		"":                                  {},
		"# only a comment\n":                {},
		"---\n":                             {},
		"\ufeffa: 1\r\nb: 2\r\n":            {"a": "1", "b": "2"},
		"a:\nb: ~\nc: ''\n":                 {"a": nil, "b": nullText("~"), "c": ""},
		"a: [1, ~, 'x, y']\n":               {"a": []any{"1", nullText("~"), "x, y"}},
		"a: |\n  1\n  2\nb: >-\n  3\n  4\n": {"a": "1\n2\n", "b": "3 4"},
		"a: &x 007\nb: *x\n":                {"a": "007", "b": "007"},
		"a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\nc: {k: 4, <<: [*x]}\n": {
			"a": map[string]any{"k": "1", "l": "2"}, "b": map[string]any{"k": "3", "l": "2"}, "c": map[string]any{"k": "4", "l": "2"},
		},
		"a: 1\n---\n": {"a": "1"},
		"1: x\n":      {"1": "x"},
	} {
		read, err := parseYAML([]byte(text))
		if err != nil || !reflect.DeepEqual(read.values, want) {
			t.Errorf("%q: %#v, %v, want %#v", text, read, err, want)
		}
	}
	read, err := parseYAML([]byte("a: 1\n\nb:\n  c: 2\n"))
	if want := map[string]int{"a": 1, "b": 3, "b.c": 4}; err != nil || !reflect.DeepEqual(read.lines, want) {
		t.Errorf("lines: %v, %v, want %v", read.lines, err, want)
	}
}

// TestYAMLFaults names the line of what cannot be read.
func TestYAMLFaults(t *testing.T) {
	nested := strings.Repeat("[", yamlDepthMax+2) + strings.Repeat("]", yamlDepthMax+2)
	bomb := "a: &a [1,2,3,4,5,6,7,8]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n" +
		"d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
	for text, want := range map[string]string{
		"a: 1\n\tb: 2\n":      "line 2",
		"a: 1\na: 2\n":        `line 2: mapping key "a" already defined at line 1`,
		"- a\n":               "line 1: want settings",
		"\nwords\n":           "line 2: want settings",
		"\"\"\n":              "line 1: want settings",
		"a: 1\n---\nb: 2\n":   "line 2: a second document",
		"a: 1\n---\n''\n":     "line 2: a second document",
		"[a]: 1\n":            "line 1: want the name",
		"a: !!binary aGk=\n":  "line 1: the tag !!binary",
		"a: !vault x\n":       "line 1: the tag !vault",
		"a: &x [*x]\n":        "line 1: too many values, or too deeply nested",
		"a: " + nested + "\n": "line 1: too many values",
		bomb:                  "too many values",
		"a: &x 1\n<<: *x\n":   "line 1: want a mapping to merge",
		"a: *nobody\n":        "unknown anchor",
		"a: 1\n---\nb: [\n":   "line",
	} {
		if _, err := parseYAML([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}

// TestYAMLFile walks a file to its bound and one byte past it.
func TestYAMLFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cim.yaml")
	for size, good := range map[int]bool{yamlBytesMax: true, yamlBytesMax + 1: false} {
		if err := os.WriteFile(path, []byte("#"+strings.Repeat("x", size-1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readYAMLFile(path); (err == nil) != good {
			t.Errorf("a file of %d bytes: %v", size, err)
		}
	}
	if _, err := readYAMLFile("/dev/zero"); err == nil {
		t.Error("an endless file was read")
	}
	if _, err := readYAMLFile(t.TempDir()); err == nil {
		t.Error("a folder was read")
	}
}

// FuzzYAML never takes a value for anything but text, and ends.
func FuzzYAML(f *testing.F) {
	for _, seed := range []string{"a: 1\n", "a: &x [*x]\n", "a: {<<: *x}", "? a\n: [~, 1]\n", "a: !!binary x"} {
		f.Add([]byte(seed))
	}
	var check func(t *testing.T, value any)
	check = func(t *testing.T, value any) {
		switch v := value.(type) {
		case nil, string, nullText:
		case []any:
			for _, item := range v {
				check(t, item)
			}
		case map[string]any:
			for _, item := range v {
				check(t, item)
			}
		default:
			t.Fatalf("a value of type %T", value)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 4096 {
			return
		}
		if read, err := parseYAML(text); err == nil {
			check(t, read.values)
		}
	})
}

// TestClosest finds the word that was meant, and none where none is near.
func TestClosest(t *testing.T) {
	settings := []string{"cim-port", "http-port", "route-port", "admin-port", "bind", "zk", "zk-root", "link-secret", "data"}
	for word, want := range map[string]string{
		"cim-prot": "cim-port", "cim_port": "cim-port", "CIM.PORT": "cim-port", "port": "cim-port", "htp-port": "http-port",
		"bnid": "bind", "link_secret": "link-secret", "linksecrt": "link-secret", "zkroot": "zk-root", "dta": "data",
		"colour": "", "x": "", "": "", strings.Repeat("a", 100): "",
	} {
		if got := closest(word, settings); got != want {
			t.Errorf("closest(%q) = %q, want %q", word, got, want)
		}
	}
}
