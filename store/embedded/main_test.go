package embedded

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also the process that TestKill and TestKillDelivery kill.
func TestMain(m *testing.M) {
	if path := os.Getenv(victimEnv); path != "" {
		os.Exit(victim(path, os.Getenv(victimKindEnv)))
	}
	goleak.VerifyTestMain(m)
}
