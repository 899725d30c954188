// Package daemon runs the real Redis and ZooKeeper on this machine, for tests,
// benchmarks and trying out: on loopback or at a Place, with their data in a folder
// of their own; and the systems that ours is compared with, a nats-server and a
// mosquitto. They are killed if their starter dies. Do not run them in production
// with it.
package daemon
