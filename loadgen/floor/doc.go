// Package floor is the least that a messaging system can be: one thread, epoll
// and send, no framework, and no promise but that it sends on what it read. It
// checks nothing and knows no accounts; what it costs is what the machine
// costs, and every other system is measured by its distance from that.
//
// A frame is its length, its receiver and a text; a delivery is the frame as it
// came. A client first says which receiver it is, in a frame without a text,
// and is answered by the same.
package floor
