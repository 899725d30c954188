// Package daemon runs the real Redis and ZooKeeper on this machine, for tests,
// for benchmarks and for trying out: on loopback or at a Place, with their
// data in a folder of their own; and the systems that ours is measured beside,
// a nats-server and a mosquitto. They are killed if their starter dies. It is
// no way to run them in production.
package daemon
