package cimtest

import "go.uber.org/goleak"

// LibraryGoroutines are the goroutines that libraries below cim keep for the
// life of the process, however many systems have started and ended: the pool of
// the event loops, whose workers end after 10 s, and the clock of the HTTP
// server. Pass them to goleak:
//
//	func TestMain(m *testing.M) {
//		goleak.VerifyTestMain(m, cimtest.LibraryGoroutines()...)
//	}
func LibraryGoroutines() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	}
}
