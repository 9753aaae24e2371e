package nft

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cs/remediate"
)

// Table flags of linux/netfilter/nf_tables.h: the table belongs to our socket,
// others can't change it and a flush of the ruleset leaves it alone (Linux
// 5.12); it outlives our socket (Linux 6.9).
const (
	flagOwner   = 0x2
	flagPersist = 0x4
)

// Object types and names that are not in package unix.
const (
	typeIPv4Addr = 7 // nft's number of "ipv4_addr", for those who list the map
	typeIPv6Addr = 8
)

// found is the structure of our table as the kernel has it, without elements.
type found struct {
	exists   bool
	flags    uint32
	chains   map[string]chainHead
	rules    map[uint64]string // handle -> chain and expressions
	sets     map[string]uint64 // name -> handle
	counters map[string]remediate.Counter
}

type chainHead struct {
	handle uint64
	hook   string // as the kernel encodes it; empty for a chain without hook
}

// inspect lists the structure. It is a handful of messages.
func (t *Table) inspect() (*found, error) {
	f := &found{
		chains: map[string]chainHead{}, rules: map[uint64]string{},
		sets: map[string]uint64{}, counters: map[string]remediate.Counter{},
	}
	name := func(attr int) func(*encoder) { return func(e *encoder) { e.str(attr, t.name) } }
	err := t.conn.dump(unix.NFT_MSG_GETTABLE, 0, unix.NFPROTO_INET, name(unix.NFTA_TABLE_NAME), func(m message) {
		f.exists = true
		f.flags = m.attrs().u32(unix.NFTA_TABLE_FLAGS)
	})
	if isGone(err) {
		return f, nil
	}
	if err == nil {
		err = t.list(unix.NFT_MSG_GETCHAIN, func(a attrs) {
			f.chains[a.str(unix.NFTA_CHAIN_NAME)] = chainHead{
				handle: a.u64(unix.NFTA_CHAIN_HANDLE),
				hook:   string(a.find(unix.NFTA_CHAIN_HOOK)) + string(a.find(unix.NFTA_CHAIN_POLICY)),
			}
		})
	}
	if err == nil {
		err = t.list(unix.NFT_MSG_GETRULE, func(a attrs) {
			f.rules[a.u64(unix.NFTA_RULE_HANDLE)] = a.str(unix.NFTA_RULE_CHAIN) + "\x00" + string(a.find(unix.NFTA_RULE_EXPRESSIONS))
		})
	}
	if err == nil {
		err = t.list(unix.NFT_MSG_GETSET, func(a attrs) {
			f.sets[a.str(unix.NFTA_SET_NAME)] = a.u64(setHandle)
		})
	}
	if err == nil {
		f.counters, err = t.counters()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the structure of table inet %s: %w", t.name, err)
	}
	return f, nil
}

// list dumps one kind of thing of our table.
func (t *Table) list(op int, each func(attrs)) error {
	// The name of the table is attribute 1 of every kind. Old kernels list all
	// tables, whatever is asked for.
	return t.conn.dump(op, unix.NLM_F_DUMP, unix.NFPROTO_INET, func(e *encoder) { e.str(1, t.name) }, func(m message) {
		if a := m.attrs(); len(m.body) > 0 && m.body[0] == unix.NFPROTO_INET && a.str(1) == t.name {
			each(a)
		}
	})
}

// setHandle is NFTA_SET_HANDLE.
const setHandle = 0x10

func (t *Table) counters() (map[string]remediate.Counter, error) {
	out := map[string]remediate.Counter{}
	err := t.list(unix.NFT_MSG_GETOBJ, func(a attrs) {
		if a.u32(unix.NFTA_OBJ_TYPE) != unix.NFT_OBJECT_COUNTER {
			return
		}
		data := a.find(unix.NFTA_OBJ_DATA)
		c := remediate.Counter{
			Name:    a.str(unix.NFTA_OBJ_NAME),
			Packets: data.u64(unix.NFTA_COUNTER_PACKETS),
			Bytes:   data.u64(unix.NFTA_COUNTER_BYTES),
		}
		out[c.Name] = c
	})
	return out, err
}

// fingerprint changes when anything of the structure changes. Counters are
// left out: they can't be removed while an element or a rule counts with them.
func (f *found) fingerprint() uint64 {
	h := fnv.New64a()
	fmt.Fprintln(h, f.exists, f.flags)
	for _, name := range slices.Sorted(maps.Keys(f.chains)) {
		fmt.Fprintf(h, "%q %d %q\n", name, f.chains[name].handle, f.chains[name].hook)
	}
	for _, handle := range slices.Sorted(maps.Keys(f.rules)) {
		fmt.Fprintf(h, "%d %q\n", handle, f.rules[handle])
	}
	for _, name := range slices.Sorted(maps.Keys(f.sets)) {
		fmt.Fprintf(h, "%q %d\n", name, f.sets[name])
	}
	return h.Sum64()
}

