// Package floor is the least that a messaging system can be: one thread, epoll and send, no
// framework, and no promise except that it forwards what it has read. It checks nothing and knows
// no accounts. Its cost is the machine's cost, and every other system is measured by its distance
// from that.
//
// A frame is its length, its receiver and a text; a delivery is the frame unchanged. A client first
// names its receiver number, in a frame without a text, and gets the same frame as the answer.
package floor
