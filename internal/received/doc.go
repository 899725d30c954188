// Package received is the pure core of a client's record of received texts: which
// have come before, and how many it may acknowledge. Its types belong to one owner,
// which locks them.
package received
