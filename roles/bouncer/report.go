package bouncer

import (
	"log/slog"
	"net/netip"
	"time"

	"cs/remediate"
)

// maxLines bounds how many bans are logged in full in one second. Of what is
// above, only the number is told.
const maxLines = 20

// reporter logs bans. Its caller makes sure that calls don't overlap.
type reporter struct {
	log     *slog.Logger
	now     func() time.Time
	second  time.Time
	lines   int
	skipped int
}

var reports = [...]string{
	remediate.Add:     "ban applied",
	remediate.Replace: "ban changed",
	remediate.Remove:  "ban lifted",
}

// changes logs what the kernel took at a time.
func (r *reporter) changes(list []remediate.Change, at time.Time) {
	if at.Sub(r.second) >= time.Second {
		if r.skipped > 0 {
			r.log.Info("more bans changed", "count", r.skipped)
		}
		r.second, r.lines, r.skipped = at, 0, 0
	}
	if len(list) > maxLines {
		r.summary(list)
		return
	}
	for i := range list {
		c := &list[i]
		if r.lines++; r.lines > maxLines {
			r.skipped++
			continue
		}
		args := []any{"prefix", shortPrefix(c.Prefix), "origin", c.Origin}
		if c.Op != remediate.Remove {
			args = append(args, "left", c.Until.Sub(at).Round(time.Second))
			if c.Scenario != "" {
				args = append(args, "scenario", c.Scenario)
			}
			if !c.Created.IsZero() {
				args = append(args, "since_decision", at.Sub(c.Created).Round(time.Microsecond))
			}
		}
		r.log.Info(reports[c.Op], args...)
	}
}

func (r *reporter) summary(list []remediate.Change) {
	var n [len(reports)]int
	for i := range list {
		n[list[i].Op]++
	}
	r.log.Info("bans applied", "added", n[remediate.Add], "changed", n[remediate.Replace], "lifted", n[remediate.Remove])
}

// shortPrefix writes a single address without its length.
func shortPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
