package redisstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// target is where a store lives, as its URL says.
type target struct {
	kind     kind
	addrs    []string
	master   string // name of the master, for Sentinel
	user     string
	password string
	db       int
	tls      *tls.Config

	sentinelUser     string
	sentinelPassword string
}

type kind int

const (
	standalone kind = iota
	sentinel
	cluster
)

func (k kind) String() string { return [...]string{"redis", "redis sentinel", "redis cluster"}[k] }

// parseURL reads the address of a store. The forms, where rediss means TLS:
//
//	redis://[user:password@]host[:6379][/db]
//	rediss://…
//	redis+sentinel://[user:password@]host[:26379],host…/master[/db][?sentinel_user=…&sentinel_password=…]
//	redis+cluster://[user:password@]host[:6379],host…
//
// User and password are those of the Redis servers; special characters are
// written as %XX. With TLS, ?ca=FILE names the authority to trust instead of the
// system's, and ?cert=FILE&key=FILE our own certificate.
//
// No error of parseURL shows a password.
func parseURL(s string) (*target, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return nil, errors.New("the store's URL must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://")
	}
	t := &target{}
	base, variant, _ := strings.Cut(scheme, "+")
	switch variant {
	case "":
		t.kind = standalone
	case "sentinel":
		t.kind = sentinel
	case "cluster":
		t.kind = cluster
	default:
		return nil, fmt.Errorf("the store's URL begins with %s://: known are redis, redis+sentinel and redis+cluster, and the same with rediss for TLS", scheme)
	}
	if base != "redis" && base != "rediss" {
		return nil, fmt.Errorf("the store's URL begins with %s://: known are redis, redis+sentinel and redis+cluster, and the same with rediss for TLS", scheme)
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	credentials := ""
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		credentials, authority = authority[:i+1], authority[i+1:]
	}
	u, err := url.Parse("redis://" + credentials + "host" + tail)
	if err != nil {
		return nil, errors.New("the store's URL cannot be read; special characters of a password are written as %XX")
	}
	t.user = u.User.Username()
	t.password, _ = u.User.Password()
	if err := t.readAddrs(authority); err != nil {
		return nil, err
	}
	if err := t.readPath(strings.Trim(u.Path, "/")); err != nil {
		return nil, err
	}
	return t, t.readQuery(u.Query(), base == "rediss")
}

func (t *target) readAddrs(authority string) error {
	port := "6379"
	if t.kind == sentinel {
		port = "26379"
	}
	for _, a := range strings.Split(authority, ",") {
		if a == "" {
			return errors.New("the store's URL names no host, or an empty one")
		}
		host, p, err := net.SplitHostPort(a)
		if err != nil {
			host, p = strings.Trim(a, "[]"), port
		}
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 || host == "" {
			return fmt.Errorf("the store's URL has a bad host or port: %q", a)
		}
		t.addrs = append(t.addrs, net.JoinHostPort(host, p))
	}
	if t.kind == standalone && len(t.addrs) > 1 {
		return errors.New("the store's URL names several hosts: write redis+sentinel:// or redis+cluster://")
	}
	return nil
}

func (t *target) readPath(path string) error {
	db := path
	switch t.kind {
	case sentinel:
		t.master, db, _ = strings.Cut(path, "/")
		if t.master == "" {
			return errors.New("the store's URL names no master: write redis+sentinel://host,host/master")
		}
	case cluster:
		if path != "" {
			return errors.New("a Redis Cluster has no databases: write redis+cluster://host,host without a path")
		}
	}
	if db == "" {
		return nil
	}
	n, err := strconv.Atoi(db)
	if err != nil || n < 0 {
		return fmt.Errorf("the store's URL ends in %q, which is no number of a database", db)
	}
	t.db = n
	return nil
}

func (t *target) readQuery(q url.Values, secure bool) error {
	if secure {
		t.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	for name := range q {
		v := q.Get(name)
		switch {
		case name == "sentinel_user" && t.kind == sentinel:
			t.sentinelUser = v
		case name == "sentinel_password" && t.kind == sentinel:
			t.sentinelPassword = v
		case name == "ca" && secure:
			pem, err := os.ReadFile(v)
			if err != nil {
				return fmt.Errorf("the authority that the store's URL names cannot be read: %w", err)
			}
			t.tls.RootCAs = x509.NewCertPool()
			if !t.tls.RootCAs.AppendCertsFromPEM(pem) {
				return fmt.Errorf("%s holds no certificate in PEM form", v)
			}
		case (name == "cert" || name == "key") && secure:
			if t.tls.Certificates != nil {
				continue
			}
			pair, err := tls.LoadX509KeyPair(q.Get("cert"), q.Get("key"))
			if err != nil {
				return fmt.Errorf("the certificate that the store's URL names cannot be used: %w", err)
			}
			t.tls.Certificates = []tls.Certificate{pair}
		default:
			return fmt.Errorf("the store's URL has a setting %q that is not known here", name)
		}
	}
	return nil
}

// String names the place without a password.
func (t *target) String() string {
	s := strings.Join(t.addrs, ",")
	if t.kind == sentinel {
		s += "/" + t.master
	}
	if t.db != 0 {
		s += "/" + strconv.Itoa(t.db)
	}
	return s
}

// Waits for one try: long enough for a busy disk's fsync, short enough that a
// till is told in time.
const (
	dialTimeout = time.Second
	ioTimeout   = time.Second
)

// connect makes a client with a pool of its own.
func (t *target) connect(pool int) redis.UniversalClient {
	off := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	addrs := slices.Clone(t.addrs) // a Cluster client appends to it
	switch t.kind {
	case cluster:
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: addrs, Username: t.user, Password: t.password, TLSConfig: t.tls, Protocol: 2,
			MaxRetries: -1, DialTimeout: dialTimeout, DialerRetries: 1, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout,
			ContextTimeoutEnabled: true, PoolSize: pool, MaxActiveConns: pool, PipelinePoolSize: -1,
			DisableIdentity: true, DisableRoutingPolicies: true, MaintNotificationsConfig: off,
		})
	case sentinel:
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: t.master, SentinelAddrs: addrs, SentinelUsername: t.sentinelUser, SentinelPassword: t.sentinelPassword,
			Username: t.user, Password: t.password, DB: t.db, TLSConfig: t.tls, Protocol: 2,
			MaxRetries: -1, DialTimeout: dialTimeout, DialerRetries: 1, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout,
			ContextTimeoutEnabled: true, PoolSize: pool, MaxActiveConns: pool, PipelinePoolSize: -1,
			DisableIdentity: true,
		})
	}
	return redis.NewClient(&redis.Options{
		Addr: t.addrs[0], Username: t.user, Password: t.password, DB: t.db, TLSConfig: t.tls, Protocol: 2,
		MaxRetries: -1, DialTimeout: dialTimeout, DialerRetries: 1, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout,
		ContextTimeoutEnabled: true, PoolSize: pool, MaxActiveConns: pool, PipelinePoolSize: -1,
		DisableIdentity: true, MaintNotificationsConfig: off,
	})
}
