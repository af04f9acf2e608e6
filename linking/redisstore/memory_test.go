package redisstore_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"placard/linking"
	"placard/linking/redisstore"
	"placard/linking/storetest"
)

func usedMemory(t *testing.T, server *storetest.RedisServer) int {
	t.Helper()
	_, rest, _ := strings.Cut(server.Must(t, "INFO", "memory").(string), "used_memory:")
	digits, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAnIdleCodeTakesAtMost160Bytes measures what Redis needs for a code that is bound and idle: key, value
// and their share of the table, as used_memory counts them.
func TestAnIdleCodeTakesAtMost160Bytes(t *testing.T) {
	server := storetest.NewRedis(t, storetest.Durable()...)
	s := mustOpen(t, server.URL(), redisstore.Options{NoWatch: true})
	fill := func(kind linking.RecordKind, codes int) {
		for i := 0; i < codes; {
			c := linking.Commit{ID: linking.NewCommitID(), Shard: linking.Shard(i / 1000 % 64)}
			for range min(1000, codes-i) {
				token := fmt.Sprintf("%s%018d", c.Shard, i)
				c.Writes = append(c.Writes, linking.Write{Key: linking.Key{Shard: c.Shard, Kind: kind, ID: token}, Data: make([]byte, 30)})
				i++
			}
			if err := s.Commit(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill("w", 2000) // buffers of the connections
	const codes = 60000
	before := usedMemory(t, server)
	fill("c", codes) // the table, of 65,536 places, is then nearly full
	each := float64(usedMemory(t, server)-before) / codes
	key := fmt.Sprintf("{%s}c:%s%018d", linking.Shard(0), linking.Shard(0), 0)
	t.Logf("%.1f bytes an idle code of 30 bytes; MEMORY USAGE of one: %v", each, server.Must(t, "MEMORY", "USAGE", key))
	if each > 160 {
		t.Errorf("%.1f bytes a code", each)
	}
	// What a commit leaves for linking.CommitLife; its place in the table of what
	// expires, about 40 bytes more, is not told.
	c := linking.Commit{ID: linking.NewCommitID(), Shard: 1}
	if err := s.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	id := server.Must(t, "MEMORY", "USAGE", "{01}I"+string(c.ID[:])).(int64)
	t.Logf("MEMORY USAGE of a remembered commit id: %d", id)
	if id > 100 {
		t.Errorf("%d bytes a commit id", id)
	}
}
