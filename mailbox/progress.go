package mailbox

import "context"

type progressKey struct{}

// WithProgress makes long searches, sorts and threads call fn now and then, from the
// goroutine that called them: done of total messages are read. Either may begin anew
// where a search goes on in dearer ways. No lock and no transaction is held meanwhile.
func WithProgress(ctx context.Context, fn func(done, total int)) context.Context {
	return context.WithValue(ctx, progressKey{}, fn)
}

// progressOf returns what WithProgress was given, or a function that does nothing.
func progressOf(ctx context.Context) func(done, total int) {
	if fn, ok := ctx.Value(progressKey{}).(func(done, total int)); ok {
		return fn
	}
	return func(int, int) {}
}
