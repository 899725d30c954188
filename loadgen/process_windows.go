package loadgen

import (
	"time"

	"golang.org/x/sys/windows"
)

func ownTime() (time.Duration, error) {
	var created, ended, kernel, user windows.Filetime
	err := windows.GetProcessTimes(windows.CurrentProcess(), &created, &ended, &kernel, &user)
	return spanOf(kernel) + spanOf(user), err
}

// spanOf is a span of time, which Windows counts in 100 ns.
func spanOf(t windows.Filetime) time.Duration {
	return 100 * time.Duration(int64(t.HighDateTime)<<32|int64(t.LowDateTime))
}
