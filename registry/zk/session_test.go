package zk

import "testing"

// TestHosts has the library pause before each further round.
func TestHosts(t *testing.T) {
	for _, n := range []int{1, 3} {
		h := &hosts{}
		if err := h.Init([]string{"a", "b", "c"}[:n]); err != nil {
			t.Fatal(err)
		}
		for i := range 4 * n {
			if name, wait := h.Next(); name != h.names[i%n] || wait != (i > 0 && i%n == 0) {
				t.Errorf("%d of %d: %s, wait %t", i, n, name, wait)
			}
		}
	}
}
