package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"placard/linking"
)

// Wakes travel on a few channels of classic publish and subscribe: on a Cluster
// that reaches every node, and one subscription a process hears it all. Nothing
// depends on it; see linking.Store.Watch.
const (
	wakeChannels = 16
	maxNews      = 4096 // topics that may wait to be published
	maxNewsBatch = 256
	allTopics    = "*" // wakes everybody: more happened than could be told
)

func (s *Store) channel(n int) string {
	return "placard:" + strconv.Itoa(s.at.db) + ":" + strconv.Itoa(n)
}

// Watch implements linking.Store.
func (s *Store) Watch(topics ...linking.Topic) *linking.Watcher { return s.hub.Watch(topics...) }

// announce tells the watchers of a commit: those here at once, the others soon.
func (s *Store) announce(c *linking.Commit) {
	if s.o.NoWatch {
		return
	}
	topics := c.Topics()
	s.hub.Wake(topics...)
	for _, t := range topics {
		select {
		case s.news <- t:
		default:
			s.missed.Store(true)
			return
		}
	}
}

// publish sends the news that have gathered, in one round trip, until the store
// is closed.
func (s *Store) publish() {
	for {
		var t linking.Topic
		select {
		case <-s.stop:
			return
		case t = <-s.news:
		}
		var bodies [wakeChannels][]string
		add := func(t linking.Topic) {
			n := channelOf(t)
			bodies[n] = append(bodies[n], string(t))
		}
		add(t)
		for n := 1; n < maxNewsBatch; n++ {
			select {
			case t = <-s.news:
				add(t)
				continue
			default:
			}
			break
		}
		if s.missed.Swap(false) {
			bodies[0] = []string{allTopics}
		}
		p := s.others.Pipeline()
		for n, body := range bodies {
			if len(body) > 0 {
				p.Publish(context.Background(), s.channel(n), s.me+"\n"+strings.Join(body, "\n"))
			}
		}
		p.Exec(context.Background()) // lost news are made up for by whoever waits
	}
}

// channelOf spreads topics by their shard.
func channelOf(t linking.Topic) int {
	if len(t) < 2 {
		return 0
	}
	return int(t[1]) % wakeChannels
}

// subscribe wakes watchers of what other processes commit, until the store is
// closed. go-redis connects again by itself; what was published meanwhile is
// lost, so everybody is woken then.
func (s *Store) subscribe(p *redis.PubSub) {
	messages := p.ChannelWithSubscriptions(redis.WithChannelHealthCheckInterval(3 * time.Second))
	for {
		select {
		case <-s.stop:
			p.Close()
			return
		case m, ok := <-messages:
			if !ok {
				return
			}
			switch m := m.(type) {
			case *redis.Subscription:
				s.hub.WakeAll()
			case *redis.Message:
				from, topics, _ := strings.Cut(m.Payload, "\n")
				if from == s.me { // woken already
					continue
				}
				for t := range strings.SplitSeq(topics, "\n") {
					if t == allTopics {
						s.hub.WakeAll()
						break
					}
					s.hub.Wake(linking.Topic(t))
				}
			}
		}
	}
}

// startWatching subscribes, and publishes from then on.
func (s *Store) startWatching(ctx context.Context) error {
	if s.o.NoWatch {
		return nil
	}
	channels := make([]string, wakeChannels)
	for i := range channels {
		channels[i] = s.channel(i)
	}
	p := s.others.Subscribe(ctx, channels...)
	if _, err := p.Receive(ctx); err != nil {
		p.Close()
		return fmt.Errorf("the Redis at %s allows no SUBSCRIBE: grant it (ACL: +subscribe +unsubscribe +publish &placard:*): %w", s.at, err)
	}
	s.background.Go(s.publish)
	s.background.Go(func() { s.subscribe(p) })
	return nil
}
