package client

import (
	"strings"
	"testing"
	"time"
)

// TestCheck reports all faults of a config at once.
func TestCheck(t *testing.T) {
	err := Config{Routes: []string{"127.0.0.1:8083", "ftp://x"}, Name: " ann"}.Check()
	for _, want := range []string{`"127.0.0.1:8083"`, `"ftp://x"`, `" ann"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check() = %v, want it to name %s", err, want)
		}
	}
	if err := (Config{Name: "ann"}).Check(); err == nil {
		t.Error("Check() without a route: no error")
	}
	if err := (Config{Routes: []string{"http://h:1"}, Name: "ann"}).Check(); err != nil {
		t.Errorf("Check() = %v", err)
	}
}

// TestJitter walks the pauses up to their bound.
func TestJitter(t *testing.T) {
	for i, most := range []time.Duration{1, 2, 4, 8, 15, 15} {
		most *= time.Second
		if pause := (Config{}).pause(i + 1); pause < 0 || pause >= most {
			t.Errorf("pause %v before attempt %d, want less than %v", pause, i+1, most)
		}
		if got := longest(i + 1); got != most {
			t.Errorf("the longest pause before attempt %d is %v, want %v", i+1, got, most)
		}
	}
	if got := longest(1 << 40); got != pauseMax {
		t.Errorf("the longest pause after many is %v, want %v", got, pauseMax)
	}
}
