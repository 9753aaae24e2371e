package bolt

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"time"

	"cs/decisions"
	"cs/storage"
)

// Versions of the records: their first byte. To add a field, walk over it at
// the end and only from the new version on. IDs and names are the keys and not
// in the records.
const (
	machineVersion  = 2 // HubItems
	bouncerVersion  = 1
	alertVersion    = 2 // offsets of StartAt and StopAt
	decisionVersion = 2 // many of them

	alertHeadVersion = 1
	allowlistVersion = 1
)

func (c *coder) machine(m *storage.Machine) {
	c.text(&m.PasswordHash)
	c.name(&m.AuthType)
	c.text(&m.IP)
	c.bool(&m.Validated)
	c.name(&m.Version)
	list(c, &m.Scenarios, (*coder).name)
	c.name(&m.OSName)
	c.name(&m.OSVersion)
	c.name(&m.OSFamily)
	list(c, &m.FeatureFlags, (*coder).name)
	byName(c, &m.Datasources, (*coder).int64)
	c.time(&m.Created)
	c.time(&m.Updated)
	c.time(&m.LastPush)
	c.time(&m.LastHeartbeat)
	if c.version >= 2 {
		byName(c, &m.HubItems, func(c *coder, items *[]storage.HubItem) { list(c, items, (*coder).hubItem) })
	}
}

func (c *coder) hubItem(i *storage.HubItem) {
	c.name(&i.Name)
	c.name(&i.Version)
	c.name(&i.Status)
}

func (c *coder) bouncer(b *storage.Bouncer) {
	c.text(&b.KeyHash)
	c.name(&b.AuthType)
	c.text(&b.IP)
	c.name(&b.Type)
	c.name(&b.Version)
	c.name(&b.OSName)
	c.name(&b.OSVersion)
	c.name(&b.OSFamily)
	list(c, &b.FeatureFlags, (*coder).name)
	c.bool(&b.AutoCreated)
	c.time(&b.Created)
	c.time(&b.Updated)
	c.time(&b.LastPull)
	c.int64(&b.Cursor)
}

// alertRecord is an alert and where its decisions are.
type alertRecord struct {
	decisions.Alert
	first int64  // ID of the first decision
	count uint64 // number of decisions
}

func (c *coder) alert(a *alertRecord) {
	c.time(&a.StartAt) // first, for alertStart
	c.int64(&a.first)
	c.uint(&a.count)
	c.text(&a.UUID)
	c.name(&a.MachineID)
	c.name(&a.Scenario)
	c.name(&a.ScenarioHash)
	c.name(&a.ScenarioVersion)
	c.text(&a.Message)
	c.name(&a.Kind)
	c.int32(&a.Capacity)
	c.name(&a.Leakspeed)
	c.int32(&a.EventsCount)
	c.bool(&a.Simulated)
	c.bool(&a.Remediation)
	c.name(&a.Source.Scope)
	c.text(&a.Source.Value)
	c.text(&a.Source.IP)
	c.text(&a.Source.Range)
	c.name(&a.Source.ASNumber)
	c.name(&a.Source.ASName)
	c.name(&a.Source.Country)
	c.float32(&a.Source.Latitude)
	c.float32(&a.Source.Longitude)
	list(c, &a.Events, (*coder).event)
	list(c, &a.Meta, (*coder).keyValue)
	c.time(&a.StopAt)
	c.time(&a.Created)
	if c.version >= 2 {
		c.offset(&a.StartAt)
		c.offset(&a.StopAt)
	}
}

func (c *coder) alertHead(h *storage.AlertHead) {
	c.time(&h.Created)
	n := uint64(h.Decisions)
	c.uint(&n)
	if n > math.MaxInt32 {
		c.fail(errNumber)
		return
	}
	h.Decisions = int(n)
}

func (c *coder) allowlist(l *storage.Allowlist) {
	c.text(&l.Description)
	c.text(&l.ConsoleID)
	c.time(&l.Created)
	c.time(&l.Updated)
	list(c, &l.Items, (*coder).allowItem)
}

func (c *coder) allowItem(i *storage.AllowItem) {
	c.text(&i.Value)
	c.name(&i.Comment)
	c.time(&i.Created)
	c.time(&i.Expires)
}

func (c *coder) event(e *decisions.Event) {
	c.text(&e.Timestamp)
	list(c, &e.Meta, (*coder).keyValue)
}

func (c *coder) keyValue(kv *decisions.KeyValue) {
	c.name(&kv.Key)
	c.text(&kv.Value)
}

// run is decisions of one alert that follow each other, in one record: a list of
// 100,000 takes a fifth of the time of as many records. The first version is one.
func (c *coder) run(ds *[]decisions.Decision) {
	switch {
	case c.version >= 2:
		list(c, ds, (*coder).decision)
		if len(*ds) == 0 {
			c.fail(errNumber)
		}
	case c.reading:
		*ds = make([]decisions.Decision, 1)
		fallthrough
	default:
		c.decision(&(*ds)[0])
	}
}

func (c *coder) decision(d *decisions.Decision) {
	c.time(&d.Until)
	c.int64(&d.AlertID)
	c.text(&d.UUID)
	c.name(&d.Origin)
	c.name(&d.Scenario)
	c.name(&d.Scope)
	c.name(&d.Type)
	c.text(&d.Value)
	c.bool(&d.Simulated)
	c.time(&d.Created)
}

// byName walks over a map in the order of its keys, so that equal maps make
// equal records; an empty one is read as nil.
func byName[T any](c *coder, v *map[string]T, element func(*coder, *T)) {
	if !c.reading {
		c.buf = binary.AppendUvarint(c.buf, uint64(len(*v)))
		for _, key := range slices.Sorted(maps.Keys(*v)) {
			e := (*v)[key]
			c.name(&key)
			element(c, &e)
		}
		return
	}
	*v = nil
	for range c.len() {
		var key string
		var e T
		c.name(&key)
		element(c, &e)
		if c.err != nil {
			*v = nil
			return
		}
		if *v == nil {
			*v = make(map[string]T)
		}
		(*v)[key] = e
	}
}

// alertStart reads only the start of an alert, to pass over it cheaply.
func alertStart(record []byte) (t time.Time, err error) {
	c, err := reader(alertVersion, record, nil)
	if err != nil {
		return t, err
	}
	c.time(&t)
	return t, c.err
}
