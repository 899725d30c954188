// Package redis is a store on Redis, Redis Cluster or Sentinel, in the keys of the
// contract, which another system's processes may share: foreign.go and records.go
// have what a package needs that stands between the two.
//
// Every command and every script has one key. In a Redis Cluster a command of
// several keys is refused while their slot moves, unless all of them are on
// one side; one of a single key never is. What spans several keys is therefore
// a row of steps, any of which may be the last: each method says why that
// does no harm.
//
//	cim-account:<id>              the user's name
//	<userName>                    cim-account:<id>
//	{cim-account:<id>}:refused-before  Unix time in ms: the account's tokens that were issued before are refused
//	cim-last-user-id              the largest id that was given here
//	cim-route:<id>                host:cimPort:httpPort:epoch:generation
//	{cim-route:<id>}:generation   the last generation that was drawn
//	{cim-route:<id>}:connected    the last generation that connected or was given back
//	{cim-route:<id>}:box          a hash: the texts by their serials, what finds them, and the lease; box.go has its fields
//	login-status                  the ids of the users that have a record, as a mirror
//
// A record of three parts, as other systems write it, has generation 0 and is
// connected.
//
// A Store owns its connections and one goroutine, which makes the first
// connection if the Redis was away and repairs the mirror from then on.
package redis
