package proto

import "testing"

// TestOutcomeOf checks the outcome for each code.
func TestOutcomeOf(t *testing.T) {
	for code, want := range map[Code]Outcome{
		CodeSuccess: OutcomeDelivered, CodeOffline: OutcomeStored, CodeLimit: OutcomeBusy,
		CodeFailure: OutcomeFailed, CodeAccountMismatch: OutcomeFailed, CodeOfflineStore: OutcomeFailed, 0: OutcomeFailed,
	} {
		if got := OutcomeOf(code); got != want {
			t.Errorf("OutcomeOf(%s) = %s, want %s", code, got, want)
		}
	}
}
