package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/roles/api"
)

const (
	// maxImport bounds the file. A server takes 50 MiB a request, so a larger
	// file must be cut by --batch anyway.
	maxImport = 256 << 20
	// manyDecisions is from when on the operator is told to have patience.
	manyDecisions = 1000
	// fitting is how many decisions surely fit in a request.
	fitting = 100_000
)

// DecisionsImport adds the decisions of a file.
type DecisionsImport struct {
	Input    string `short:"i" required:"" help:"File to read; -: stdin."`
	Duration string `short:"d" default:"4h" help:"How long, where the file doesn't say."`
	Scope    string `default:"Ip" help:"Scope, where the file doesn't say."`
	Reason   string `short:"R" default:"manual" help:"Reason, where the file doesn't say."`
	Type     string `short:"t" default:"ban" help:"Type, where the file doesn't say."`
	Batch    number `default:"0" help:"Send this many at a time; 0: all at once."`
	Format   string `help:"json, csv, or values (one a line); default: what the file's extension says."`
}

// rawDecision is one decision of a file. Its other keys are ignored.
type rawDecision struct {
	Duration string `json:"duration"`
	Reason   string `json:"reason"`
	Scope    string `json:"scope"`
	Type     string `json:"type"`
	Value    string `json:"value"`
}

// Run reads all of the file before anything is sent.
func (c *DecisionsImport) Run(ctx context.Context, env *platform.Env, g *Globals) (err error) {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	format, err := c.check()
	if err != nil {
		return err
	}
	name, text, err := readInput(c.Input, env.Stdin)
	if err != nil {
		return err
	}
	defer platform.HugeHeap(min(40*len(text), 96<<20))() // of a line become 400 bytes and more
	if err := s.text("Parsing " + format + "\n"); err != nil {
		return err
	}
	list, err := parseDecisions(format, text)
	if err != nil {
		return err
	}
	if list, err = c.complete(list); err != nil {
		return err
	}
	if len(list) == 0 {
		return errors.New("no decisions found")
	}
	notes := ""
	if len(list) > manyDecisions {
		notes = fmt.Sprintf("You are about to add %d decisions, this may take a while\n", len(list))
	}
	batch := int(c.Batch)
	if batch > 0 {
		notes += fmt.Sprintf("batch size: %d\n", batch)
	} else {
		batch = len(list)
	}
	if err := s.text(notes); err != nil {
		return err
	}
	lapi, err := s.lapi(ctx)
	if err != nil {
		return err
	}
	defer lapi.done(&err)
	sent := 0
	for chunk := range slices.Chunk(list, batch) {
		s.debug("Processing chunk of %d decisions", len(chunk))
		n, err := s.importChunk(ctx, lapi, name, chunk)
		if sent += n; err != nil {
			if strings.Contains(err.Error(), "request body too large") {
				err = fmt.Errorf("%w: send less at a time, with --batch %d say", err, min(fitting, len(chunk)/2))
			}
			return err
		}
	}
	return s.text(fmt.Sprintf("Imported %d decisions\n", sent))
}

// check refuses flags that can't be right and returns the format.
func (c *DecisionsImport) check() (format string, err error) {
	for _, d := range []struct{ name, value string }{
		{"duration", c.Duration}, {"scope", c.Scope}, {"reason", c.Reason}, {"type", c.Type},
	} {
		if d.value == "" {
			return "", &usageError{fmt.Sprintf("default %s cannot be empty", d.name)}
		}
	}
	if c.Batch < 0 {
		return "", &usageError{"the batch size cannot be negative"}
	}
	switch c.Format {
	case "json", "csv", "values":
		return c.Format, nil
	case "":
	default:
		return "", fmt.Errorf("invalid format '%s', expected one of 'json', 'csv', 'values'", c.Format)
	}
	switch filepath.Ext(c.Input) {
	case ".json":
		return "json", nil
	case ".csv":
		return "csv", nil
	}
	return "", errors.New("unable to guess format from file extension, please provide a format with --format flag")
}

// readInput returns what is in a file, or for - on stdin, and the name it goes
// by in messages.
func readInput(path string, stdin io.Reader) (name string, text []byte, err error) {
	name = path
	if path == "-" {
		name = "stdin"
	} else {
		f, err := os.Open(path)
		if err != nil {
			return "", nil, fmt.Errorf("unable to open %s: %w", path, err)
		}
		defer f.Close()
		stdin = f
	}
	text, err = io.ReadAll(io.LimitReader(stdin, maxImport+1))
	if err != nil {
		return "", nil, fmt.Errorf("unable to read from %s: %w", name, err)
	}
	if len(text) > maxImport {
		return "", nil, fmt.Errorf("unable to read from %s: it has more than %d MiB", name, maxImport>>20)
	}
	return name, text, nil
}

