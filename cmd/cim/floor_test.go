package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestFloor drives the bare server as the benchmark does, and ends it as that
// does.
func TestFloor(t *testing.T) {
	s, err := startService("floor")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cim", "loadgen", "--system", "floor", "--address", s.addresses.CIM, "--conns", "20",
		"--window", "1,4", "--duration", "2s", "--warmup", "50ms", "--json")
	said := new(lockedBuffer)
	cmd.Stderr = said
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), `"system": "floor"`) {
		t.Errorf("%v: %s\n%s", err, said, out)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}
