// Package redis is a store on Redis, in the keys of the original.
package redis
