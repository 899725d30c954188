package loadgen

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"cim/proto"
)

func whole() Config {
	c := Defaults()
	c.Routes, c.Conns, c.Windows = []string{"http://127.0.0.1:8083"}, []int{10}, []int{1}
	return c
}

func TestCheckAccepts(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"as it is":           func(*Config) {},
		"smallest text":      func(c *Config) { c.Size = OneSize(TextMin) },
		"largest text":       func(c *Config) { c.Size = OneSize(proto.TextMax) },
		"window of all HTTP": func(c *Config) { c.Windows, c.Conns = []int{64}, []int{64} },
		"a pair":             func(c *Config) { c.Mode, c.Via, c.Conns = Private, ViaConn, []int{2} },
		"mixed":              func(c *Config) { c.Mode, c.Windows, c.Conns = Mixed, []int{2}, []int{6} },
		"a shared window":    func(c *Config) { c.Procs, c.Windows, c.Conns = 2, []int{6}, []int{11} },
		"want 2, dialect v2": func(c *Config) { c.Want = proto.WantStored },
		"idle":               func(c *Config) { c.Mode, c.Windows, c.Conns = Idle, nil, []int{1} },
	} {
		c := whole()
		change(&c)
		if err := c.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCheckRefuses goes one past each edge: one fault, by the name of the flag.
func TestCheckRefuses(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"give --route, at least one URL":                                             func(c *Config) { c.Routes = nil },
		`route "127.0.0.1:8083" is not http://host:port`:                             func(c *Config) { c.Routes = []string{"127.0.0.1:8083"} },
		`route "https://host" is not http://host:port`:                               func(c *Config) { c.Routes = []string{"https://host"} },
		`mode "all" is not one of [group private mixed idle storm churn]`:            func(c *Config) { c.Mode, c.Windows = "all", nil },
		`via "post" is not http or conn`:                                             func(c *Config) { c.Via = "post" },
		"dialect 3 is not v1, v2 or cim":                                             func(c *Config) { c.Dialect = 3 },
		"want 3 is not 0, 1 or 2":                                                    func(c *Config) { c.Want = 3 },
		"want 1 is not for dialect v1, whose clients cannot acknowledge":             func(c *Config) { c.Want, c.Dialect = 1, proto.DialectV1 },
		"give --rate or --window, not both":                                          func(c *Config) { c.Rates = []int{5} },
		"give --rate or --window":                                                    func(c *Config) { c.Windows = nil },
		"window 0 is not 1 to 64":                                                    func(c *Config) { c.Windows = []int{0} },
		"window 65 is not 1 to 64":                                                   func(c *Config) { c.Windows = []int{65} },
		"give --conns, at least one number":                                          func(c *Config) { c.Conns = nil },
		"conns 1 is not at least 2":                                                  func(c *Config) { c.Conns = []int{10, 1} },
		"conns 7 is not at least 8":                                                  func(c *Config) { c.Mode, c.Via, c.Windows, c.Conns = Private, ViaConn, []int{4}, []int{7} },
		"size 63 is not within 64 to 32768":                                          func(c *Config) { c.Size = OneSize(TextMin - 1) },
		"size 32769 is not within 64 to 32768":                                       func(c *Config) { c.Size = OneSize(proto.TextMax + 1) },
		"HTTP connections 0 is not 1 to 1024":                                        func(c *Config) { c.HTTPConns = 0 },
		"HTTP connections 1 is not 2 to 1024":                                        func(c *Config) { c.HTTPConns, c.Routes = 1, []string{"http://a:1", "http://b:1"} },
		"logins at once 1025 is not 1 to 1024":                                       func(c *Config) { c.LoginsAtOnce = 1025 },
		"loops 0 is not 1 to 64":                                                     func(c *Config) { c.Loops = 0 },
		"duration 0s is not 1ms to 1h0m0s":                                           func(c *Config) { c.Duration = 0 },
		"duration 1h0m0.000000001s is not 1ms to 1h0m0s":                             func(c *Config) { c.Duration = time.Hour + 1 },
		"warmup -1ns is not 0s to 1h0m0s":                                            func(c *Config) { c.Warmup = -1 },
		"drain 999.999µs is not 1ms to 1h0m0s":                                       func(c *Config) { c.Drain = time.Millisecond - 1 },
		"rate 0 is not 1 to 1000000":                                                 func(c *Config) { c.Rates, c.Windows = []int{0}, nil },
		"server-pid 0 is not 1 to 4194304":                                           func(c *Config) { c.ServerPIDs = []int{7, 0} },
		"mix group=0,private=5 is not two shares of at least 1 and 1000000 together": func(c *Config) { c.Mode, c.Windows, c.Mix = Mixed, []int{2}, Mix{0, 5} },
		"window 1 is not 2 to 64":                                                    func(c *Config) { c.Mode = Mixed },
		`arrivals "bursts" is not constant or poisson`:                               func(c *Config) { c.Arrivals = "bursts" },
		"size 1024-64 is not within 64 to 32768":                                     func(c *Config) { c.Size = Sizes{Least: 1024, Most: 64} },
		"procs 0 is not 1 to 64":                                                     func(c *Config) { c.Procs = 0 },
		"procs 65 is not 1 to 64":                                                    func(c *Config) { c.Mode, c.Procs, c.Windows, c.Conns = Idle, 65, nil, []int{130} },
		"procs 2 leaves the first one too few: conns 5 is not at least 6":            func(c *Config) { c.Procs, c.Windows, c.Conns = 2, []int{6}, []int{10} },
		"procs 2 in mode mixed: 1000000 a second for 1m2s are up to 93000200 messages, and 90000000 can be shared": func(c *Config) {
			c.Mode, c.Procs, c.Windows, c.Rates, c.Duration, c.Conns = Mixed, 2, nil, []int{1_000_000}, time.Minute, []int{12}
		},
		"procs 4 leaves the last one too few: conns 5 is not at least 6": func(c *Config) { c.Mode, c.Procs, c.Windows, c.Rates, c.Conns = Mixed, 4, nil, []int{1}, []int{23} },
		"procs 3 is more than can share window 2":                        func(c *Config) { c.Mode, c.Procs, c.Windows = Private, 3, []int{2} },
		"procs 6 leaves the last one too few: conns 1 is not at least 2": func(c *Config) { c.Mode, c.Procs, c.Windows = Private, 6, []int{6} },
		"ramp -1 is not 0 to 1000000":                                    func(c *Config) { c.Ramp = -1 },
		"think -1ns is not 0s to 1h0m0s":                                 func(c *Config) { c.Think = -1 },
		"give --rate, the logins a second of mode churn":                 func(c *Config) { c.Mode = Churn },
		"server-pid 7 is given twice":                                    func(c *Config) { c.ServerPIDs = []int{7, 8, 7} },
	} {
		c := whole()
		change(&c)
		if err := c.Check(); err == nil || err.Error() != want {
			t.Errorf("error %v, want %q and nothing else", err, want)
		}
	}
	if err := new(Config).Check(); len(strings.Split(err.Error(), "\n")) < 6 {
		t.Errorf("not every fault is reported: %v", err)
	}
}

