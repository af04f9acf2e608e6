// Package boltstore keeps everything of one gateway in one file, by one process,
// with nothing else to install.
//
// # Durability
//
// Commit returns nil only after the file system has said that the bytes are on
// the disk (fdatasync, twice a batch: data, then the page that makes them count).
// So an acknowledged commit survives the end of the process at any instant, and a
// power cut as far as disk and file system keep their word: a controller that
// acknowledges from a cache without a battery does not. bbolt documents one such
// fault of ext4 with fast_commit on old kernels; Health warns of those.
//
// When the disk is full, commits are refused as unavailable with nothing written,
// and go on by themselves once there is room. When the disk fails in any other
// way while a batch is being written, nobody can say what will be read after the
// next power cut: the commits of that batch are left open, and the store answers
// nothing more until the process is started again, which reads what the disk
// really holds.
//
// # Commits
//
//	Commit ──► queue (bounded) ──► the one writer ──► one bbolt transaction ──► fdatasync
//	Commit ──►                     takes all that is waiting                    answers all
//
// A transaction of bbolt costs two syncs, however much is in it. The writer takes
// whatever is waiting when the one before is done, so that 64 tills share the two
// syncs and one till waits for no timer.
//
// A context ends a commit's wait, and takes it out of the queue if the writer has
// not taken it yet. After that the commit may still happen, and the error says so.
//
// The ids of commits are remembered in memory for linking.CommitLife, about 60
// bytes each. That is enough: the file has one process, and a process that died
// sends nothing again.
//
// # The file
//
//	records    shard(2) kind ':' id              ► version(8) due(8) data
//	lists      shard(2) kind ':' owner 0 id      ►
//	due        shard(2) due(8) kind ':' id       ►
//	events     shard(2) log 0 seq(8)             ► data
//	sequences  shard(2) log                      ► last seq(8)
//	store      "layout" "id" "unsafe"
//
// Numbers are big-endian, so that keys sort as they should. A due time is
// milliseconds since the year 1; 0 is never. A sequence outlives the events that
// Trim forgets.
package boltstore