// generation returns a number that no map of the table has as its suffix.
func (f *found) generation() int {
	next := 0
	for name := range f.sets {
		_, suffix, _ := strings.Cut(name, ".")
		n, _ := strconv.Atoi(suffix) // no suffix is 0
		next = max(next, n+1)
	}
	return next
}

// family is what differs between IPv4 and IPv6.
type family struct {
	name       string // also of the chain
	short      string // begins the names of its maps
	proto      byte
	keyType    uint32
	keyLen     int
	sourceAt   uint32 // offset of the source address in the header
	processed  string
	ignoreName string
}

var families = [...]family{
	{"ipv4", "v4", unix.NFPROTO_IPV4, typeIPv4Addr, 4, 12, "processed-ipv4", "ignore4"},
	{"ipv6", "v6", unix.NFPROTO_IPV6, typeIPv6Addr, 16, 8, "processed-ipv6", "ignore6"},
}

func familyOf(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 0
	}
	return 1
}

// length names one map: a family and a prefix length.
type length struct {
	family uint8
	bits   uint8
}

func lengthOf(p netip.Prefix) length { return length{uint8(familyOf(p)), uint8(p.Bits())} }

// named adds the suffix of a generation of maps to a name.
func named(name string, generation int) string {
	if generation == 0 {
		return name
	}
	return name + "." + strconv.Itoa(generation)
}

func (l length) mapName(generation int) string {
	return named(families[l.family].short+"_"+strconv.Itoa(int(l.bits)), generation)
}

// hook is a place in the kernel where packets are looked at.
type hook struct {
	number   uint32
	priority int32
}

// hooks by name. Prerouting comes before connection tracking (raw is -300),
// the others just before the usual filter rules.
var hooks = map[string]hook{
	"prerouting": {unix.NF_INET_PRE_ROUTING, -310},
	"input":      {unix.NF_INET_LOCAL_IN, -10},
	"forward":    {unix.NF_INET_FORWARD, -10},
}

// The following append messages to a transaction.

func (tx *transaction) newTable(name string, flags uint32) {
	at := tx.message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE)
	tx.str(unix.NFTA_TABLE_NAME, name)
	tx.u32(unix.NFTA_TABLE_FLAGS, flags)
	tx.end(at)
}

func (tx *transaction) delTable(name string) {
	at := tx.message(unix.NFT_MSG_DELTABLE, 0)
	tx.str(unix.NFTA_TABLE_NAME, name)
	tx.end(at)
}

func (tx *transaction) newCounter(table, name string) {
	at := tx.message(unix.NFT_MSG_NEWOBJ, unix.NLM_F_CREATE)
	tx.str(unix.NFTA_OBJ_TABLE, table)
	tx.str(unix.NFTA_OBJ_NAME, name)
	tx.u32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
	tx.unnest(tx.nest(unix.NFTA_OBJ_DATA))
	tx.end(at)
}

