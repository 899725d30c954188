package loadgen

import (
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	kernel32                  = windows.NewLazySystemDLL("kernel32.dll")
	queryPerformanceCounter   = kernel32.NewProc("QueryPerformanceCounter")
	queryPerformanceFrequency = kernel32.NewProc("QueryPerformanceFrequency")
)

// monotonic is the performance counter, which all processes share, in ns.
func monotonic() (int64, error) {
	var count, perSecond int64
	if ok, _, err := queryPerformanceCounter.Call(uintptr(unsafe.Pointer(&count))); ok == 0 {
		return 0, err
	}
	if ok, _, err := queryPerformanceFrequency.Call(uintptr(unsafe.Pointer(&perSecond))); ok == 0 {
		return 0, err
	}
	// In two steps, since the product of all ticks would not fit.
	return count/perSecond*int64(time.Second) + count%perSecond*int64(time.Second)/perSecond, nil
}
