package bankapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"placard/linking"
)

// Rail opens the banks of one API family. It is the seam between this package and
// relay, pix and jpm.
type Rail interface {
	// Open returns an unguarded bank. It makes no call. An error is a sentence for
	// the one who entered the settings; it never repeats a secret.
	//
	// If the bank has a method Drop(), it is called when the connection is dropped;
	// calls may still be under way then. If its Abilities makes no call, it says so
	// with a method FixedAbilities().
	Open(s Setup) (linking.Bank, error)
}

// Setup is what a rail needs to open one connection.
type Setup struct {
	Connection linking.ConnectionID
	Settings   map[string]string
	Secrets    map[string]Secret

	// Client returns a client with the guard's timeouts. With nil it is shared among
	// connections; with a configuration of its own it is made for this one, and the
	// bank's Drop has to close its idle connections.
	Client func(*tls.Config) *http.Client

	// Token wraps the fetching of an access token by a call that finds it has none,
	// so that it has its own breaker. What it returns is what that call returns.
	Token func(ctx context.Context, fetch func(context.Context) error) error
}

// BadSetting is what a rail's Open returns for a setting or secret that cannot
// work. message is a sentence that states the rule.
func BadSetting(field, code, message string) error {
	return &linking.Error{Kind: linking.Invalid, Code: "invalid_request", Detail: message,
		Fields: []linking.FieldError{{Field: field, Code: code, Message: message}}}
}

// Options make Banks.
type Options struct {
	Rails  map[string]Rail // by the name connections use
	Sealer *Sealer
	Limits Limits       // zero: DefaultLimits
	Log    *slog.Logger // nil: slog.Default()

	// Changed is told of every breaker that opens, is tried, or closes, in order,
	// from one goroutine. While it takes long, 256 changes wait for it, and no more.
	Changed func(BreakerState)
}

// MaxBanks is the number of connections kept open. Beyond it, those not used for
// longest are dropped, and with them what their breakers knew.
const MaxBanks = 10_000

// Banks opens connections. It implements linking.Banks.
type Banks struct {
	rails   map[string]Rail
	sealer  *Sealer
	limits  Limits
	log     *slog.Logger
	shared  *http.Client
	changes chan BreakerState
	stop    chan struct{}
	stopped chan struct{}

	mu   sync.Mutex
	open map[linking.ConnectionID]*opened
}

type opened struct {
	revision int
	rail     string
	guard    *guard
	used     time.Time
}

// New starts a goroutine that tells of breakers; Close ends it.
func New(o Options) *Banks {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.Limits = o.Limits.orDefault()
	b := &Banks{
		rails: maps.Clone(o.Rails), sealer: o.Sealer, limits: o.Limits, log: o.Log,
		shared:  NewClient(o.Limits, nil),
		changes: make(chan BreakerState, 256), stop: make(chan struct{}), stopped: make(chan struct{}),
		open: map[linking.ConnectionID]*opened{},
	}
	go b.tell(o.Changed)
	return b
}

// Open returns the guarded bank of a connection, the same one as long as the
// connection's revision stays. Who still holds an older revision gets the bank of
// the newest: its credentials are the ones that hold.
func (b *Banks) Open(c *linking.Connection) (linking.Bank, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	was := b.open[c.ID]
	if was != nil && was.revision >= c.Revision {
		was.used = now
		return was.guard, nil
	}
	rail, ok := b.rails[c.Rail]
	if !ok {
		return nil, BadSetting("rail", "unknown", fmt.Sprintf("There is no rail named %q here.", c.Rail))
	}
	var secrets map[string]Secret
	if len(c.Sealed) > 0 {
		if b.sealer == nil {
			return nil, errors.New("the connection has sealed credentials, and there is no key to open them")
		}
		var err error
		if secrets, err = b.sealer.Open(c.ID, c.Rail, c.Sealed); err != nil {
			return nil, err
		}
	}
	id, name := c.ID, c.Rail
	g := newGuard(b.limits, b.log.With("connection", id, "rail", name), func(s BreakerState) {
		s.Connection, s.Rail = id, name
		select {
		case b.changes <- s:
		default: // States still tells; nothing waits for a slow log
		}
	})
	bank, err := rail.Open(Setup{
		Connection: c.ID, Settings: maps.Clone(c.Settings), Secrets: secrets, Token: g.token,
		Client: func(t *tls.Config) *http.Client {
			if t == nil {
				return b.shared
			}
			return NewClient(b.limits, t)
		},
	})
	if err != nil {
		return nil, err
	}
	g.bank = bank
	if was != nil {
		was.drop()
		for _, c := range Classes { // other settings are another chance
			if was.guard.breakers[c].view().State != gobreaker.StateClosed.String() {
				g.breakers[c].changed(g.breakers[c].view())
			}
		}
	} else if len(b.open) >= MaxBanks {
		b.dropOldest()
	}
	b.open[c.ID] = &opened{c.Revision, c.Rail, g, now}
	return g, nil
}

// Check asks the bank of a connection something it must be able to answer, so that
// whoever entered the connection learns at once whether it works. Nothing
// remembered is used. An error is a *linking.BankError, or what Open returned.
func (b *Banks) Check(ctx context.Context, c *linking.Connection) error {
	bank, err := b.Open(c)
	if err != nil {
		return err
	}
	return bank.(*guard).check(ctx)
}

// dropOldest makes room, a tenth at a time so that it is rarely needed.
func (b *Banks) dropOldest() {
	ids := slices.SortedFunc(maps.Keys(b.open), func(x, y linking.ConnectionID) int {
		return b.open[x].used.Compare(b.open[y].used)
	})
	for _, id := range ids[:len(ids)/10+1] {
		b.open[id].drop()
		delete(b.open, id)
	}
}

func (o *opened) drop() {
	if d, ok := o.guard.bank.(interface{ Drop() }); ok {
		d.Drop()
	}
}

// States lists the breakers of every open connection, by connection and class.
func (b *Banks) States() []BreakerState {
	b.mu.Lock()
	guards := make(map[linking.ConnectionID]*opened, len(b.open))
	maps.Copy(guards, b.open)
	b.mu.Unlock()
	states := make([]BreakerState, 0, len(guards)*len(Classes))
	for _, id := range slices.Sorted(maps.Keys(guards)) {
		for _, c := range Classes {
			s := guards[id].guard.breakers[c].view()
			s.Connection, s.Rail = id, guards[id].rail
			states = append(states, s)
		}
	}
	return states
}

// tell writes each change to the log, once.
func (b *Banks) tell(changed func(BreakerState)) {
	defer close(b.stopped)
	for {
		select {
		case s := <-b.changes:
			level := slog.LevelInfo
			if s.State == gobreaker.StateOpen.String() {
				level = slog.LevelWarn
			}
			b.log.Log(context.Background(), level, "bank breaker "+s.State,
				"connection", s.Connection, "rail", s.Rail, "class", s.Class, "code", s.Code, "until", s.Until, "opened", s.Opened)
			if changed != nil {
				changed(s)
			}
		case <-b.stop:
			return
		}
	}
}

// Close drops every connection. Calls under way end by themselves.
func (b *Banks) Close() error {
	close(b.stop)
	<-b.stopped
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range b.open {
		o.drop()
	}
	clear(b.open)
	b.shared.CloseIdleConnections()
	return nil
}
