package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// facts is what one Redis server says of itself. Settings that it does not tell
// are empty.
type facts struct {
	name    string
	version string
	mode    string // standalone, cluster or sentinel
	role    string // master or slave

	loading        bool
	aof            string // "1": there is an append-only file
	aofWrite       string // how the last write to it went
	aofRewrite     string
	snapshot       string
	appendonly     string // settings; empty if CONFIG is forbidden
	appendfsync    string
	noFsyncRewrite string
	minReplicas    string
	noConfig       bool
	policy         string
	maxmemory      uint64
	used           uint64
	replicas       int
	skew           time.Duration // by how much its clock is ahead of ours
	clusterState   string
	slots          string // how many the Cluster has assigned and working
}

// finding is one thing wrong with Redis, in a sentence that says what to change.
type finding struct {
	text       string
	refuse     bool
	durability bool // a refusal an operator may override
	passing    bool // a refusal at start; while running only a warning
	readOnly   bool // no refusal, but nothing is written while it lasts
}

// verdict is everything found.
type verdict struct {
	findings []finding
	replicas int
}

// refusals are what a start fails on.
func (v verdict) refusals() (out []finding) {
	for _, f := range v.findings {
		if f.refuse {
			out = append(out, f)
		}
	}
	return out
}

// stops are what a running store does not write on.
func (v verdict) stops() (out []finding) {
	for _, f := range v.findings {
		if f.refuse && !f.passing || f.readOnly {
			out = append(out, f)
		}
	}
	return out
}

// warnings are what people should know all the time.
func (v verdict) warnings() (out []string) {
	for _, f := range v.findings {
		if !f.refuse || f.durability || f.passing {
			out = append(out, f.text)
		}
	}
	return out
}

// Limits of what is tolerated.
const (
	oldestMajor = 7
	warnSkew    = 2 * time.Second
	mostSkew    = time.Minute
)

// judgeServer says what is wrong with one server.
func judgeServer(k kind, f facts, o Options) (v verdict) {
	warn := func(format string, args ...any) {
		v.findings = append(v.findings, finding{text: fmt.Sprintf(format, args...)})
	}
	refuse := func(format string, args ...any) {
		v.findings = append(v.findings, finding{text: fmt.Sprintf(format, args...), refuse: true})
	}
	durability := func(format string, args ...any) {
		v.findings = append(v.findings, finding{text: fmt.Sprintf(format, args...), refuse: true, durability: true})
	}
	atStart := func(format string, args ...any) {
		v.findings = append(v.findings, finding{text: fmt.Sprintf(format, args...), refuse: true, durability: true, passing: true})
	}
	v.replicas = f.replicas

	major, minor := versionOf(f.version)
	switch {
	case f.version == "":
		durability("the Redis at %s tells neither what it is nor what it keeps: allow INFO", f.name)
	case major < oldestMajor:
		refuse("the Redis at %s is version %s: install 7.0 or newer", f.name, f.version)
	case major == oldestMajor && minor < 2 && o.Replicas > 0:
		warn("the Redis at %s is version %s, which cannot tell whether replicas have synced to disk (WAITAOF): install 7.2 or newer", f.name, f.version)
	}
	switch {
	case f.mode == "sentinel":
		refuse("%s is a Sentinel, not a Redis: write redis+sentinel://host,host/master", f.name)
	case f.mode == "cluster" && k != cluster:
		refuse("the Redis at %s is part of a Cluster: write redis+cluster://host,host", f.name)
	case f.mode == "standalone" && k == cluster:
		refuse("the Redis at %s is no part of a Cluster: write redis://host", f.name)
	}
	if f.role != "master" {
		refuse("the Redis at %s is a replica: name its master, or let Sentinel or Cluster find it", f.name)
	}
	if f.loading {
		refuse("the Redis at %s is still loading its data: wait until it is ready", f.name)
	}
	if k == cluster && f.mode == "cluster" && f.clusterState != "ok" {
		refuse("the Cluster of %s is in state %q with %s of 16384 slots working: mend it first (redis-cli --cluster check)", f.name, f.clusterState, f.slots)
	}

	switch {
	case f.aof == "0" || f.appendonly == "no":
		durability("the Redis at %s keeps no append-only file and loses all since its last snapshot: set appendonly yes", f.name)
	case f.appendfsync == "no":
		durability("the Redis at %s never syncs its append-only file by itself: set appendfsync always", f.name)
	case f.appendfsync == "everysec":
		warn("the Redis at %s syncs its append-only file once a second: up to about 2 s of confirmed payments can vanish; set appendfsync always", f.name)
	case f.appendfsync == "always" && f.noFsyncRewrite == "yes":
		durability("the Redis at %s does not sync while it rewrites its append-only file: set no-appendfsync-on-rewrite no", f.name)
	case f.noConfig && f.version != "":
		warn("the Redis at %s forbids CONFIG GET, so that its appendfsync is not known: have it set to always", f.name)
	}
	if f.policy != "noeviction" && f.policy != "" {
		durability("the Redis at %s forgets records when its memory is full (maxmemory-policy %s): set maxmemory-policy noeviction", f.name, f.policy)
	}
	switch {
	case f.maxmemory == 0:
		warn("the Redis at %s has no limit of memory and may be ended by the system when it runs out: set maxmemory", f.name)
	case f.used >= f.maxmemory/10*9:
		v.findings = append(v.findings, finding{readOnly: true, text: fmt.Sprintf(
			"the Redis at %s has used %d of %d MB of memory: raise maxmemory; until then nothing is written", f.name, f.used>>20, f.maxmemory>>20)})
	case f.used >= f.maxmemory/4*3:
		warn("the Redis at %s has used %d of %d MB of memory: raise maxmemory soon", f.name, f.used>>20, f.maxmemory>>20)
	}
	if f.aofWrite != "ok" && f.aofWrite != "" {
		durability("the Redis at %s could not write its append-only file: look at its disk and log", f.name)
	}
	if f.aofRewrite != "ok" && f.aofRewrite != "" {
		atStart("the Redis at %s could not rewrite its append-only file: look at its disk and log, then run BGREWRITEAOF", f.name)
	}
	if f.snapshot != "ok" && f.snapshot != "" {
		atStart("the Redis at %s could not write its last snapshot: look at its disk and log, then run BGSAVE", f.name)
	}

	if k != standalone && o.Replicas <= 0 && (f.minReplicas == "0" || f.minReplicas == "") {
		warn("the Redis at %s acknowledges without any replica, and a failover may lose that: set min-replicas-to-write 1", f.name)
	}
	switch skew := f.skew.Abs(); {
	case skew > mostSkew:
		refuse("the clock of Redis at %s differs from ours by %s: have both follow NTP", f.name, skew.Round(time.Second))
	case skew > warnSkew:
		warn("the clock of Redis at %s differs from ours by %s: have both follow NTP", f.name, skew.Round(time.Second))
	}
	return v
}

