package redisstore

import (
	"strings"
	"testing"
	"time"
)

// well is a server with nothing wrong.
func well() facts {
	return facts{name: "db:6379", version: "7.2.4", mode: "standalone", role: "master", aof: "1", aofWrite: "ok", aofRewrite: "ok", snapshot: "ok",
		appendonly: "yes", appendfsync: "always", noFsyncRewrite: "no", minReplicas: "0", policy: "noeviction", maxmemory: 1 << 30, used: 1 << 20}
}

func TestWhatIsWrongWithAServer(t *testing.T) {
	const refused, durability, passing, readOnly, warned, fine = "refused", "durability", "passing", "read only", "warned", "fine"
	for name, c := range map[string]struct {
		change func(*facts)
		kind   kind
		o      Options
		want   string
		says   string
	}{
		"all well":                  {change: func(f *facts) {}, want: fine},
		"6.2":                       {change: func(f *facts) { f.version = "6.2.14" }, want: refused, says: "install 7.0"},
		"8.0":                       {change: func(f *facts) { f.version = "8.0.1" }, want: fine},
		"7.0 with replicas":         {change: func(f *facts) { f.version = "7.0.15" }, o: Options{Replicas: 1}, want: warned, says: "7.2"},
		"a Sentinel":                {change: func(f *facts) { f.mode = "sentinel" }, want: refused, says: "redis+sentinel://"},
		"part of a Cluster":         {change: func(f *facts) { f.mode = "cluster" }, want: refused, says: "redis+cluster://"},
		"no part of a Cluster":      {change: func(f *facts) { f.minReplicas = "1" }, kind: cluster, want: refused, says: "redis://"},
		"a replica":                 {change: func(f *facts) { f.role = "slave" }, want: refused, says: "name its master"},
		"loading":                   {change: func(f *facts) { f.loading = true }, want: refused, says: "wait"},
		"no append-only file":       {change: func(f *facts) { f.aof, f.appendonly = "0", "no" }, want: durability, says: "appendonly yes"},
		"no file, CONFIG forbidden": {change: func(f *facts) { f.aof, f.appendonly, f.appendfsync, f.noConfig = "0", "", "", true }, want: durability, says: "appendonly yes"},
		"a file, CONFIG forbidden":  {change: func(f *facts) { f.appendonly, f.appendfsync, f.noConfig = "", "", true }, want: warned, says: "always"},
		"nothing told": {change: func(f *facts) {
			f.version, f.mode, f.aof, f.appendonly, f.appendfsync, f.noConfig = "", "", "", "", "", true
		}, want: durability, says: "allow INFO"},
		"never synced":                 {change: func(f *facts) { f.appendfsync = "no" }, want: durability, says: "appendfsync always"},
		"synced each second":           {change: func(f *facts) { f.appendfsync = "everysec" }, want: warned, says: "appendfsync always"},
		"not synced while rewriting":   {change: func(f *facts) { f.noFsyncRewrite = "yes" }, want: durability, says: "no-appendfsync-on-rewrite no"},
		"eviction":                     {change: func(f *facts) { f.policy = "allkeys-lru" }, want: durability, says: "noeviction"},
		"no limit of memory":           {change: func(f *facts) { f.maxmemory = 0 }, want: warned, says: "maxmemory"},
		"memory at three quarters":     {change: func(f *facts) { f.used = f.maxmemory/4*3 + 1 }, want: warned, says: "soon"},
		"memory nearly used up":        {change: func(f *facts) { f.used = f.maxmemory/10*9 + 1 }, want: readOnly, says: "nothing is written"},
		"file not written":             {change: func(f *facts) { f.aofWrite = "err" }, want: durability, says: "disk"},
		"file not rewritten":           {change: func(f *facts) { f.aofRewrite = "err" }, want: passing, says: "BGREWRITEAOF"},
		"snapshot not written":         {change: func(f *facts) { f.snapshot = "err" }, want: passing, says: "BGSAVE"},
		"Sentinel without replicas":    {change: func(f *facts) {}, kind: sentinel, want: warned, says: "min-replicas-to-write 1"},
		"Sentinel with min-replicas":   {change: func(f *facts) { f.minReplicas = "1" }, kind: sentinel, want: fine},
		"Sentinel and our own demand":  {change: func(f *facts) {}, kind: sentinel, o: Options{Replicas: 1}, want: fine},
		"Cluster that works":           {change: func(f *facts) { f.mode, f.clusterState, f.minReplicas = "cluster", "ok", "1" }, kind: cluster, want: fine},
		"Cluster with slots uncovered": {change: func(f *facts) { f.mode, f.clusterState, f.slots, f.minReplicas = "cluster", "fail", "11000", "1" }, kind: cluster, want: refused, says: "11000 of 16384"},
		"clock 3 s ahead":              {change: func(f *facts) { f.skew = 3 * time.Second }, want: warned, says: "NTP"},
		"clock 3 s behind":             {change: func(f *facts) { f.skew = -3 * time.Second }, want: warned, says: "NTP"},
		"clock 2 minutes ahead":        {change: func(f *facts) { f.skew = 2 * time.Minute }, want: refused, says: "NTP"},
	} {
		f := well()
		c.change(&f)
		v := judgeServer(c.kind, f, c.o)
		got := fine
		for _, x := range v.findings {
			switch {
			case x.readOnly:
				got = readOnly
			case !x.refuse:
				got = warned
			case x.passing:
				got = passing
			case x.durability:
				got = durability
			default:
				got = refused
			}
			if !strings.Contains(x.text, c.says) || !strings.Contains(x.text, "db:6379") {
				t.Errorf("%s: %q names no server or no remedy", name, x.text)
			}
		}
		if got != c.want || len(v.findings) > 1 {
			t.Errorf("%s: %s with %+v, want %s", name, got, v.findings, c.want)
		}
		if refuses := len(v.refusals()) > 0; refuses != (c.want == refused || c.want == durability || c.want == passing) {
			t.Errorf("%s: refused at start: %v", name, refuses)
		}
		if stops := len(v.stops()) > 0; stops != (c.want == refused || c.want == durability || c.want == readOnly) {
			t.Errorf("%s: stops a running store: %v", name, stops)
		}
	}
}

