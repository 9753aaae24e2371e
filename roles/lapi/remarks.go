package lapi

import (
	"context"
	"log/slog"
)

// remarks are what the log says of one request: each kind once, however many alerts
// gave reason for it.
type remarks struct{ list []remark }

type remark struct {
	level slog.Level
	text  string
	attrs []any // of the first reason
	of    string
	n     int
}

// add notes n more reasons for a remark: so many alerts, or decisions.
func (r *remarks) add(level slog.Level, text, of string, n int, attrs ...any) {
	for i := range r.list {
		if r.list[i].text == text {
			r.list[i].n += n
			return
		}
	}
	r.list = append(r.list, remark{level, text, attrs, of, n})
}

func (r *remarks) tell(ctx context.Context, log *slog.Logger, machineID string) {
	for _, one := range r.list {
		log.Log(ctx, one.level, one.text, append([]any{"machine", machineID, one.of, one.n}, one.attrs...)...)
	}
}
