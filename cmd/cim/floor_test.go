package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestFloor drives the bare servers as the benchmark does, and ends them as that
// does.
func TestFloor(t *testing.T) {
	for via, args := range map[string][]string{"conn": {"floor"}, "http": {"floor", "--http"}} {
		t.Run(via, func(t *testing.T) {
			s, err := startService(args...)
			if err != nil {
				t.Fatal(err)
			}
			load := []string{
				"loadgen", "--system", "floor", "--address", s.addresses.CIM, "--conns", "20",
				"--window", "1,4", "--duration", "2s", "--warmup", "50ms", "--json",
			}
			if via == "http" {
				load = append(load, "--mode", "private", "--via", "http", "--route", "http://"+s.addresses.Route)
			}
			cmd := exec.Command("cim", load...)
			said := new(lockedBuffer)
			cmd.Stderr = said
			out, err := cmd.Output()
			if err != nil || !strings.Contains(string(out), `"system": "floor"`) || !strings.Contains(string(out), `"via": "`+via+`"`) {
				t.Errorf("%v: %s\n%s", err, said, out)
			}
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
