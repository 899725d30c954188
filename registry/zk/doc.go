// Package zk keeps the live servers in ZooKeeper, in the nodes of the original.
package zk
