package redisstore

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"placard/linking"
)

// Bare sends commits with the script and nothing around it: no second try, no wake,
// no look at replicas. It is what the store is measured against, and no way to keep
// money.
func Bare(to redis.UniversalClient) func(context.Context, linking.Commit) error {
	return func(ctx context.Context, c linking.Commit) error {
		switch got, _, err := newScript(&shardNames[c.Shard], &c).run(ctx, to, 0, false); got {
		case applied:
			return nil
		case conflict:
			return linking.ErrConflict
		default:
			return fmt.Errorf("the script did not run: %w", err)
		}
	}
}