// newMap makes the map from addresses of one prefix length to counters. It
// has no size, so that it grows as needed and is never full.
func (tx *transaction) newMap(table string, l length, generation int, id uint32) {
	f := &families[l.family]
	at := tx.message(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE)
	tx.str(unix.NFTA_SET_TABLE, table)
	tx.str(unix.NFTA_SET_NAME, l.mapName(generation))
	tx.u32(unix.NFTA_SET_FLAGS, unix.NFT_SET_OBJECT|unix.NFT_SET_TIMEOUT)
	tx.u32(unix.NFTA_SET_KEY_TYPE, f.keyType)
	tx.u32(unix.NFTA_SET_KEY_LEN, uint32(f.keyLen))
	tx.u32(unix.NFTA_SET_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
	tx.u32(unix.NFTA_SET_ID, id)
	tx.end(at)
}

// newIgnore makes the constant set of addresses that are never blocked.
// prefixes don't overlap.
func (tx *transaction) newIgnore(table string, f *family, generation int, id uint32, prefixes []netip.Prefix) {
	name := named(f.ignoreName, generation)
	at := tx.message(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE)
	tx.str(unix.NFTA_SET_TABLE, table)
	tx.str(unix.NFTA_SET_NAME, name)
	tx.u32(unix.NFTA_SET_FLAGS, unix.NFT_SET_INTERVAL|unix.NFT_SET_CONSTANT)
	tx.u32(unix.NFTA_SET_KEY_TYPE, f.keyType)
	tx.u32(unix.NFTA_SET_KEY_LEN, uint32(f.keyLen))
	tx.u32(unix.NFTA_SET_ID, id)
	tx.end(at)

	at = tx.message(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE)
	tx.str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	tx.str(unix.NFTA_SET_ELEM_LIST_SET, name)
	tx.u32(unix.NFTA_SET_ELEM_LIST_SET_ID, id)
	list := tx.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	for _, p := range prefixes {
		tx.intervalEdge(p.Addr(), 0)
		// The end is the first address behind; a prefix that reaches the last
		// address of the family stays open.
		if end := afterLast(p); end.IsValid() {
			tx.intervalEdge(end, unix.NFT_SET_ELEM_INTERVAL_END)
		}
	}
	tx.unnest(list)
	tx.end(at)
}

func (tx *transaction) intervalEdge(a netip.Addr, flags uint32) {
	elem := tx.nest(unix.NFTA_LIST_ELEM)
	if flags != 0 {
		tx.u32(unix.NFTA_SET_ELEM_FLAGS, flags)
	}
	key := tx.nest(unix.NFTA_SET_ELEM_KEY)
	tx.bytes(unix.NFTA_DATA_VALUE, a.AsSlice())
	tx.unnest(key)
	tx.unnest(elem)
}

// afterLast returns the address behind p, invalid if there is none.
func afterLast(p netip.Prefix) netip.Addr {
	last := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(last); i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(last)
	return a.Next()
}

func (tx *transaction) delSet(table, name string) {
	at := tx.message(unix.NFT_MSG_DELSET, 0)
	tx.str(unix.NFTA_SET_TABLE, table)
	tx.str(unix.NFTA_SET_NAME, name)
	tx.end(at)
}

func (tx *transaction) newChain(table, name string) {
	at := tx.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
	tx.str(unix.NFTA_CHAIN_TABLE, table)
	tx.str(unix.NFTA_CHAIN_NAME, name)
	tx.end(at)
}

func (tx *transaction) newHookChain(table, name string) {
	h := hooks[name]
	at := tx.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
	tx.str(unix.NFTA_CHAIN_TABLE, table)
	tx.str(unix.NFTA_CHAIN_NAME, name)
	n := tx.nest(unix.NFTA_CHAIN_HOOK)
	tx.u32(unix.NFTA_HOOK_HOOKNUM, h.number)
	tx.u32(unix.NFTA_HOOK_PRIORITY, uint32(h.priority))
	tx.unnest(n)
	tx.u32(unix.NFTA_CHAIN_POLICY, verdictAccept)
	tx.str(unix.NFTA_CHAIN_TYPE, "filter")
	tx.end(at)
}

func (tx *transaction) delChain(table, name string) {
	at := tx.message(unix.NFT_MSG_DELCHAIN, 0)
	tx.str(unix.NFTA_CHAIN_TABLE, table)
	tx.str(unix.NFTA_CHAIN_NAME, name)
	tx.end(at)
}

// delRules empties a chain.
func (tx *transaction) delRules(table, chain string) {
	at := tx.message(unix.NFT_MSG_DELRULE, 0)
	tx.str(unix.NFTA_RULE_TABLE, table)
	tx.str(unix.NFTA_RULE_CHAIN, chain)
	tx.end(at)
}

// rule appends a rule to a chain; build writes its expressions.
func (tx *transaction) rule(table, chain string, build func(r ruleWriter)) {
	at := tx.message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND)
	tx.str(unix.NFTA_RULE_TABLE, table)
	tx.str(unix.NFTA_RULE_CHAIN, chain)
	list := tx.nest(unix.NFTA_RULE_EXPRESSIONS)
	build(ruleWriter{&tx.encoder})
	tx.unnest(list)
	tx.end(at)
}

// Verdicts and registers of linux/netfilter/nf_tables.h.
const (
	verdictDrop   = 0
	verdictAccept = 1
	regVerdict    = 0
	reg1          = 1
)

// ruleWriter writes the expressions of one rule.
type ruleWriter struct{ e *encoder }

func (r ruleWriter) expr(name string, data func(e *encoder)) {
	elem := r.e.nest(unix.NFTA_LIST_ELEM)
	r.e.str(unix.NFTA_EXPR_NAME, name)
	d := r.e.nest(unix.NFTA_EXPR_DATA)
	data(r.e)
	r.e.unnest(d)
	r.e.unnest(elem)
}

func (e *encoder) value(typ int, v []byte) {
	n := e.nest(typ)
	e.bytes(unix.NFTA_DATA_VALUE, v)
	e.unnest(n)
}

// isFamily is "meta nfproto ipv4".
func (r ruleWriter) isFamily(f *family) {
	r.expr("meta", func(e *encoder) {
		e.u32(unix.NFTA_META_DREG, reg1)
		e.u32(unix.NFTA_META_KEY, unix.NFT_META_NFPROTO)
	})
	r.expr("cmp", func(e *encoder) {
		e.u32(unix.NFTA_CMP_SREG, reg1)
		e.u32(unix.NFTA_CMP_OP, unix.NFT_CMP_EQ)
		e.value(unix.NFTA_CMP_DATA, []byte{f.proto})
	})
}

