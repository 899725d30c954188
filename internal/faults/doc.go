// Package faults has the fault tests: a cluster of real processes, a crowd of users that reconnect,
// a steady load, and a part of the cluster that dies, stalls, is cut off or is replaced meanwhile.
// A ledger counts every delivery.
//
// TestPromises is about wants: 100,000 texts of wants 0, 1 and 2 for each fault, between clients of
// ours. Some of them are processes that are killed and that know what they have sent or finished.
//
// TestOlderRelease replaces an older release by this one under load, and back. It builds the older
// one from its commit, or takes the executable that -older names; without -faults, -every or -older
// it does not run.
//
// Without a flag the quick tests run, with small numbers; with -every all of them; with -faults all
// of them run, with the numbers of a real test, and print their figures. -seed repeats the choices
// of a run. Some need to be root, for network namespaces.
//
// It has only tests, and no test imports it.
package faults
