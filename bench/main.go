//go:build linux

// Command bench prints one table of the numbers that matter: how fast lines
// are read, what the program weighs in bytes and memory, how long a detection
// takes to become a dropped packet, and the same of what it replaces: Debian's
// crowdsec, fail2ban, and grep and wc as the limit. Results worth keeping go to
// RESULTS.md, with machine, date and command.
//
// Content and real logs come from CS_SHARED (default ../shared). What is not at
// hand is named in the table, and not measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
)

func main() {
	if os.Args[0] == measuring {
		os.Exit(measure(os.Args[1:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A bench collects the rows of the table.
type bench struct {
	binaries []string // of the builds, that of cs with everything first
	binary   string   // the first of them
	corpus   *corpus  // nil if there is none at hand
	peers    string   // where Debian's programs are, "" if there are none
	dir      string   // for files, removed at the end
	gib      float64  // size of the log that is replayed
	table    []row
}

// A row is one line of the table.
type row struct{ what, value, note string }

// row adds a figure to the table.
func (b *bench) row(what, value, note string) {
	b.table = append(b.table, row{what, value, note})
	fmt.Fprintf(os.Stderr, "%s: %s\n", what, value)
}

// A section is a part of the table. An error of one leaves the others alone.
type section struct {
	name    string
	measure func(context.Context) error
}

func run(ctx context.Context, args []string) (err error) {
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := set.String("only", "", "measure just these `sections`, separated by commas")
	gib := set.Float64("gib", 1, "size of the replayed log, in `GiB`")
	set.Usage = func() {
		fmt.Fprintln(set.Output(), "usage: bench [flags] CS [CS_EDGE [CS_BOUNCER]]")
		set.PrintDefaults()
	}
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if set.NArg() == 0 {
		return errors.New("which binary? usage: bench [flags] CS [CS_EDGE [CS_BOUNCER]]")
	}
	b := &bench{gib: *gib}
	for _, name := range set.Args() {
		path, err := filepath.Abs(name)
		if err != nil {
			return err
		}
		b.binaries = append(b.binaries, path)
	}
	b.binary = b.binaries[0]
	if b.dir, err = os.MkdirTemp("", "cs-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	shared := os.Getenv("CS_SHARED")
	if shared == "" {
		shared = "../shared"
	}
	if b.corpus, err = openCorpus(shared); err != nil {
		b.row("content of the hub", "not measured", err.Error())
	}
	if b.peers, err = unpackPeers(ctx, shared, b.dir); err != nil {
		b.row("Debian's crowdsec", "not measured", err.Error())
	}
	sections := []section{
		{"lines", b.lines},
		{"sources", b.sources},
		{"buckets", b.buckets},
		{"sizes", b.sizes},
		{"cold", b.cold},
		{"memory", b.memory},
		{"replay", b.replay},
		{"compare", b.compare},
		{"live", b.live},
		{"lapi", b.lapi},
		{"firewall", b.firewall},
		{"firewall-kernel", b.filter},
		{"firewall-latency", b.latency},
		{"firewall-peers", b.firewallPeers},
	}
	for name := range strings.SplitSeq(*only, ",") {
		if name != "" && !slices.ContainsFunc(sections, func(s section) bool { return s.name == name }) {
			return fmt.Errorf("there is no section %q", name)
		}
	}
	for _, s := range sections {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), s.name) {
			continue
		}
		if err := s.measure(ctx); err != nil {
			b.row(s.name, "not measured", err.Error())
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return b.print(os.Stdout)
}

func (b *bench) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "what\tvalue\tnote\n%s\t%s\t%s\n", strings.Repeat("-", 40), strings.Repeat("-", 16), strings.Repeat("-", 40))
	for _, r := range b.table {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.what, r.value, r.note)
	}
	return w.Flush()
}

// sizes tells what the builds weigh, beside their budgets.
func (b *bench) sizes(context.Context) error {
	const file = "packaging/sizes.txt" // from the root of the repository
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, path := range b.binaries {
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		name, budget := filepath.Base(path), "none in "+file
		for line := range strings.Lines(string(text)) {
			if n, ok := strings.CutPrefix(line, name+" "); ok {
				budget = strings.TrimSpace(n) + " bytes"
			}
		}
		b.row("size of "+name, fmt.Sprintf("%.2f MB", float64(fi.Size())/1e6), "budget: "+budget)
	}
	return nil
}