// TestDescriptors names the number, the limit and what to do.
func TestDescriptors(t *testing.T) {
	limit, err := descriptorLimit()
	if err != nil {
		t.Fatal(err)
	}
	c := whole()
	extra := 3*c.LoginsAtOnce + c.HTTPConns + descriptorsSpare
	c.Conns = []int{limit - extra}
	if _, err := preflight(c); err != nil {
		t.Error(err)
	}
	c.Conns[0]++
	_, err = preflight(c)
	if err == nil || !strings.Contains(err.Error(), "ulimit -n") || !strings.Contains(err.Error(), "--procs 2") {
		t.Errorf("error %v", err)
	}
	c.Mode, c.Windows = Idle, nil
	if _, err = preflight(c); err == nil || !strings.Contains(err.Error(), "share them with --procs 2, or") {
		t.Errorf("error %v", err)
	}
	c.Procs = 2
	if _, err = preflight(c); err != nil {
		t.Errorf("shared by two: %v", err)
	}
}

// TestHinted says what to do where an error alone does not.
func TestHinted(t *testing.T) {
	for want, err := range map[string]error{
		"--src": syscall.EADDRNOTAVAIL, "ulimit -n": syscall.EMFILE, "ulimit -n where it was started": codeError{proto.CodeNoServer, ""},
	} {
		if got := hinted(fmt.Errorf("x: %w", err)); !errors.Is(got, err) || !strings.Contains(got.Error(), want) {
			t.Errorf("%v, want %q", got, want)
		}
	}
	if other := errors.New("other"); hinted(other) != other {
		t.Error("another error is changed")
	}
}

// TestPorts: the ports of the sources are counted for the clients of all
// processes together.
func TestPorts(t *testing.T) {
	text, err := os.ReadFile(portRangeFile)
	if err != nil {
		t.Skip(err)
	}
	var first, last int
	if _, err := fmt.Sscan(string(text), &first, &last); err != nil {
		t.Fatal(err)
	}
	c := whole()
	c.Mode, c.Windows, c.Procs, c.Conns = Idle, nil, 64, []int{last - first + 1}
	if warnings, err := preflight(c); err != nil || len(warnings) != 0 {
		t.Errorf("as many as there are ports: %q, %v", warnings, err)
	}
	c.Conns[0]++
	if warnings, err := preflight(c); err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "--src") {
		t.Errorf("one more: %q, %v", warnings, err)
	}
}

// TestCheckPipes: several workers are refused where they cannot be talked to.
func TestCheckPipes(t *testing.T) {
	for goos, runs := range map[string]bool{"linux": true, "darwin": true, "windows": false} {
		if err := checkPipes(goos); (err == nil) != runs {
			t.Errorf("%s: %v", goos, err)
		}
	}
}
