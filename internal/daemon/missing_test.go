package daemon

import (
	"errors"
	"strings"
	"testing"
)

// TestMissing names the missing program and its package, and no other one.
func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for name, want := range map[string]string{"nosuch": "recommends nosuch", "java": "recommends default-jre-headless"} {
		_, err := program(name)
		if !errors.Is(err, ErrMissing) || !strings.HasPrefix(err.Error(), name+": not installed") || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
