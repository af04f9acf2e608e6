// Package storetest says what every linking.Store must do, as tests.
//
// A backend's own test opens it and calls Run:
//
//	func TestConformance(t *testing.T) { storetest.Run(t, open) }
//
// Besides the suite there are stores that misbehave on purpose (Flaky, Slow,
// Down) and servers to test against (Redis, RedisCluster, Proxy), for the tests
// of other packages too. Directory faults holds plausible bugs of each backend
// as patches; "go run ./linking/storetest/prove" applies them one by one and
// fails if the tests stay green on any of them.
package storetest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"placard/linking"
)

// Open opens the store that belongs to one test. The first call for a t makes an
// empty store; every further call for the same t opens the same data again, as
// another process would. A backend for one process returns nil while a handle of
// that t is open.
type Open func(t *testing.T) linking.Store

// Option changes what Run expects.
type Option func(*subject)

// WatchOff says that open switches wakes off: everything must work without them.
func WatchOff(s *subject) { s.watchOff = true }

// subject is the store under test.
type subject struct {
	linking.Store
	open     func() linking.Store // nil from it: one process only
	watchOff bool
}

var cases = []struct {
	name string
	f    func(*testing.T, *subject)
}{
	{"WhatWasCommittedIsRead", readBack},
	{"AMissingRecordHasVersionZero", missing},
	{"GetKeepsTheOrderAskedFor", getOrder},
	{"CreatingTwiceConflicts", createTwice},
	{"AStaleVersionConflicts", stale},
	{"ARemovedRecordIsGone", removed},
	{"AConflictWritesNothing", conflictWritesNothing},
	{"ChecksGuardWhatWasOnlyRead", checks},
	{"TheSameCommitAgainChangesNothing", resend},
	{"TheSameCommitTwiceAtOnceAppliesOnce", resendAtOnce},
	{"AConflictLeavesTheIDUnused", conflictLeavesID},
	{"BytesBelongToTheCaller", bytesBelongToCaller},
	{"EveryPrintableIDIsItsOwn", printableIDs},
	{"LimitsAreReached", limits},
	{"BrokenCommitsAreRefused", brokenCommits},
	{"BrokenQuestionsAreRefused", brokenQuestions},
	{"AnEndedContextWritesNothing", endedContext},
	{"ShardsKnowNothingOfEachOther", shards},
	{"DueTimesKeepTheMillisecond", dueTimes},
	{"DueMovesClearsAndGoes", dueMoves},
	{"DueIsMostOverdueFirst", dueOrder},
	{"ListsAreOfOneOwnerAndKind", listOwners},
	{"ListsPageInBothDirections", listPages},
	{"ListsForgetWhatIsRemoved", listRemoved},
	{"EventsHaveNoGaps", eventsGapless},
	{"LogsAreIndependent", logsIndependent},
	{"TrimForgetsAndSequencesGoOn", trim},
	{"SpanTellsFirstAndLast", span},
	{"ConcurrentEventsHaveNoGaps", eventsConcurrent},
	{"EventsStandInTheOrderOfCommits", eventsInCommitOrder},
	{"NoUpdateIsLost", noLostUpdates},
	{"GetIsOneMoment", oneMoment},
	{"ReadersSeeWhatWasAcknowledged", readYourWrites},
	{"AnotherProcessSeesWhatWasAcknowledged", readAcrossHandles},
	{"WatchersWake", watch},
	{"WatchersWakeInAnotherProcess", watchAcrossHandles},
	{"NothingIsForgottenByReopening", reopen},
	{"AClosedStoreRefuses", closed},
	{"HealthIsReady", health},
	{"RandomAgainstAModel", modelOneShard},
	{"RandomOverTwoShardsAndRestarts", modelTwoShards},
}

// Run holds the store that open opens against the contract of linking.Store.
func Run(t *testing.T, open Open, options ...Option) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &subject{Store: open(t), open: func() linking.Store { return open(t) }}
			for _, o := range options {
				o(s)
			}
			t.Cleanup(func() { s.Close() })
			c.f(t, s)
		})
	}
}

