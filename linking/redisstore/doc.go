// Package redisstore keeps the records of any number of gateways in Redis 7:
// one server, one watched by Sentinel, or a Cluster.
//
// # Durability
//
// Commit returns nil only after the master has run the commit script. What that
// is worth depends on Redis' settings, and Open refuses those that lose
// acknowledged commits, see check.go:
//
//   - appendonly yes, appendfsync always: the master answers after fsync. An
//     acknowledged commit survives the end of gateway and Redis at any instant,
//     and a power cut as far as the disk keeps its word.
//   - appendfsync everysec: a power cut, and on a slow disk even the mere end of
//     Redis, loses about two seconds of acknowledged commits. Open warns.
//   - Sentinel and Cluster replicate behind the answer. A failover loses what the
//     promoted replica had not received. What limits the loss: with replicas, a
//     master that no replica acknowledges for 3 s answers nothing more (guard.go).
//     What makes it visible: the counter below. Nothing makes it impossible.
//
// # Rollback
//
// Every commit adds one to its shard's counter. Each process remembers the
// highest it has seen, names it in every commit, and reads it with every read. A
// shard that shows less has lost acknowledged commits: it answers
// linking.ErrRolledBack until an operator has said that it is to go on (Accept for
// every gateway, AcceptRollback for this one). A process
// that has not seen the shard since it started cannot tell.
//
// # Keys
//
// {SS} is the shard, in braces, so that all keys of a commit are in one slot of a
// Cluster. What follows the braces says what is stored there; nothing else ever
// writes these keys, and that is why no command of the commit script can meet a
// value of the wrong type.
//
//	{SS}kind:id       string  a record: version(6) due(7) data, see codec.go
//	{SS}n             string  the counter of commits
//	{SS}D             zset    records with a due time: "kind:id" by Unix milliseconds
//	{SS}Lkind:owner   zset    a list: ids, all with score 0
//	{SS}Elog          stream  an event log: entries 0-1, 0-2, … each with field "e"
//	{SS}Iid           string  a commit's id(16): "1" applied, "0" never to be applied
//	{SS}h, {meta}h    string  heartbeat of a master that has replicas
//	{meta}store       string  the identity of the store
//	{meta}unsafe      string  when an operator first overrode a refusal
//	{meta}accepted    string  when an operator last accepted what was lost
//
// Record kinds are lower-case letters and a record's key has a colon behind them,
// so no record is ever named like a counter or an index.
//
// # What becomes of a commit
//
// A send has four outcomes, and the commit's id makes all of them safe to repeat:
// it never arrived; it was applied and the answer was lost; another writer was
// faster; two copies of it race. Commit sends again, under the same id, until it
// knows, its context ends or the commit is too old. An answer of the script
// settles it. So does a refusal before the script ran, if nothing was sent
// before. Otherwise the commit is open, and the error is none of those the port
// names.
//
// One case needs care: a send that got no answer may still arrive, much later
// than a copy of it that was refused with a conflict. By then the record may be
// back at the version it names (removed and made again), and it would apply a
// commit that was answered with ErrConflict. So a conflict that follows an open
// send marks the id as never to be applied.
package redisstore
