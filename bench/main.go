//go:build linux

// Command bench prints one table of the numbers that matter: how fast lines
// are read, what the program weighs, and how long a detection takes to become
// a dropped packet. Results worth keeping go to RESULTS.md, with machine, date
// and command.
//
// usage: bench CS [CS_EDGE [CS_BOUNCER]]
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := bench(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A row is one line of the table.
type row struct{ what, value, note string }

func bench(ctx context.Context, binaries []string, out io.Writer) error {
	if len(binaries) == 0 {
		return errors.New("usage: bench CS [CS_EDGE [CS_BOUNCER]]")
	}
	rows, err := lines()
	if err != nil {
		return err
	}
	sizes, err := weigh(binaries)
	if err != nil {
		return err
	}
	rows = append(rows, sizes...)
	live, err := live(ctx, binaries[0])
	if err != nil {
		rows = append(rows, row{"memory and latency", "not measured", err.Error()})
	}
	rows = append(rows, live...)

	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "what\tvalue\tnote\n%s\t%s\t%s\n", strings.Repeat("-", 40), strings.Repeat("-", 16), strings.Repeat("-", 40))
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.what, r.value, r.note)
	}
	return w.Flush()
}

// weigh returns the sizes of the builds.
func weigh(binaries []string) (rows []row, err error) {
	budgets := []float64{24, 12, 7} // MB
	for i, path := range binaries {
		fi, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{
			"size of " + filepath.Base(path),
			fmt.Sprintf("%.2f MB", float64(fi.Size())/1e6),
			fmt.Sprintf("budget %v MB", budgets[min(i, len(budgets)-1)]),
		})
	}
	return rows, nil
}

func rate(n int, d time.Duration) string {
	return fmt.Sprintf("%.0f lines/s", float64(n)/d.Seconds())
}