func TestURLs(t *testing.T) {
	for in, want := range map[string]target{
		"redis://localhost":                            {addrs: []string{"localhost:6379"}},
		"redis://localhost/":                           {addrs: []string{"localhost:6379"}},
		"redis://10.0.0.5:7000/3":                      {addrs: []string{"10.0.0.5:7000"}, db: 3},
		"redis://:s%40cret@h":                          {addrs: []string{"h:6379"}, password: "s@cret"},
		"redis://me:a@b@h:1":                           {addrs: []string{"h:1"}, user: "me", password: "a@b"},
		"redis://[::1]:7000":                           {addrs: []string{"[::1]:7000"}},
		"redis://[::1]":                                {addrs: []string{"[::1]:6379"}},
		"redis+sentinel://a,b:7,c/shop":                {kind: sentinel, addrs: []string{"a:26379", "b:7", "c:26379"}, master: "shop"},
		"redis+sentinel://u:p@a/shop/2":                {kind: sentinel, addrs: []string{"a:26379"}, master: "shop", db: 2, user: "u", password: "p"},
		"redis+cluster://u:p@a,b:7":                    {kind: cluster, addrs: []string{"a:6379", "b:7"}, user: "u", password: "p"},
		"redis+sentinel://a/m?sentinel_user=su":        {kind: sentinel, addrs: []string{"a:26379"}, master: "m", sentinelUser: "su"},
		"redis+sentinel://a/m?sentinel_password=sp%26": {kind: sentinel, addrs: []string{"a:26379"}, master: "m", sentinelPassword: "sp&"},
	} {
		got, err := parseURL(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got.tls != nil || got.kind != want.kind || strings.Join(got.addrs, " ") != strings.Join(want.addrs, " ") || got.master != want.master || got.db != want.db ||
			got.user != want.user || got.password != want.password || got.sentinelUser != want.sentinelUser || got.sentinelPassword != want.sentinelPassword {
			t.Errorf("%s: %+v", in, got)
		}
	}
	for _, in := range []string{"rediss://h", "rediss+sentinel://h/m", "rediss+cluster://h"} {
		if got, err := parseURL(in); err != nil || got.tls == nil || got.tls.InsecureSkipVerify {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{
		"", "localhost:6379", "http://h", "redis+ring://h", "redis://", "redis://,a", "redis://a,b", "redis://h:0", "redis://h:x", "redis://h:70000",
		"redis://h/x", "redis://h/-1", "redis://h?db=1", "redis://h?ca=/x", "redis+sentinel://h", "redis+sentinel://h/", "redis+cluster://h/1",
		"rediss://h?ca=/no/such/file", "rediss://h?cert=/no/such/file", "redis://user:%zz@h", "redis://user:secret@h?sentinel_user=x",
	} {
		got, err := parseURL(in)
		if err == nil {
			t.Errorf("%q was taken for %+v", in, got)
		} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "%zz") {
			t.Errorf("%q: the error shows the password: %v", in, err)
		}
	}
	at, err := parseURL("redis+sentinel://u:secret@a,b/shop/2?sentinel_password=secret")
	if err != nil || strings.Contains(at.String(), "secret") || at.String() != "a:26379,b:26379/shop/2" {
		t.Errorf("shown as %v, %v", at, err)
	}
}
