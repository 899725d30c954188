// Package e2e tests the system from outside: the real binary as a process of
// its own, real sockets, and clients that count every delivery.
//
// It has no code besides its tests, and nothing imports it. What is tested
// stands behind the type system, which knows the routes' URLs and the admin
// listeners; where a user's server is comes from the answer to its login,
// never from anywhere else. So the same tests hold for any number of routes
// and servers.
//
// There are three kinds of client. An old one is a stand-in for the original's:
// it speaks dialect v2, and the oldest v1, and plain HTTP, and any answer or
// frame that the original could not read is a fault. One of ours speaks our
// dialect. All read frames with the protobuf library, not with package proto.
//
// Tests of a cluster's parts, which kill a server, a route, Redis or ZooKeeper,
// return at once on a standalone.
//
// A test that fails while the machine lets processes stand still, as they log, is
// run again, three times at most.
//
// Nothing here touches the insides of a process: it is started, asked,
// stopped and killed.
package e2e