// noon is a time to count from.
var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

// home is the shard most cases use.
const home linking.Shard = 77

func key(id string) linking.Key { return linking.Key{Shard: home, Kind: "c", ID: id} }

// put is a write of data under id.
func put(id string, expect uint64, data string) linking.Write {
	return linking.Write{Key: key(id), Expect: expect, Data: []byte(data)}
}

// commit makes a commit of the home shard.
func commit(writes ...linking.Write) linking.Commit {
	return linking.Commit{ID: linking.NewCommitID(), Shard: home, Log: "m", Writes: writes}
}

func with(c linking.Commit, events ...string) linking.Commit {
	for _, e := range events {
		c.Events = append(c.Events, []byte(e))
	}
	return c
}

func must(t testing.TB, s linking.Store, commits ...linking.Commit) {
	t.Helper()
	for _, c := range commits {
		if err := s.Commit(t.Context(), c); err != nil {
			t.Fatalf("Commit: %v", err)
		}
	}
}

func conflicts(t testing.TB, s linking.Store, c linking.Commit) {
	t.Helper()
	if err := s.Commit(t.Context(), c); !errors.Is(err, linking.ErrConflict) {
		t.Fatalf("Commit: got %v, want ErrConflict", err)
	}
}

func get(t testing.TB, s linking.Store, k linking.Key) linking.Record {
	t.Helper()
	rs, err := s.Get(t.Context(), k)
	if err != nil || len(rs) != 1 {
		t.Fatalf("Get(%v) = %v, %v", k, rs, err)
	}
	return rs[0]
}

// is demands that a record is at a version with data.
func is(t testing.TB, s linking.Store, k linking.Key, version uint64, data string) {
	t.Helper()
	if r := get(t, s, k); r.Key != k || r.Version != version || string(r.Data) != data {
		t.Fatalf("%v is version %d with %.40q, want version %d with %.40q", k, r.Version, r.Data, version, data)
	}
}

func events(t testing.TB, s linking.Store, log string, after uint64, limit int) []linking.LoggedEvent {
	t.Helper()
	ev, err := s.Events(t.Context(), home, log, after, limit)
	if err != nil {
		t.Fatalf("Events: %v", err)
	}
	return ev
}

// logged demands that a log holds exactly these events, the first with number first.
func logged(t testing.TB, s linking.Store, log string, first uint64, want ...string) {
	t.Helper()
	got := events(t, s, log, 0, linking.MaxPage)
	if len(got) != len(want) {
		t.Fatalf("log %q has %d events, want %d", log, len(got), len(want))
	}
	for i, e := range got {
		if e.Seq != first+uint64(i) || string(e.Data) != want[i] {
			t.Fatalf("event %d of log %q is number %d, %.40q; want number %d, %.40q", i, log, e.Seq, e.Data, first+uint64(i), want[i])
		}
	}
}

func due(t testing.TB, s linking.Store, by time.Time, limit int) (ids []string) {
	t.Helper()
	ks, err := s.Due(t.Context(), home, by, limit)
	if err != nil {
		t.Fatalf("Due: %v", err)
	}
	for _, k := range ks {
		ids = append(ids, k.ID)
	}
	return ids
}

func list(t testing.TB, s linking.Store, l linking.Listing) (ids []string) {
	t.Helper()
	rs, err := s.List(t.Context(), l)
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	for _, r := range rs {
		ids = append(ids, r.ID)
	}
	return ids
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// seed is where random tests begin: PLACARD_TEST_SEED, or the clock.
func seed(t testing.TB) uint64 {
	n := uint64(time.Now().UnixNano())
	if s := os.Getenv("PLACARD_TEST_SEED"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("PLACARD_TEST_SEED: %v", err)
		}
	}
	t.Logf("PLACARD_TEST_SEED=%d", n)
	return n
}

// many is n, or less where time is short.
func many(n int) int {
	if testing.Short() {
		return max(1, n/4)
	}
	return n
}