// complete fills in what the file left open, drops what has no value, and
// checks what the server would stumble over: a batch is all or nothing, and
// nothing is to be sent of a file that is wrong further down.
func (c *DecisionsImport) complete(list []rawDecision) ([]rawDecision, error) {
	kept := list[:0]
	for i, d := range list {
		if d.Value = strings.TrimSpace(d.Value); d.Value == "" {
			continue
		}
		d.Duration = first(d.Duration, c.Duration)
		d.Reason = first(d.Reason, c.Reason)
		d.Scope = first(d.Scope, c.Scope)
		d.Type = first(d.Type, c.Type)
		if _, err := api.ParseDuration(d.Duration); err != nil {
			return nil, fmt.Errorf("decision %d (%s): %w", i+1, d.Value, err)
		}
		if scope := decisions.NormalScope(d.Scope); scope == decisions.ScopeIP || scope == decisions.ScopeRange {
			if _, err := decisions.ParsePrefix(d.Value); err != nil {
				// The words of the LAPI, for the scripts that know them.
				return nil, fmt.Errorf("API error: invalid ip address '%s' (decision %d): %w", d.Value, i+1, err)
			}
		}
		kept = append(kept, d)
	}
	return kept, nil
}

// importChunk leaves out what an allowlist covers and sends the rest as one
// alert: all or nothing. It returns how many were sent.
func (s *session) importChunk(ctx context.Context, lapi *lapi, name string, chunk []rawDecision) (int, error) {
	var targets []string
	for _, d := range chunk {
		if scope := decisions.NormalScope(d.Scope); scope == decisions.ScopeIP || scope == decisions.ScopeRange {
			targets = append(targets, d.Value)
		}
	}
	covered := map[string][]string{}
	if len(targets) > 0 {
		matches, err := lapi.AllowlistedAll(ctx, targets)
		if err != nil && !errors.Is(err, api.ErrNotFound) { // a server without lists has nothing on them
			return 0, apiError(err)
		}
		for _, m := range matches {
			covered[m.Target] = m.Allowlists
		}
	}
	out := make([]api.Decision, 0, len(chunk))
	for _, d := range chunk {
		if lists, ok := covered[d.Value]; ok {
			if err := s.text(plain(fmt.Sprintf("Value %s is allowlisted by %v", d.Value, lists)) + "\n"); err != nil {
				return 0, err
			}
			continue
		}
		out = append(out, api.Decision{
			Duration: d.Duration, Origin: decisions.OriginImport, Scenario: d.Reason, Scope: d.Scope, Type: d.Type, Value: d.Value,
		})
	}
	if len(out) == 0 {
		return 0, nil
	}
	now := s.now().UTC().Format(time.RFC3339)
	ids, err := lapi.PostAlerts(ctx, []api.Alert{{
		CreatedAt: now, StartAt: now, StopAt: now,
		Kind:        decisions.OriginCscli,
		EventsCount: int32(len(out)),
		Scenario:    fmt.Sprintf("import %s: %d IPs", name, len(out)),
		Decisions:   out,
	}})
	if err != nil {
		return 0, apiError(err)
	}
	if len(ids) == 0 {
		return 0, errNotKept
	}
	return len(out), nil
}

// parseDecisions reads a file of one of the three formats.
func parseDecisions(format string, text []byte) ([]rawDecision, error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // the mark that Windows puts before UTF-8
	switch format {
	case "json":
		return parseJSON(text)
	case "csv":
		return parseCSV(text)
	}
	return parseValues(text)
}

func parseJSON(text []byte) ([]rawDecision, error) {
	var list []rawDecision
	if err := json.Unmarshal(text, &list); err != nil {
		// Upstream's type has another name, which scripts match on.
		return nil, errors.New(strings.ReplaceAll(err.Error(), "[]cli.rawDecision", "[]clidecision.decisionRaw"))
	}
	return list, nil
}

// parseCSV reads columns by the names in the first row; others are ignored.
func parseCSV(text []byte) ([]rawDecision, error) {
	r := csv.NewReader(bytes.NewReader(text))
	r.TrimLeadingSpace = true
	r.FieldsPerRecord = -1 // short rows lack their last fields
	var column map[string]int
	var list []rawDecision
	for {
		row, err := r.Read()
		switch {
		case err == io.EOF && column == nil:
			return nil, errors.New("unable to parse csv: it has no header row")
		case err == io.EOF:
			return list, nil
		case err != nil:
			return nil, fmt.Errorf("unable to parse csv: %w", err)
		}
		if column == nil {
			column = map[string]int{}
			for i, name := range row {
				column[strings.TrimSpace(name)] = i
			}
			if _, ok := column["value"]; !ok {
				return nil, errors.New("unable to parse csv: no column is called 'value'")
			}
			continue
		}
		field := func(name string) string {
			if i, ok := column[name]; ok && i < len(row) {
				return strings.TrimSpace(row[i])
			}
			return ""
		}
		list = append(list, rawDecision{
			Duration: field("duration"), Reason: field("reason"), Scope: field("scope"), Type: field("type"), Value: field("value"),
		})
	}
}

// parseValues reads one value a line; empty lines don't count.
func parseValues(text []byte) ([]rawDecision, error) {
	var list []rawDecision
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		list = append(list, rawDecision{Value: lines.Text()})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("unable to parse values: line %d: %w", len(list)+1, err)
	}
	return list, nil
}
