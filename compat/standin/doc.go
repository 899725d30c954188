// Package standin is a stand-in for the Java side of the contract, for tests:
// its server, its route and its client, each a part of this process that can
// be told from the original by nothing on the wire, in HTTP, in Redis or in
// ZooKeeper. It knows nothing of the module's other packages, so that it does
// not share their mistakes.
//
// It has the original's habits: one request for each receiver, a scan of all
// keys for a group message, readers that fail on a member which they do not
// know. These of its faults stay in, since ours must live with them:
//
//   - A second login on one server takes the first one's channel, and the end
//     of the first then removes the second. See channels.end.
//   - A message for somebody who is not there is answered with success. See
//     Server.sendMsg.
//   - A login whose first choice of a server is dead sends its client to another
//     one, and the record names the first. See Route.pick.
//   - The first server that fails ends a group message. See Route.group.
//   - The id of an expired stored message stays in its list, and in front of a
//     hundred of them nothing is fetched any more. See Route.fetch.
//
// Nothing of a system that serves users may import it.
package standin
