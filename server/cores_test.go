package server

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// TestLoopsFollowTheCoresOfTheProcess: the number of event loops is half the cores
// that the process may use, whatever the machine has. GOMAXPROCS stands for a CPU
// quota: the runtime sets it from that.
func TestLoopsFollowTheCoresOfTheProcess(t *testing.T) {
	const marker = "CIM_TEST_PRINT_LOOPS"
	if os.Getenv(marker) != "" {
		fmt.Printf("loops=%d;", Config{}.LoopCount())
		return
	}
	if !manyLoops {
		t.Skip("one loop on this system")
	}
	for procs, want := range map[int]int{1: 1, 3: 1, 2*runtime.NumCPU() + 4: runtime.NumCPU() + 2} {
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		child.Env = append(os.Environ(), marker+"=1", fmt.Sprint("GOMAXPROCS=", procs))
		out, err := child.CombinedOutput()
		if err != nil || !strings.Contains(string(out), fmt.Sprintf("loops=%d;", want)) {
			t.Errorf("%d cores: %v, %s; want %d loops", procs, err, out, want)
		}
	}
}
