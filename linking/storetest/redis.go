package storetest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// RedisServer is a redis-server of the tests' own, or the one PLACARD_TEST_REDIS
// names. It keeps what it acknowledges (an append-only file synced before every
// answer) and listens on loopback only.
type RedisServer struct {
	Addr string // host:port
	Dir  string // where its files are; empty if it is not ours

	url      string
	settings []string
	process  *exec.Cmd
	guard    *exec.Cmd
	exited   chan struct{}
}

// URL is how a store is told of the server.
func (r *RedisServer) URL() string {
	if r.url != "" {
		return r.url
	}
	return "redis://" + r.Addr
}

var shared struct {
	sync.Mutex
	server  *RedisServer
	cluster []*RedisServer
}

// Redis returns the server that the tests of this binary share, emptied. With
// PLACARD_TEST_REDIS=redis://… it is that one: everything in its database is
// deleted. Without redis-server the test fails where CI=1, and is skipped
// elsewhere.
func Redis(t testing.TB) *RedisServer {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		if u := os.Getenv("PLACARD_TEST_REDIS"); u != "" {
			parsed, err := url.Parse(u)
			if err != nil || parsed.Scheme != "redis" {
				t.Fatal("PLACARD_TEST_REDIS must be of the form redis://host:port/db")
			}
			shared.server = &RedisServer{Addr: parsed.Host, url: u}
		} else {
			server := &RedisServer{settings: Durable()}
			server.Start(t)
			shared.server = server
		}
	}
	shared.server.Empty(t)
	return shared.server
}

// Durable is the settings with which Redis keeps what it acknowledges.
func Durable() []string {
	return []string{"appendonly", "yes", "appendfsync", "always", "save", "", "maxmemory", "2gb", "maxmemory-policy", "noeviction"}
}

// NewRedis starts a server for one test, with settings as names and values in
// turn, and ends it with the test.
func NewRedis(t testing.TB, settings ...string) *RedisServer {
	t.Helper()
	r := &RedisServer{settings: settings}
	r.Start(t)
	t.Cleanup(r.end)
	return r
}

// RedisCluster returns the three masters that the tests of this binary share,
// emptied.
func RedisCluster(t testing.TB) []*RedisServer {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil {
		shared.cluster = startCluster(t)
	}
	for _, n := range shared.cluster {
		n.Empty(t)
	}
	return shared.cluster
}

// NewRedisCluster starts three masters for one test, and ends them with it.
func NewRedisCluster(t testing.TB) []*RedisServer {
	t.Helper()
	nodes := startCluster(t)
	for _, n := range nodes {
		t.Cleanup(n.end)
	}
	return nodes
}

func startCluster(t testing.TB) []*RedisServer {
	nodes := make([]*RedisServer, 3)
	for i := range nodes {
		nodes[i] = &RedisServer{settings: append(Durable(), "cluster-enabled", "yes", "cluster-node-timeout", "2000", "cluster-config-file", "nodes.conf")}
		nodes[i].Start(t)
	}
	join(t, nodes)
	return nodes
}

// ClusterURL is how a store is told of a cluster.
func ClusterURL(nodes []*RedisServer) string {
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Addr)
	}
	return "redis+cluster://" + strings.Join(addrs, ",")
}

func join(t testing.TB, nodes []*RedisServer) {
	t.Helper()
	const slots = 16384
	for i, n := range nodes {
		n.Must(t, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		n.Must(t, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/len(nodes)), strconv.Itoa((i+1)*slots/len(nodes)-1))
	}
	for _, n := range nodes {
		host, port, _ := net.SplitHostPort(n.Addr)
		bus := n.Must(t, "CONFIG", "GET", "cluster-port").([]any)[1].(string)
		for _, other := range nodes {
			if other != n {
				other.Must(t, "CLUSTER", "MEET", host, port, bus)
			}
		}
	}
	for _, n := range nodes {
		Eventually(t, "the cluster has formed", func() bool {
			info := fmt.Sprint(n.Must(t, "CLUSTER", "INFO"))
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3") &&
				strings.Contains(info, "cluster_size:3")
		})
	}
}

// Eventually waits until something is true, at most 45 seconds: what nobody tells, Placard
// finds within 30.
func Eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(45 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never happened that %s", what)
		}
	}
}

// Tool returns the path of a program that tests need. Where there is none the
// test fails under CI=1, and is skipped elsewhere with the reason.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "1" {
		t.Fatalf("%s is not installed, and CI=1 lets no test be skipped", name)
	}
	t.Skipf("NOT TESTED: %s is not installed", name)
	return ""
}

// Start starts the server, again if it was stopped or killed: then with the same
// address and files.
func (r *RedisServer) Start(t testing.TB) {
	t.Helper()
	tool := Tool(t, "redis-server")
	if r.Dir == "" {
		dir, err := os.MkdirTemp("", "placard-redis-")
		if err != nil {
			t.Fatal(err)
		}
		r.Dir = dir
	}
	fresh := r.Addr == ""
	for try := 1; ; try++ {
		if fresh {
			r.Addr = freeAddr(t)
			os.Remove(filepath.Join(r.Dir, "redis.conf"))
		}
		err := r.launch(t, tool)
		if err == nil {
			return
		}
		if !fresh || try == 5 { // the port may have been taken by somebody else meanwhile
			log, _ := os.ReadFile(filepath.Join(r.Dir, "log"))
			os.RemoveAll(r.Dir)
			t.Fatalf("redis-server: %v\n%s", err, log[max(0, len(log)-2000):])
		}
	}
}

