package loadgen

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// node is the part of JSON Schema that the published one uses.
type node struct {
	Schema      string           `json:"$schema"`
	Title       string           `json:"title"`
	Ref         string           `json:"$ref"`
	Type        string           `json:"type"`
	Description string           `json:"description"`
	Required    []string         `json:"required"`
	Properties  map[string]*node `json:"properties"`
	Closed      *bool            `json:"additionalProperties"`
	Items       *node            `json:"items"`
	Minimum     *float64         `json:"minimum"`
	Defs        map[string]*node `json:"$defs"`
}

func readSchema(t *testing.T) *node {
	t.Helper()
	file, err := os.Open("../docs/loadgen.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields() // a field that is not in node would be skipped
	root := new(node)
	if err := decoder.Decode(root); err != nil {
		t.Fatal(err)
	}
	return root
}

func (n *node) resolve(root *node) *node {
	if n.Ref != "" {
		return root.Defs[strings.TrimPrefix(n.Ref, "#/$defs/")]
	}
	return n
}

// faults are where v is not as n says.
func (n *node) faults(root *node, path string, v any) (faults []string) {
	n = n.resolve(root)
	bad := func(format string, args ...any) { faults = append(faults, path+": "+fmt.Sprintf(format, args...)) }
	switch v := v.(type) {
	case map[string]any:
		if n.Type != "object" {
			bad("an object, want %s", n.Type)
		}
		for _, name := range n.Required {
			if _, has := v[name]; !has {
				bad("no %s", name)
			}
		}
		for name, part := range v {
			if n.Properties[name] == nil {
				bad("%s is not in the schema", name)
				continue
			}
			faults = append(faults, n.Properties[name].faults(root, path+"."+name, part)...)
		}
	case []any:
		if n.Type != "array" {
			bad("an array, want %s", n.Type)
			break
		}
		for i, part := range v {
			faults = append(faults, n.Items.faults(root, fmt.Sprintf("%s[%d]", path, i), part)...)
		}
	case string:
		if n.Type != "string" {
			bad("a string, want %s", n.Type)
		}
	case bool:
		if n.Type != "boolean" {
			bad("a boolean, want %s", n.Type)
		}
	case float64:
		if n.Type != "number" && (n.Type != "integer" || v != float64(int64(v))) {
			bad("%v, want %s", v, n.Type)
		}
		if n.Minimum != nil && v < *n.Minimum {
			bad("%v, want %v at least", v, *n.Minimum)
		}
	default:
		bad("%v", v)
	}
	return faults
}

// TestSchemaHoldsOutput validates what real runs report.
func TestSchemaHoldsOutput(t *testing.T) {
	root := readSchema(t)
	for name, load := range map[string]func(*Config){
		"group, rate":   func(c *Config) { c.Rates = []int{100} },
		"group, window": func(c *Config) { c.Windows = []int{1, 3} },
		"private":       func(c *Config) { c.Mode, c.Via, c.Rates, c.Verify = Private, ViaConn, []int{100}, true },
		"idle":          func(c *Config) { c.Mode = Idle },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t)
			p.deliver = once(func(_ *peer, _ *peerSession, frame, _ []byte) [][]byte { return [][]byte{frame, frame} })
			cfg := small(p)
			load(&cfg)
			r, err := Run(t.Context(), cfg, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			checkSchema(t, root, r)
		})
	}
	stopped := Report{Stopped: "signal: interrupt", Trials: []Trial{{
		Partial: true, LoginRetries: 1, Foreign: 1, Faults: []string{"x"}, Warnings: []string{"y"}, Processes: []Process{{PID: 1}},
	}}}
	checkSchema(t, root, stopped)
}

func checkSchema(t *testing.T, root *node, r Report) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	for _, fault := range root.faults(root, "report", document) {
		t.Error(fault)
	}
}

// TestSchemaIsReport compares the schema with the types: the same names, the same kinds, required
// if always there, and a description of each.
func TestSchemaIsReport(t *testing.T) {
	root := readSchema(t)
	compareSchema(t, root, root, "report", reflect.TypeFor[Report]())
}

func compareSchema(t *testing.T, root, n *node, path string, of reflect.Type) {
	n = n.resolve(root)
	kinds := map[reflect.Kind]string{
		reflect.Struct: "object", reflect.Slice: "array", reflect.String: "string", reflect.Bool: "boolean",
		reflect.Int: "integer", reflect.Int64: "integer", reflect.Uint64: "integer", reflect.Float64: "number",
	}
	if want := kinds[of.Kind()]; n.Type != want {
		t.Errorf("%s: %q, want %q", path, n.Type, want)
		return
	}
	if of.Kind() == reflect.Slice {
		compareSchema(t, root, n.Items, path+"[]", of.Elem())
	}
	if of.Kind() != reflect.Struct {
		return
	}
	fields := slices.DeleteFunc(reflect.VisibleFields(of), func(f reflect.StructField) bool { return !f.IsExported() })
	if n.Closed == nil || *n.Closed || len(fields) != len(n.Properties) {
		t.Errorf("%s: %d properties, open to more %v, want %d and no more", path, len(n.Properties), n.Closed, len(fields))
	}
	for _, field := range fields {
		name, option, optional := strings.Cut(field.Tag.Get("json"), ",")
		if optional && !strings.HasPrefix(option, "omit") {
			t.Errorf("%s.%s: option %q", path, name, option)
		}
		part := n.Properties[name]
		if part == nil || part.Description == "" {
			t.Errorf("%s.%s is not described", path, name)
			continue
		}
		if slices.Contains(n.Required, name) == optional {
			t.Errorf("%s.%s: required and optional %t", path, name, optional)
		}
		compareSchema(t, root, part, path+"."+name, field.Type)
	}
}

// TestSchemaRefuses: the test itself sees faults.
func TestSchemaRefuses(t *testing.T) {
	root := readSchema(t)
	for _, text := range []string{
		`{}`, `[]`, `{"trials":5}`, `{"trials":[{"conns":"7"}]}`, `{"unheard":1}`, `{"trials":[{"conns":1.5}]}`, `{"trials":[{"conns":-1}]}`,
	} {
		var document any
		if err := json.Unmarshal([]byte(text), &document); err != nil {
			t.Fatal(err)
		}
		if faults := root.faults(root, "report", document); len(faults) == 0 {
			t.Errorf("%s passes", text)
		}
	}
}