// source loads "ip saddr & mask" into register 1.
func (r ruleWriter) source(f *family, bits int) {
	r.expr("payload", func(e *encoder) {
		e.u32(unix.NFTA_PAYLOAD_DREG, reg1)
		e.u32(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_NETWORK_HEADER)
		e.u32(unix.NFTA_PAYLOAD_OFFSET, f.sourceAt)
		e.u32(unix.NFTA_PAYLOAD_LEN, uint32(f.keyLen))
	})
	if bits == 8*f.keyLen {
		return
	}
	mask := make([]byte, f.keyLen)
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	r.expr("bitwise", func(e *encoder) {
		e.u32(unix.NFTA_BITWISE_SREG, reg1)
		e.u32(unix.NFTA_BITWISE_DREG, reg1)
		e.u32(unix.NFTA_BITWISE_LEN, uint32(f.keyLen))
		e.value(unix.NFTA_BITWISE_MASK, mask)
		e.value(unix.NFTA_BITWISE_XOR, make([]byte, f.keyLen))
	})
}

// count is `counter name "x"`.
func (r ruleWriter) count(counter string) {
	r.expr("objref", func(e *encoder) {
		e.u32(unix.NFTA_OBJREF_IMM_TYPE, unix.NFT_OBJECT_COUNTER)
		e.str(unix.NFTA_OBJREF_IMM_NAME, counter)
	})
}

// countByMap is "counter name … map @x": the rule ends here when register 1
// is not in the map.
func (r ruleWriter) countByMap(name string) {
	r.expr("objref", func(e *encoder) {
		e.u32(unix.NFTA_OBJREF_SET_SREG, reg1)
		e.str(unix.NFTA_OBJREF_SET_NAME, name)
	})
}

func (r ruleWriter) lookup(set string, id uint32) {
	r.expr("lookup", func(e *encoder) {
		e.str(unix.NFTA_LOOKUP_SET, set)
		e.u32(unix.NFTA_LOOKUP_SREG, reg1)
		e.u32(unix.NFTA_LOOKUP_SET_ID, id)
	})
}

func (r ruleWriter) verdict(code int32, chain string) {
	r.expr("immediate", func(e *encoder) {
		e.u32(unix.NFTA_IMMEDIATE_DREG, regVerdict)
		data := e.nest(unix.NFTA_IMMEDIATE_DATA)
		v := e.nest(unix.NFTA_DATA_VERDICT)
		e.u32(unix.NFTA_VERDICT_CODE, uint32(code))
		if chain != "" {
			e.str(unix.NFTA_VERDICT_CHAIN, chain)
		}
		e.unnest(v)
		e.unnest(data)
	})
}

// reject answers "administratively prohibited", as ICMP or ICMPv6 wants it.
func (r ruleWriter) reject() {
	r.expr("reject", func(e *encoder) {
		e.u32(unix.NFTA_REJECT_TYPE, unix.NFT_REJECT_ICMPX_UNREACH)
		e.bytes(unix.NFTA_REJECT_ICMP_CODE, []byte{unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED})
	})
}

// An elem is one element of a map.
type elem struct {
	key     [16]byte
	timeout uint64 // milliseconds; 0 when it is deleted
	counter string
}

// size is how many bytes the element takes in a message.
func (m *elem) size(keyLen int) int {
	n := attrLen + 2*attrLen + keyLen
	if m.timeout != 0 {
		n += attrLen + 8 + attrLen + align(len(m.counter)+1)
	}
	return n
}

// elems appends messages that add or delete elements of one map.
func (tx *transaction) elems(op int, table, set string, keyLen int, list []elem) {
	for len(list) > 0 {
		at := tx.message(op, unix.NLM_F_CREATE)
		tx.str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		tx.str(unix.NFTA_SET_ELEM_LIST_SET, set)
		nest := tx.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for len(list) > 0 && len(tx.b)-nest+list[0].size(keyLen) <= maxList {
			tx.elem(&list[0], keyLen)
			list = list[1:]
			tx.elements++
		}
		tx.unnest(nest)
		tx.end(at)
	}
}

func (tx *transaction) elem(m *elem, keyLen int) {
	n := m.size(keyLen)
	tx.header(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, n-attrLen)
	tx.header(unix.NFTA_SET_ELEM_KEY|unix.NLA_F_NESTED, attrLen+keyLen)
	tx.header(unix.NFTA_DATA_VALUE, keyLen)
	tx.b = append(tx.b, m.key[:keyLen]...)
	if m.timeout != 0 {
		tx.header(unix.NFTA_SET_ELEM_TIMEOUT, 8)
		tx.b = binary.BigEndian.AppendUint64(tx.b, m.timeout)
		tx.str(elemObjRef, m.counter)
	}
}
