package redisstore

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"placard/linking"
	"placard/linking/storetest"
)

func client(t *testing.T, url string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	o.MaxRetries, o.DialerRetries = -1, 1
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

func aCommit(id string, expect uint64) linking.Commit {
	return linking.Commit{ID: linking.NewCommitID(), Shard: 1, Log: "m", Events: [][]byte{[]byte("e")},
		Writes: []linking.Write{{Key: keyOf(id), Expect: expect, Data: []byte("x")}}}
}

func run(t *testing.T, c redis.UniversalClient, commit linking.Commit, seen uint64, doubt bool) (outcome, error) {
	t.Helper()
	got, _, err := newScript(&shardNames[commit.Shard], &commit).run(t.Context(), c, seen, doubt)
	return got, err
}

func TestTheScriptComparesTheCounter(t *testing.T) {
	c := client(t, storetest.Redis(t).URL())
	for i := range 3 {
		if got, err := run(t, c, aCommit("a", uint64(i)), uint64(i), false); got != applied {
			t.Fatalf("outcome %d: %v", got, err)
		}
	}
	late := aCommit("a", 3)
	if got, err := run(t, c, late, 4, false); got != rolledBack {
		t.Fatalf("a sender that has seen more: outcome %d, %v", got, err)
	}
	if got, err := run(t, c, late, 3, false); got != applied {
		t.Fatalf("outcome %d: %v", got, err)
	}
	if got, err := run(t, c, late, 99, false); got != applied {
		t.Fatalf("what was applied is applied, whatever else is lost: outcome %d, %v", got, err)
	}
}

// TestACommitRefusedInDoubtNeverApplies is the copy that comes late: by then the
// record is back at the version it names.
func TestACommitRefusedInDoubtNeverApplies(t *testing.T) {
	c := client(t, storetest.Redis(t).URL())
	commit := aCommit("a", 0)
	if got, _ := run(t, c, aCommit("a", 0), 0, false); got != applied {
		t.Fatal("the competitor was not faster")
	}
	if got, _ := run(t, c, commit, 0, true); got != conflict {
		t.Fatal("no conflict")
	}
	gone := aCommit("a", 1)
	gone.Writes[0].Delete = true
	if got, _ := run(t, c, gone, 0, false); got != applied {
		t.Fatal("not removed")
	}
	if got, err := run(t, c, commit, 0, false); got != conflict {
		t.Fatalf("a commit that was answered with a conflict was applied later: outcome %d, %v", got, err)
	}
}

// TestAScriptThatCannotAppendWritesNothing has a foreign value in the place of
// the event log: XADD fails, and must be the first to be tried.
func TestAScriptThatCannotAppendWritesNothing(t *testing.T) {
	server := storetest.Redis(t)
	c := client(t, server.URL())
	server.Must(t, "XADD", shardNames[1].log("m"), "7-7", "foreign", "entry")
	before := server.Must(t, "DBSIZE")
	commit := aCommit("a", 0)
	commit.Writes[0].Owner = "o"
	if got, err := run(t, c, commit, 0, false); got != open || err == nil {
		t.Fatalf("an error from the middle of the script: outcome %d, %v", got, err)
	}
	if after := server.Must(t, "DBSIZE"); after != before {
		t.Fatalf("half a commit was left: %v", server.Must(t, "KEYS", "*"))
	}
}

func TestAScriptRedisForgotIsSentAgain(t *testing.T) {
	server := storetest.Redis(t)
	c := client(t, server.URL())
	if got, err := run(t, c, aCommit("a", 0), 0, false); got != applied {
		t.Fatalf("outcome %d: %v", got, err)
	}
	server.Must(t, "SCRIPT", "FLUSH")
	if got, err := run(t, c, aCommit("a", 1), 0, false); got != applied {
		t.Fatalf("outcome %d: %v", got, err)
	}
}

// TestRefusalsAreTold has a real server refuse the script in every way that a
// test can bring about: nothing may be written, and that must be known.
func TestRefusalsAreTold(t *testing.T) {
	server := storetest.NewRedis(t, storetest.Durable()...)
	c := client(t, server.URL())
	if got, err := run(t, c, aCommit("a", 0), 0, false); got != applied {
		t.Fatalf("outcome %d: %v", got, err)
	}
	for name, how := range map[string]struct {
		begin, end [][]string
		passing    bool
	}{
		"NOREPLICAS": {begin: [][]string{{"CONFIG", "SET", "min-replicas-to-write", "1"}}, end: [][]string{{"CONFIG", "SET", "min-replicas-to-write", "0"}}},
		"OOM":        {begin: [][]string{{"CONFIG", "SET", "maxmemory", "1"}}, end: [][]string{{"CONFIG", "SET", "maxmemory", "2gb"}}},
		"NOPERM":     {begin: [][]string{{"ACL", "SETUSER", "default", "-evalsha", "-eval"}}, end: [][]string{{"ACL", "SETUSER", "default", "+@all"}}},
		"READONLY":   {begin: [][]string{{"REPLICAOF", "127.0.0.1", "1"}}, end: [][]string{{"REPLICAOF", "NO", "ONE"}}, passing: true},
	} {
		for _, command := range how.begin {
			server.Must(t, command...)
		}
		got, err := run(t, c, aCommit("a", 1), 0, false)
		if got != refused || !redis.HasErrorPrefix(err, name) || passing(got, err) != how.passing {
			t.Errorf("%s: outcome %d, passing %v, %v", name, got, passing(got, err), err)
		}
		for _, command := range how.end {
			server.Must(t, command...)
		}
	}
	if got, err := run(t, c, aCommit("a", 1), 0, false); got != applied {
		t.Fatalf("afterwards: outcome %d, %v", got, err)
	}
}

func TestACommitThatDidNotLeaveIsKnownNotToHaveHappened(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if got, err := run(t, client(t, "redis://"+l.Addr().String()), aCommit("a", 0), 0, false); got != notSent || !passing(got, err) {
		t.Errorf("nobody listens: outcome %d, %v", got, err)
	}
	c := client(t, storetest.Redis(t).URL())
	c.Close()
	if got, err := run(t, c, aCommit("a", 0), 0, false); got != notSent || passing(got, err) {
		t.Errorf("closed client: outcome %d, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	commit := aCommit("a", 0)
	got, _, err := newScript(&shardNames[1], &commit).run(ctx, client(t, storetest.Redis(t).URL()), 0, false)
	if got != notSent {
		t.Errorf("ended context: outcome %d, %v", got, err)
	}
	locked := storetest.NewRedis(t, append(storetest.Durable(), "requirepass", "x")...)
	if got, err := run(t, client(t, locked.URL()), aCommit("a", 0), 0, false); got != refused && got != notSent || passing(got, err) {
		t.Errorf("no password: outcome %d, %v", got, err)
	}
}

func TestACommitWithoutAnAnswerIsOpen(t *testing.T) {
	server := storetest.NewRedis(t, storetest.Durable()...)
	proxy := storetest.NewProxy(t, server.Addr)
	c := client(t, "redis://"+proxy.Addr)
	if got, err := run(t, c, aCommit("warm", 0), 0, false); got != applied {
		t.Fatalf("outcome %d: %v", got, err)
	}
	proxy.Set(storetest.Trouble{LoseReply: 1})
	if got, err := run(t, c, aCommit("a", 0), 0, false); got != open {
		t.Errorf("lost reply: outcome %d, %v", got, err)
	}
	proxy.Set(storetest.Trouble{})
	if got, err := run(t, c, aCommit("warm", 1), 0, false); got != applied {
		t.Fatalf("outcome %d: %v", got, err)
	}
	proxy.Set(storetest.Trouble{LoseRequest: 1})
	if got, err := run(t, c, aCommit("b", 0), 0, false); got != open {
		t.Errorf("lost request: outcome %d, %v", got, err)
	}
	proxy.Set(storetest.Trouble{})
	if got, err := run(t, c, aCommit("warm", 2), 0, false); got != applied {
		t.Fatalf("outcome %d: %v", got, err)
	}
	server.Signal(syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 1)
	defer cancel()
	commit := aCommit("c", 0)
	script := newScript(&shardNames[1], &commit)
	if got, _, err := script.run(ctx, c, 0, false); got == open && script.id.sends.Load() == 0 {
		t.Errorf("ended before it was sent: outcome %d, %v", got, err)
	}
	server.Signal(syscall.SIGCONT)
}

func TestAnAnswerToSomebodyElseIsNotTaken(t *testing.T) {
	commit := aCommit("a", 0)
	s := newScript(&shardNames[1], &commit)
	mine, other := string(commit.ID[:]), string(make([]byte, 16))
	for _, reply := range [][]any{
		nil, {}, {int64(1)}, {int64(1), other, int64(5)}, {int64(1), mine}, {"1", mine, int64(5)}, {int64(0), mine, int64(5)}, {int64(4), mine, int64(5)}, {int64(1), mine, "5"},
	} {
		if got, _, err := s.answer(reply); got != open || err == nil {
			t.Errorf("%v: outcome %d, %v", reply, got, err)
		}
	}
	if got, n, err := s.answer([]any{int64(1), mine, int64(5)}); got != applied || n != 5 || err != nil {
		t.Errorf("my own: outcome %d, counter %d, %v", got, n, err)
	}
}

func TestWhatAnErrorMeans(t *testing.T) {
	for text, want := range map[string]outcome{
		"NOSCRIPT No matching script. Please use EVAL.":                     outcome(refused),
		"LOADING Redis is loading the dataset in memory":                    refused,
		"CLUSTERDOWN The cluster is down":                                   refused,
		"TRYAGAIN Multiple keys request during rehashing of slot":           refused,
		"ERR max number of clients reached":                                 refused,
		"MOVED 3999 127.0.0.1:6381":                                         moved,
		"ASK 3999 127.0.0.1:6381":                                           moved,
		"WRONGTYPE Operation against a key holding the wrong kind of value": open,
		"ERR user_script:90: something script: c0ffee, on @user_script:90.": open,
		"ERR unknown": open,
		"ERR Error running script (call to f_c0ffee): @user_script:1: READONLY quoted": open,
	} {
		if got := judge(redisError(text)); got != want {
			t.Errorf("%s: outcome %d, want %d", text, got, want)
		}
	}
	for _, err := range []error{io.EOF, io.ErrUnexpectedEOF, context.DeadlineExceeded, &net.OpError{Op: "read", Err: errors.New("reset")}} {
		if got := judge(err); got != open {
			t.Errorf("%v: outcome %d", err, got)
		}
	}
}

type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}
