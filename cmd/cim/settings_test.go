package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestSecret takes a secret from the environment or the file, offers no flag
// for it, and shows it nowhere.
func TestSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cim.yaml")
	if err := os.WriteFile(file, []byte("password: hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		p      program
		value  string
		shown  string
		source string
	}{
		{"environment", program{environ: []string{"CIM_PASSWORD=hunter2"}}, "hunter2", "(hidden)", "environment CIM_PASSWORD"},
		{"file", program{file: file}, "hunter2", "(hidden)", "file " + file + " line 1"},
		{"none", program{}, "", `""`, fromDefault},
	} {
		t.Run(c.name, func(t *testing.T) {
			var password string
			s := c.p.newSettings(func(flags *pflag.FlagSet) {
				flags.StringVar(&password, "password", "", "")
			}, "password")
			cmd := &cobra.Command{}
			s.offer(cmd)
			if cmd.Flags().Lookup("password") != nil {
				t.Error("there is a flag for it")
			}
			if err := s.resolve(&c.p, cmd.Flags()); err != nil {
				t.Fatal(err)
			}
			if password != c.value {
				t.Errorf("value %q, want %q", password, c.value)
			}
			var out strings.Builder
			if err := s.write(&out); err != nil {
				t.Fatal(err)
			}
			if got, want := strings.Fields(out.String()), append([]string{"password", c.shown}, strings.Fields(c.source)...); strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("shown %q, want %q", got, want)
			}
		})
	}
}

// TestSecretFault does not quote the value.
func TestSecretFault(t *testing.T) {
	p := program{environ: []string{"CIM_PIN=hunter2"}}
	var pin int
	s := p.newSettings(func(flags *pflag.FlagSet) { numberVar(flags, &pin, "pin", 0, 9999, "") }, "pin")
	err := s.resolve(&p, pflag.NewFlagSet("", pflag.ContinueOnError))
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "pin") {
		t.Errorf("resolve: %v, want the setting named and its value not", err)
	}
}

// TestNumber walks a number over both of its bounds.
func TestNumber(t *testing.T) {
	n := 5
	v := number{&n, 3, 7}
	for text, want := range map[string]bool{
		"3": true, "7": true, "2": false, "8": false, "": false, "3.0": false, "0x3": false,
	} {
		if err := v.Set(text); (err == nil) != want {
			t.Errorf("Set(%q) = %v", text, err)
		}
	}
}

// TestLists reads lists with one and several words.
func TestLists(t *testing.T) {
	var words []string
	var counts []int
	for text, want := range map[string]int{"a": 1, "a,b": 2, "": 0} {
		if err := (texts{&words}).Set(text); err != nil || len(words) != want || (texts{&words}).String() != text {
			t.Errorf("texts.Set(%q) = %v, %v", text, words, err)
		}
	}
	if err := (numbers{&counts}).Set("1000,5000"); err != nil || len(counts) != 2 || (numbers{&counts}).String() != "1000,5000" {
		t.Errorf("numbers.Set = %v, %v", counts, err)
	}
	for _, text := range []string{"", "0", ",", "1;2", "-1"} {
		if err := (numbers{&counts}).Set(text); err == nil {
			t.Errorf("numbers.Set(%q): no error", text)
		}
	}
	if len(counts) != 2 {
		t.Errorf("a refused list changed the value to %v", counts)
	}
}
