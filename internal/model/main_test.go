package model

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// checksDefault is how many schedules run without -rapid.checks.
const checksDefault = "300"

func TestMain(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "rapid.checks" })
	if !set {
		if err := flag.Set("rapid.checks", checksDefault); err != nil {
			panic(err)
		}
	}
	if code := m.Run(); code != 0 {
		os.Exit(code)
	}
	if err := goleak.Find(); err != nil {
		panic(err)
	}
}