func judgeAll(k kind, all []facts, o Options) (v verdict) {
	for _, f := range all {
		one := judgeServer(k, f, o)
		v.findings = append(v.findings, one.findings...)
		v.replicas += one.replicas
	}
	return v
}

func versionOf(s string) (major, minor int) {
	parts := strings.SplitN(s, ".", 3)
	major, _ = strconv.Atoi(parts[0])
	if len(parts) > 1 {
		minor, _ = strconv.Atoi(parts[1])
	}
	return major, minor
}

var errNoMaster = errors.New("the Cluster has no master")

// facts asks every master.
func (s *Store) facts(ctx context.Context) ([]facts, error) {
	c, ok := s.others.(*redis.ClusterClient)
	if !ok {
		f, err := ask(ctx, s.others.(*redis.Client), s.at.String())
		return []facts{f}, err
	}
	found := make(chan facts, 1024)
	err := c.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		f, err := ask(ctx, c, c.Options().Addr)
		if err == nil {
			found <- f
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	close(found)
	var all []facts
	for f := range found {
		all = append(all, f)
	}
	if len(all) == 0 {
		return nil, errNoMaster
	}
	return all, nil
}

// ask gathers what one server tells. What it forbids stays empty.
func ask(ctx context.Context, c *redis.Client, name string) (f facts, err error) {
	f.name = name
	info, err := c.Info(ctx).Result()
	if err != nil && !isForbidden(err, "info") {
		return f, err
	}
	f.read(info)
	for setting, at := range map[string]*string{
		"appendonly": &f.appendonly, "appendfsync": &f.appendfsync, "no-appendfsync-on-rewrite": &f.noFsyncRewrite,
		"min-replicas-to-write": &f.minReplicas, "maxmemory-policy": &f.policy,
	} {
		got, err := c.ConfigGet(ctx, setting).Result()
		switch {
		case err == nil && got[setting] != "":
			*at = got[setting]
		case err != nil && !isForbidden(err, "config"):
			return f, err
		case err != nil:
			f.noConfig = true
		}
	}
	if f.mode == "cluster" {
		state, err := c.ClusterInfo(ctx).Result()
		if err != nil {
			return f, err
		}
		kv := fields(state)
		f.clusterState, f.slots = kv["cluster_state"], kv["cluster_slots_ok"]
	}
	sent := time.Now()
	at, err := c.Time(ctx).Result()
	if err != nil && !isForbidden(err, "time") {
		return f, err
	}
	if err == nil {
		// The server read its clock somewhere between the two readings of ours.
		f.skew = at.Sub(sent.Add(time.Since(sent) / 2))
	}
	return f, nil
}

// isForbidden reports whether a server answered that a command is not to be had,
// by its ACL or because it was renamed.
func isForbidden(err error, command string) bool {
	return redis.HasErrorPrefix(err, "NOPERM") ||
		redis.HasErrorPrefix(err, "unknown command") && strings.Contains(strings.ToLower(err.Error()), "'"+command+"'")
}

func (f *facts) read(info string) {
	kv := fields(info)
	f.version, f.mode, f.role = kv["redis_version"], kv["redis_mode"], kv["role"]
	if f.role == "" {
		f.role = "master" // INFO is forbidden; the canary will tell
	}
	f.loading = kv["loading"] == "1"
	f.aof, f.aofWrite = kv["aof_enabled"], kv["aof_last_write_status"]
	f.aofRewrite, f.snapshot = kv["aof_last_bgrewrite_status"], kv["rdb_last_bgsave_status"]
	f.policy = kv["maxmemory_policy"]
	f.maxmemory, _ = strconv.ParseUint(kv["maxmemory"], 10, 64)
	f.used, _ = strconv.ParseUint(kv["used_memory"], 10, 64)
	f.replicas, _ = strconv.Atoi(kv["connected_slaves"])
}

// fields reads the lines "name:value" of INFO.
func fields(s string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(s) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			out[name] = value
		}
	}
	return out
}
