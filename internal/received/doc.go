// Package received is the pure core of what a client knows of the texts that it
// received: which have come before, and how many it may acknowledge. Its types
// belong to one owner, which locks them.
package received