func (r *RedisServer) has(setting string) bool {
	for i := 0; i < len(r.settings); i += 2 {
		if r.settings[i] == setting {
			return true
		}
	}
	return false
}

// conf is the server's file of settings.
func (r *RedisServer) conf(t testing.TB) []byte {
	host, port, _ := net.SplitHostPort(r.Addr)
	var b bytes.Buffer
	fmt.Fprintf(&b, "port %s\nbind %s\ndir %q\nlogfile %q\n", port, host, r.Dir, filepath.Join(r.Dir, "log"))
	if r.has("cluster-enabled") {
		_, bus, _ := net.SplitHostPort(freeAddr(t))
		fmt.Fprintf(&b, "cluster-port %s\n", bus)
	}
	for i := 0; i+1 < len(r.settings); i += 2 {
		value := r.settings[i+1]
		if value == "" {
			value = `""`
		}
		fmt.Fprintf(&b, "%s %s\n", r.settings[i], value)
	}
	return b.Bytes()
}

func freeAddr(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (r *RedisServer) launch(t testing.TB, tool string) error {
	conf := filepath.Join(r.Dir, "redis.conf")
	if _, err := os.Stat(conf); err != nil { // a Sentinel keeps what it knows in its file
		if err := os.WriteFile(conf, r.conf(t), 0o600); err != nil {
			return err
		}
	}
	args := []string{conf}
	if r.has("sentinel monitor") {
		args = append(args, "--sentinel")
	}
	r.process = exec.Command(tool, args...)
	if err := r.process.Start(); err != nil {
		return err
	}
	// The guard ends the server and clears up also when the tests are killed: its
	// input ends with them.
	r.guard = exec.Command("sh", "-c", `trap "" INT; cat >/dev/null; kill -9 "$1" 2>/dev/null; rm -rf "$2"`, "sh", strconv.Itoa(r.process.Process.Pid), r.Dir)
	if _, err := r.guard.StdinPipe(); err != nil {
		return err
	}
	if err := r.guard.Start(); err != nil {
		r.process.Process.Kill()
		return err
	}
	r.exited = make(chan struct{})
	go func(p *exec.Cmd, exited chan struct{}) {
		p.Wait()
		close(exited)
	}(r.process, r.exited)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		select {
		case <-r.exited:
			r.guard.Process.Kill()
			r.guard.Wait()
			return errors.New("it ended at once")
		default:
		}
		if _, err := r.Do("PING"); err == nil || strings.HasPrefix(err.Error(), "NOAUTH") || strings.HasPrefix(err.Error(), "NOPERM") {
			return nil
		}
	}
	r.Kill()
	return errors.New("it does not answer")
}

// Kill ends the server as kill -9 does.
func (r *RedisServer) Kill() { r.Signal(syscall.SIGKILL) }

// Signal sends the server a signal, and waits for its end if that ends it.
func (r *RedisServer) Signal(s syscall.Signal) {
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		r.guard.Process.Kill()
		r.guard.Wait()
	}
	r.process.Process.Signal(s)
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		<-r.exited
	}
}

func (r *RedisServer) end() {
	select {
	case <-r.exited:
	default:
		r.Kill()
	}
	os.RemoveAll(r.Dir)
}

// Empty deletes everything in the server's database, and the scripts it knows.
func (r *RedisServer) Empty(t testing.TB) {
	t.Helper()
	r.Must(t, "FLUSHDB")
	r.Must(t, "SCRIPT", "FLUSH")
}

// Must is Do for commands that must succeed.
func (r *RedisServer) Must(t testing.TB, args ...string) any {
	t.Helper()
	v, err := r.Do(args...)
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return v
}

// Do sends one command on a connection of its own, as a person with redis-cli
// would. The reply is a string, an int64, nil or a list of these.
func (r *RedisServer) Do(args ...string) (any, error) {
	c, err := net.DialTimeout("tcp", r.Addr, time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	commands := [][]string{args}
	if u, err := url.Parse(r.url); err == nil && r.url != "" {
		if db := strings.Trim(u.Path, "/"); db != "" {
			commands = append([][]string{{"SELECT", db}}, commands...)
		}
		if password, ok := u.User.Password(); ok {
			auth := []string{"AUTH", password}
			if user := u.User.Username(); user != "" {
				auth = []string{"AUTH", user, password}
			}
			commands = append([][]string{auth}, commands...)
		}
	}
	in := bufio.NewReader(c)
	var reply any
	for _, command := range commands {
		var out bytes.Buffer
		fmt.Fprintf(&out, "*%d\r\n", len(command))
		for _, a := range command {
			fmt.Fprintf(&out, "$%d\r\n%s\r\n", len(a), a)
		}
		if _, err := c.Write(out.Bytes()); err != nil {
			return nil, err
		}
		if reply, err = readReply(in); err != nil {
			return nil, err
		}
	}
	return reply, nil
}

func readReply(in *bufio.Reader) (any, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return nil, errors.New("an empty reply")
	}
	n, _ := strconv.ParseInt(line[1:], 10, 64)
	switch line[0] {
	case '+':
		return line[1:], nil
	case '-':
		return nil, errors.New(line[1:])
	case ':':
		return n, nil
	case '$':
		if n < 0 {
			return nil, nil
		}
		b := make([]byte, n+2)
		_, err := io.ReadFull(in, b)
		return string(b[:n]), err
	case '*':
		var list []any
		for range max(n, 0) {
			v, err := readReply(in)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	}
	return nil, errors.New("not a reply: " + line)
}
