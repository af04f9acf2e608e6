package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"placard/linking"
)

// Open connects to the Redis that rawURL names, see parseURL for its forms, and
// refuses one that cannot keep the promises of a store. An error of Open is a
// sentence for the operator that says what to change.
func Open(ctx context.Context, rawURL string, o Options) (*Store, error) {
	at, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	s := &Store{at: at, me: rand.Text(), o: o, log: o.Log, news: make(chan linking.Topic, maxNews), stop: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	redisLog.Do(func() { redis.SetLogger(logger{s.log}) })
	s.use()
	if err := s.begin(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// go-redis has one logger for the whole process: that of the first store.
var redisLog sync.Once

type logger struct{ *slog.Logger }

func (l logger) Printf(ctx context.Context, format string, v ...any) {
	l.WarnContext(ctx, strings.TrimSpace(fmt.Sprintf(format, v...)), "from", "go-redis")
}

// begin checks everything and starts what runs beside the calls.
func (s *Store) begin(ctx context.Context) error {
	all, err := s.facts(ctx)
	if err != nil {
		return s.unreachable(err)
	}
	v := judgeAll(s.at.kind, all, s.o)
	overridden := false
	for _, f := range v.refusals() {
		if !f.durability || !s.o.AllowUnsafe {
			return errors.New(f.text)
		}
		overridden = true
		s.log.Warn("a refusal of the store was overridden", "refusal", f.text)
	}
	s.note(v, "")
	if err := s.identify(ctx); err != nil {
		return err
	}
	if err := s.canary(ctx); err != nil {
		return err
	}
	if err := s.markUnsafe(ctx, overridden); err != nil {
		return err
	}
	if c, ok := s.reads.(*redis.ClusterClient); ok {
		// Who has which slot is asked for now, and not by the first reader, who might
		// happen on a master that is silent.
		if _, err := c.MasterForKey(ctx, identityKey); err != nil {
			return s.unreachable(err)
		}
	}
	if err := s.startWatching(ctx); err != nil {
		return err
	}
	if s.o.Replicas > 0 {
		s.guard.expect()
	}
	s.heed(ctx) // what was said before now is about rollbacks of then
	s.background.Go(s.beat)
	s.background.Go(s.lookAgain)
	return nil
}

// unreachable says why there is no Redis to ask.
func (s *Store) unreachable(err error) error {
	switch text := err.Error(); {
	case isAuth(err) || strings.Contains(text, "NOAUTH"):
		return fmt.Errorf("the Redis at %s does not accept our name and password: correct the store's URL: %w", s.at, err)
	case strings.Contains(text, "cluster support disabled"):
		return fmt.Errorf("the Redis at %s is no part of a Cluster: write redis://host", s.at)
	case errors.Is(err, errNoMaster) || redis.HasErrorPrefix(err, "CLUSTERDOWN"):
		return fmt.Errorf("the Cluster at %s does not work: mend it first (redis-cli --cluster check): %w", s.at, err)
	case s.at.kind == sentinel && strings.Contains(strings.ToLower(text), "sentinel"):
		return fmt.Errorf("no Sentinel at %s knows the master %q: correct the store's URL, or start them: %w", strings.Join(s.at.addrs, ","), s.at.master, err)
	case strings.Contains(text, "tls:") || strings.Contains(text, "x509:"):
		return fmt.Errorf("the Redis at %s cannot be reached over TLS: correct its certificate or the authority in the store's URL (?ca=FILE): %w", s.at, err)
	}
	return fmt.Errorf("no Redis answers at %s: start it, or correct the store's URL: %w", s.at, err)
}

// identify compares the store's identity with the one that is expected.
func (s *Store) identify(ctx context.Context) error {
	id, err := s.Identity(ctx)
	if err != nil {
		return s.unreachable(err)
	}
	switch want := s.o.StoreID; {
	case want != "" && id == "":
		return fmt.Errorf("the Redis at %s is empty, and the store named %s was expected: it lost its data, or the URL is wrong; restore its backup, or correct the URL", s.at, want)
	case want != "" && id != want:
		return fmt.Errorf("the Redis at %s holds the store named %s, and %s was expected: correct the URL or the name", s.at, id, want)
	}
	if id != "" {
		s.identity.Store(&id)
	}
	return nil
}

// markUnsafe notes for ever that a refusal was overridden, and reads the note.
func (s *Store) markUnsafe(ctx context.Context, overridden bool) error {
	if overridden {
		if err := s.others.SetNX(ctx, unsafeKey, time.Now().UTC().Format(time.RFC3339), 0).Err(); err != nil {
			return s.unreachable(err)
		}
	}
	n, err := s.others.Exists(ctx, unsafeKey).Result()
	if err != nil {
		return s.unreachable(err)
	}
	s.unsafe.Store(n > 0)
	return nil
}

// canary has every master run the real commit script under a scratch hash tag,
// which is then cleared away. It finds what no setting tells: commands that an
// ACL forbids, a proxy that answers for Redis, a server that is no Redis.
func (s *Store) canary(ctx context.Context) error {
	tried := map[string]bool{}
	for shard := range linking.Meta + 1 {
		m, err := s.master(ctx, shard)
		if err != nil {
			return s.unreachable(err)
		}
		if tried[m.name] {
			continue
		}
		tried[m.name] = true
		tag, err := s.scratch(ctx, m)
		if err != nil {
			return s.unreachable(err)
		}
		if err := try(ctx, m.commits, tag); err != nil {
			return fmt.Errorf("the Redis at %s cannot make commits; %s: %w", m.name, remedy(err), err)
		}
	}
	return nil
}

// remedy says what to change where a server refuses the commit script.
func remedy(err error) string {
	switch {
	case redis.HasErrorPrefix(err, "OOM"):
		return "its memory is used up: raise maxmemory"
	case redis.HasErrorPrefix(err, "NOREPLICAS"):
		return "fewer replicas follow it than min-replicas-to-write demands: start them, or lower it"
	case redis.HasErrorPrefix(err, "NOPERM"):
		return "its ACL forbids what a store needs: give our user ~* &placard:* +@all -@dangerous +info +config|get"
	case redis.HasErrorPrefix(err, "MISCONF"):
		return "it cannot write to its disk: look at its log"
	case redis.HasErrorPrefix(err, "READONLY"):
		return "it became a replica meanwhile: name its master"
	}
	return "see that it is Redis 7.0 or newer itself, and nothing that answers in its place"
}

// scratch finds a hash tag of nobody's on one master.
func (s *Store) scratch(ctx context.Context, m *master) (string, error) {
	for {
		tag := "{canary-" + rand.Text()[:12] + "}"
		if s.single != nil {
			return tag, nil
		}
		c, err := s.commits.(*redis.ClusterClient).MasterForKey(ctx, tag)
		if err != nil {
			return "", err
		}
		if c.Options().Addr == m.name {
			return tag, nil
		}
	}
}

func try(ctx context.Context, c *redis.Client, tag string) error {
	n := namesOf(tag)
	k := linking.Key{Kind: "c", ID: "canary"}
	c1 := linking.Commit{ID: linking.NewCommitID(), Log: "canary", Events: [][]byte{[]byte("e")},
		Writes: []linking.Write{{Key: k, Data: []byte("sings"), Due: time.UnixMilli(1), Owner: "canary"}}}
	c2 := linking.Commit{ID: linking.NewCommitID(), Log: "canary", Writes: []linking.Write{{Key: k, Expect: 9, Data: []byte("x")}}}
	c3 := c2
	c3.ID = linking.NewCommitID()
	defer func() {
		for _, name := range []string{n.record(k), n.counter, n.due, n.list(k.Kind, "canary"), n.log("canary"), n.commit(c1.ID)} {
			c.Del(context.WithoutCancel(ctx), name)
		}
	}()
	for _, step := range []struct {
		what string
		c    *linking.Commit
		seen uint64
		want outcome
	}{
		{"a commit", &c1, 0, applied},
		{"the same commit again", &c1, 1, applied},
		{"a commit on a stale version", &c2, 1, conflict},
		{"a commit after a rollback", &c3, 99, rolledBack},
	} {
		got, counter, err := newScript(&n, step.c).run(ctx, c, step.seen, false)
		if err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		if got != step.want || counter != 1 {
			return fmt.Errorf("%s had outcome %d at counter %d instead of %d at 1: is it a Redis?", step.what, got, counter, step.want)
		}
	}
	r := linking.Record{Key: k}
	v, err := c.Get(ctx, n.record(k)).Result()
	if err == nil {
		err = decode(&r, v)
	}
	if err != nil || r.Version != 1 || string(r.Data) != "sings" {
		return fmt.Errorf("what was committed does not come back: %v", err)
	}
	return nil
}
