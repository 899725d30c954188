// Package zk keeps the live servers in ZooKeeper, in the nodes of the original:
// a persistent root, and under it one ephemeral node for each server, named as
// proto.Member.Name says. What is ours stands as JSON in the node.
//
// One goroutine of a Registry, its watcher, owns the session and everything
// that is asked of ZooKeeper. Callers share with it the snapshot and the
// claims, behind one lock that is never held while ZooKeeper is asked. A
// Registry that never registers creates no node.
//
// ZooKeeper may be away at any time: the last snapshot stands then. When there
// is a session again, members that have vanished are kept for a while, since
// the servers' own sessions may have ended too and they register again (see
// Config.SessionTimeout).
package zk
