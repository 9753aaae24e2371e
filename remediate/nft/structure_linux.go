package nft

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cs/platform/order"
	"cs/remediate"
	"cs/remediate/netlink"
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
	typeIfname   = 41
)

// found is the structure of our table as the kernel has it, without elements.
type found struct {
	exists   bool
	flags    uint32
	chains   map[string]chainHead
	rules    map[uint64]string // handle -> chain and expressions
	sets     map[string]setHead
	counters map[string]remediate.Counter // by their names in the kernel
}

type setHead struct {
	handle uint64
	flags  uint32
}

type chainHead struct {
	handle uint64
	hook   string // as the kernel encodes it; empty for a chain without hook
}

// inspect lists the structure. It is a handful of messages.
func (t *table) inspect() (*found, error) {
	f := &found{
		chains: map[string]chainHead{}, rules: map[uint64]string{},
		sets: map[string]setHead{}, counters: map[string]remediate.Counter{},
	}
	name := func(attr int) func(*encoder) { return func(e *encoder) { e.Str(attr, t.name) } }
	err := t.conn.dump(unix.NFT_MSG_GETTABLE, 0, t.proto, name(unix.NFTA_TABLE_NAME), func(m netlink.Message) {
		f.exists = true
		f.flags = m.Attrs().U32(unix.NFTA_TABLE_FLAGS)
	})
	if isGone(err) {
		return f, nil
	}
	if err == nil {
		err = t.list(unix.NFT_MSG_GETCHAIN, func(a netlink.Attrs) {
			f.chains[a.Str(unix.NFTA_CHAIN_NAME)] = chainHead{
				handle: a.U64(unix.NFTA_CHAIN_HANDLE),
				hook:   string(a.Find(unix.NFTA_CHAIN_HOOK)) + string(a.Find(unix.NFTA_CHAIN_POLICY)),
			}
		})
	}
	if err == nil {
		err = t.list(unix.NFT_MSG_GETRULE, func(a netlink.Attrs) {
			f.rules[a.U64(unix.NFTA_RULE_HANDLE)] = a.Str(unix.NFTA_RULE_CHAIN) + "\x00" + uncounted(a)
		})
	}
	if err == nil {
		err = t.list(unix.NFT_MSG_GETSET, func(a netlink.Attrs) {
			f.sets[a.Str(unix.NFTA_SET_NAME)] = setHead{a.U64(setHandle), a.U32(unix.NFTA_SET_FLAGS)}
		})
	}
	if err == nil {
		f.counters, err = t.counters()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the structure of %v: %w", t, err)
	}
	return f, nil
}

// list dumps one kind of thing of our table.
func (t *table) list(op int, each func(netlink.Attrs)) error {
	// The name of the table is attribute 1 of every kind. Old kernels list all
	// tables, whatever is asked for.
	return t.conn.dump(op, unix.NLM_F_DUMP, t.proto, func(e *encoder) { e.Str(1, t.name) }, func(m netlink.Message) {
		if a := m.Attrs(); len(m.Body) > 0 && m.Body[0] == t.proto && a.Str(1) == t.name {
			each(a)
		}
	})
}

// setHandle is NFTA_SET_HANDLE.
const setHandle = 0x10

// counters returns what has been counted, by the names of the counters. Those of the
// rules of LayoutMap have the name that a counter of its own has in LayoutSets.
func (t *table) counters() (map[string]remediate.Counter, error) {
	out := map[string]remediate.Counter{}
	err := t.list(unix.NFT_MSG_GETOBJ, func(a netlink.Attrs) {
		if a.U32(unix.NFTA_OBJ_TYPE) == unix.NFT_OBJECT_COUNTER {
			out[a.Str(unix.NFTA_OBJ_NAME)] = counted(a.Find(unix.NFTA_OBJ_DATA))
		}
	})
	if err != nil || t.sets {
		return out, err
	}
	for i := range families {
		out[t.processed(uint8(i))] = remediate.Counter{}
	}
	err = t.list(unix.NFT_MSG_GETRULE, func(a netlink.Attrs) {
		proto := byte(0)
		eachExpr(a, func(name string, data netlink.Attrs) {
			switch name {
			case "cmp":
				if v := data.Find(unix.NFTA_CMP_DATA).Find(unix.NFTA_DATA_VALUE); len(v) == 1 {
					proto = v[0]
				}
			case "counter":
				for i := range families {
					if families[i].proto == proto {
						name := t.processed(uint8(i))
						sum, c := out[name], counted(data)
						out[name] = remediate.Counter{Packets: sum.Packets + c.Packets, Bytes: sum.Bytes + c.Bytes}
					}
				}
			}
		})
	})
	return out, err
}

func counted(data netlink.Attrs) remediate.Counter {
	return remediate.Counter{Packets: data.U64(unix.NFTA_COUNTER_PACKETS), Bytes: data.U64(unix.NFTA_COUNTER_BYTES)}
}

// eachExpr tells the names of a rule's expressions, and what is said of them.
func eachExpr(rule netlink.Attrs, each func(name string, data netlink.Attrs)) {
	for _, e := range rule.Find(unix.NFTA_RULE_EXPRESSIONS).Each() {
		e := netlink.Attrs(e)
		each(e.Str(unix.NFTA_EXPR_NAME), e.Find(unix.NFTA_EXPR_DATA))
	}
}

// uncounted is a rule's expressions without what they have counted.
func uncounted(rule netlink.Attrs) (text string) {
	eachExpr(rule, func(name string, data netlink.Attrs) {
		if text += name + "\x00"; name != "counter" {
			text += string(data)
		}
	})
	return text
}

// fingerprint changes when anything of the structure changes. Counters are
// left out: they can't be removed while an element or a rule counts with them.
func (f *found) fingerprint() uint64 {
	h := fnv.New64a()
	fmt.Fprintln(h, f.exists, f.flags)
	for _, name := range slices.Sorted(maps.Keys(f.chains)) {
		fmt.Fprintf(h, "%q %d %q\n", name, f.chains[name].handle, f.chains[name].hook)
	}
	handles := slices.Collect(maps.Keys(f.rules))
	order.Sort(handles, cmp.Compare)
	for _, handle := range handles {
		fmt.Fprintf(h, "%d %q\n", handle, f.rules[handle])
	}
	for _, name := range slices.Sorted(maps.Keys(f.sets)) {
		fmt.Fprintf(h, "%q %d\n", name, f.sets[name].handle)
	}
	return h.Sum64()
}

// generation returns a number that no set of the table has as its suffix.
func (f *found) generation() int {
	next := 0
	for name := range f.sets {
		n, _ := strconv.Atoi(name[strings.LastIndexByte(name, '.')+1:]) // no suffix is 0
		next = max(next, n+1)
	}
	return next
}

// family is what differs between IPv4 and IPv6.
type family struct {
	name     string // also of the chain
	short    string // begins the names of its maps
	proto    byte
	keyType  uint32
	keyLen   int
	sourceAt uint32 // offset of the source address in the header
	ignore   string // set of the addresses that are never blocked
}

var families = [...]family{
	{"ipv4", "v4", unix.NFPROTO_IPV4, typeIPv4Addr, 4, 12, "ignore4"},
	{"ipv6", "v6", unix.NFPROTO_IPV6, typeIPv6Addr, 16, 8, "ignore6"},
}

func familyOf(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 0
	}
	return 1
}

// slot names one map or set: a family and a prefix length, and in LayoutSets
// the number of an origin.
type slot struct {
	family uint8
	bits   uint8
	origin uint16
}

// named adds the suffix of a generation of sets to a name.
func named(name string, generation int) string {
	if generation == 0 {
		return name
	}
	return name + "." + strconv.Itoa(generation)
}

// hook is a place in the kernel where packets are looked at.
type hook struct {
	number   uint32
	priority int
	out      bool // packets have no interface that they came in by
}

// hooks by name. Prerouting comes before connection tracking (raw is -300),
// the others just before the usual filter rules.
var hooks = map[string]hook{
	"prerouting":  {unix.NF_INET_PRE_ROUTING, -310, false},
	"input":       {unix.NF_INET_LOCAL_IN, -10, false},
	"forward":     {unix.NF_INET_FORWARD, -10, false},
	"output":      {unix.NF_INET_LOCAL_OUT, -10, true},
	"postrouting": {unix.NF_INET_POST_ROUTING, -10, true},
	"ingress":     {5, -10, false}, // NF_INET_INGRESS, Linux 5.10
}

// afterConntrack is the priority of prerouting when rules ask about connections.
const afterConntrack = -190

// The following append messages to a transaction.

func (tx *transaction) newTable(name string, flags uint32) {
	at := tx.message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE)
	tx.Str(unix.NFTA_TABLE_NAME, name)
	tx.U32(unix.NFTA_TABLE_FLAGS, flags)
	tx.End(at)
}

func (tx *transaction) delTable(name string) {
	at := tx.message(unix.NFT_MSG_DELTABLE, 0)
	tx.Str(unix.NFTA_TABLE_NAME, name)
	tx.End(at)
}

func (tx *transaction) newCounter(table, name string) {
	at := tx.message(unix.NFT_MSG_NEWOBJ, unix.NLM_F_CREATE)
	tx.Str(unix.NFTA_OBJ_TABLE, table)
	tx.Str(unix.NFTA_OBJ_NAME, name)
	tx.U32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
	tx.Unnest(tx.Nest(unix.NFTA_OBJ_DATA))
	tx.End(at)
}

// newMap makes the map from addresses of one prefix length to counters. It
// has no size, so that it grows as needed and is never full.
func (tx *transaction) newMap(table, name string, f *family, id uint32) {
	at := tx.setHead(table, name, unix.NFT_SET_OBJECT|unix.NFT_SET_TIMEOUT, f.keyType, f.keyLen, id)
	tx.U32(unix.NFTA_SET_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
	tx.End(at)
}

// newSet makes a set.
func (tx *transaction) newSet(table, name string, flags, keyType uint32, keyLen int, id uint32) {
	tx.End(tx.setHead(table, name, flags, keyType, keyLen, id))
}

func (tx *transaction) setHead(table, name string, flags, keyType uint32, keyLen int, id uint32) int {
	at := tx.message(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE)
	tx.Str(unix.NFTA_SET_TABLE, table)
	tx.Str(unix.NFTA_SET_NAME, name)
	tx.U32(unix.NFTA_SET_FLAGS, flags)
	tx.U32(unix.NFTA_SET_KEY_TYPE, keyType)
	tx.U32(unix.NFTA_SET_KEY_LEN, uint32(keyLen))
	tx.U32(unix.NFTA_SET_ID, id)
	return at
}

// fillIgnore fills the set of addresses that are never blocked. prefixes don't
// overlap.
func (tx *transaction) fillIgnore(table, name string, prefixes []netip.Prefix) {
	for len(prefixes) > 0 {
		n := min(ignoreChunk, len(prefixes))
		tx.fillSome(table, name, prefixes[:n])
		prefixes = prefixes[n:]
	}
}

func (tx *transaction) fillSome(table, name string, prefixes []netip.Prefix) {
	at := tx.message(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE)
	tx.Str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	tx.Str(unix.NFTA_SET_ELEM_LIST_SET, name)
	list := tx.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	for _, p := range prefixes {
		tx.intervalEdge(p.Addr(), 0)
		// The end is the first address behind; a prefix that reaches the last
		// address of the family stays open.
		if end := afterLast(p); end.IsValid() {
			tx.intervalEdge(end, unix.NFT_SET_ELEM_INTERVAL_END)
		}
	}
	tx.Unnest(list)
	tx.End(at)
}

// flushSet empties a set.
func (tx *transaction) flushSet(table, name string) {
	at := tx.message(unix.NFT_MSG_DELSETELEM, 0)
	tx.Str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	tx.Str(unix.NFTA_SET_ELEM_LIST_SET, name)
	tx.End(at)
}

// newNames makes the set of the names of interfaces.
func (tx *transaction) newNames(table, name string, id uint32, interfaces []string) {
	tx.newSet(table, name, unix.NFT_SET_CONSTANT, typeIfname, unix.IFNAMSIZ, id)
	at := tx.message(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE)
	tx.Str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	tx.Str(unix.NFTA_SET_ELEM_LIST_SET, name)
	tx.U32(unix.NFTA_SET_ELEM_LIST_SET_ID, id)
	list := tx.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	for _, i := range interfaces {
		var key [unix.IFNAMSIZ]byte
		copy(key[:], i)
		elem := tx.Nest(unix.NFTA_LIST_ELEM)
		tx.value(unix.NFTA_SET_ELEM_KEY, key[:])
		tx.Unnest(elem)
	}
	tx.Unnest(list)
	tx.End(at)
}

func (tx *transaction) intervalEdge(a netip.Addr, flags uint32) {
	elem := tx.Nest(unix.NFTA_LIST_ELEM)
	if flags != 0 {
		tx.U32(unix.NFTA_SET_ELEM_FLAGS, flags)
	}
	key := tx.Nest(unix.NFTA_SET_ELEM_KEY)
	tx.Bytes(unix.NFTA_DATA_VALUE, a.AsSlice())
	tx.Unnest(key)
	tx.Unnest(elem)
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
	tx.Str(unix.NFTA_SET_TABLE, table)
	tx.Str(unix.NFTA_SET_NAME, name)
	tx.End(at)
}

func (tx *transaction) newChain(table, name string) {
	at := tx.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
	tx.Str(unix.NFTA_CHAIN_TABLE, table)
	tx.Str(unix.NFTA_CHAIN_NAME, name)
	tx.End(at)
}

// newHookChain makes a chain that packets meet at a hook. devices are for
// ingress.
func (tx *transaction) newHookChain(table, name string, h hook, priority int, devices []string) {
	at := tx.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
	tx.Str(unix.NFTA_CHAIN_TABLE, table)
	tx.Str(unix.NFTA_CHAIN_NAME, name)
	n := tx.Nest(unix.NFTA_CHAIN_HOOK)
	tx.U32(unix.NFTA_HOOK_HOOKNUM, h.number)
	tx.U32(unix.NFTA_HOOK_PRIORITY, uint32(int32(priority)))
	if len(devices) > 0 {
		list := tx.Nest(hookDevs)
		for _, d := range devices {
			tx.Str(1, d) // NFTA_DEVICE_NAME
		}
		tx.Unnest(list)
	}
	tx.Unnest(n)
	tx.U32(unix.NFTA_CHAIN_POLICY, verdictAccept)
	tx.Str(unix.NFTA_CHAIN_TYPE, "filter")
	tx.End(at)
}

// hookDevs is NFTA_HOOK_DEVS.
const hookDevs = 4

func (tx *transaction) delChain(table, name string) {
	at := tx.message(unix.NFT_MSG_DELCHAIN, 0)
	tx.Str(unix.NFTA_CHAIN_TABLE, table)
	tx.Str(unix.NFTA_CHAIN_NAME, name)
	tx.End(at)
}

// delRules empties a chain.
func (tx *transaction) delRules(table, chain string) {
	at := tx.message(unix.NFT_MSG_DELRULE, 0)
	tx.Str(unix.NFTA_RULE_TABLE, table)
	tx.Str(unix.NFTA_RULE_CHAIN, chain)
	tx.End(at)
}

// rule appends a rule to a chain; build writes its expressions.
func (tx *transaction) rule(table, chain string, build func(r ruleWriter)) {
	at := tx.message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND)
	tx.Str(unix.NFTA_RULE_TABLE, table)
	tx.Str(unix.NFTA_RULE_CHAIN, chain)
	list := tx.Nest(unix.NFTA_RULE_EXPRESSIONS)
	build(ruleWriter{&tx.encoder})
	tx.Unnest(list)
	tx.End(at)
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
	elem := r.e.Nest(unix.NFTA_LIST_ELEM)
	r.e.Str(unix.NFTA_EXPR_NAME, name)
	d := r.e.Nest(unix.NFTA_EXPR_DATA)
	data(r.e)
	r.e.Unnest(d)
	r.e.Unnest(elem)
}

func (e *encoder) value(typ int, v []byte) {
	n := e.Nest(typ)
	e.Bytes(unix.NFTA_DATA_VALUE, v)
	e.Unnest(n)
}

// isFamily is "meta nfproto ipv4".
func (r ruleWriter) isFamily(f *family) {
	r.expr("meta", func(e *encoder) {
		e.U32(unix.NFTA_META_DREG, reg1)
		e.U32(unix.NFTA_META_KEY, unix.NFT_META_NFPROTO)
	})
	r.compare(unix.NFT_CMP_EQ, []byte{f.proto})
}

// source loads "ip saddr & mask" into register 1.
func (r ruleWriter) source(f *family, bits int) {
	r.expr("payload", func(e *encoder) {
		e.U32(unix.NFTA_PAYLOAD_DREG, reg1)
		e.U32(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_NETWORK_HEADER)
		e.U32(unix.NFTA_PAYLOAD_OFFSET, f.sourceAt)
		e.U32(unix.NFTA_PAYLOAD_LEN, uint32(f.keyLen))
	})
	if bits == 8*f.keyLen {
		return
	}
	mask := make([]byte, f.keyLen)
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	r.expr("bitwise", func(e *encoder) {
		e.U32(unix.NFTA_BITWISE_SREG, reg1)
		e.U32(unix.NFTA_BITWISE_DREG, reg1)
		e.U32(unix.NFTA_BITWISE_LEN, uint32(f.keyLen))
		e.value(unix.NFTA_BITWISE_MASK, mask)
		e.value(unix.NFTA_BITWISE_XOR, make([]byte, f.keyLen))
	})
}

// count is `counter name "x"`.
func (r ruleWriter) count(counter string) {
	r.expr("objref", func(e *encoder) {
		e.U32(unix.NFTA_OBJREF_IMM_TYPE, unix.NFT_OBJECT_COUNTER)
		e.Str(unix.NFTA_OBJREF_IMM_NAME, counter)
	})
}

// countHere is "counter", which goes on from what has been counted before.
func (r ruleWriter) countHere(from remediate.Counter) {
	r.expr("counter", func(e *encoder) {
		e.U64(unix.NFTA_COUNTER_BYTES, from.Bytes)
		e.U64(unix.NFTA_COUNTER_PACKETS, from.Packets)
	})
}

// countByMap is "counter name … map @x": the rule ends here when register 1
// is not in the map.
func (r ruleWriter) countByMap(name string) {
	r.expr("objref", func(e *encoder) {
		e.U32(unix.NFTA_OBJREF_SET_SREG, reg1)
		e.Str(unix.NFTA_OBJREF_SET_NAME, name)
	})
}

// lookup ends the rule unless register 1 is in a set; with invert, if it is.
func (r ruleWriter) lookup(set string, id uint32, invert bool) {
	r.expr("lookup", func(e *encoder) {
		e.Str(unix.NFTA_LOOKUP_SET, set)
		e.U32(unix.NFTA_LOOKUP_SREG, reg1)
		if id != 0 {
			e.U32(unix.NFTA_LOOKUP_SET_ID, id)
		}
		if invert {
			e.U32(lookupFlags, 1)
		}
	})
}

// lookupFlags is NFTA_LOOKUP_FLAGS.
const lookupFlags = 5

// interfaceName loads the name of the interface.
func (r ruleWriter) interfaceName(out bool) {
	key := uint32(unix.NFT_META_IIFNAME)
	if out {
		key = unix.NFT_META_OIFNAME
	}
	r.expr("meta", func(e *encoder) {
		e.U32(unix.NFTA_META_DREG, reg1)
		e.U32(unix.NFTA_META_KEY, key)
	})
}

// Keys of connection tracking.
const (
	ctState           = 0
	ctDirection       = 1
	ctEstablishedBits = 2 | 4 // established, related
)

// ofOldConnection is "ct state established,related".
func (r ruleWriter) ofOldConnection() {
	r.conntrack(ctState)
	r.expr("bitwise", func(e *encoder) {
		e.U32(unix.NFTA_BITWISE_SREG, reg1)
		e.U32(unix.NFTA_BITWISE_DREG, reg1)
		e.U32(unix.NFTA_BITWISE_LEN, 4)
		e.value(unix.NFTA_BITWISE_MASK, binary.NativeEndian.AppendUint32(nil, ctEstablishedBits))
		e.value(unix.NFTA_BITWISE_XOR, make([]byte, 4))
	})
	r.compare(unix.NFT_CMP_NEQ, make([]byte, 4))
}

// isReply is "ct direction reply".
func (r ruleWriter) isReply() {
	r.conntrack(ctDirection)
	r.compare(unix.NFT_CMP_EQ, []byte{1})
}

func (r ruleWriter) conntrack(key uint32) {
	r.expr("ct", func(e *encoder) {
		e.U32(unix.NFTA_CT_DREG, reg1)
		e.U32(unix.NFTA_CT_KEY, key)
	})
}

func (r ruleWriter) compare(op uint32, with []byte) {
	r.expr("cmp", func(e *encoder) {
		e.U32(unix.NFTA_CMP_SREG, reg1)
		e.U32(unix.NFTA_CMP_OP, op)
		e.value(unix.NFTA_CMP_DATA, with)
	})
}

// toPorts is "tcp dport 1000-2000".
func (r ruleWriter) toPorts(proto string, p remediate.Ports) {
	r.expr("meta", func(e *encoder) {
		e.U32(unix.NFTA_META_DREG, reg1)
		e.U32(unix.NFTA_META_KEY, unix.NFT_META_L4PROTO)
	})
	number := byte(unix.IPPROTO_TCP)
	if proto == "udp" {
		number = unix.IPPROTO_UDP
	}
	r.compare(unix.NFT_CMP_EQ, []byte{number})
	r.expr("payload", func(e *encoder) {
		e.U32(unix.NFTA_PAYLOAD_DREG, reg1)
		e.U32(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_TRANSPORT_HEADER)
		e.U32(unix.NFTA_PAYLOAD_OFFSET, 2)
		e.U32(unix.NFTA_PAYLOAD_LEN, 2)
	})
	if p.First == p.Last {
		r.compare(unix.NFT_CMP_EQ, binary.BigEndian.AppendUint16(nil, p.First))
		return
	}
	r.compare(unix.NFT_CMP_GTE, binary.BigEndian.AppendUint16(nil, p.First))
	r.compare(unix.NFT_CMP_LTE, binary.BigEndian.AppendUint16(nil, p.Last))
}

// atMost is "limit rate n/second", which ends the rule above it.
func (r ruleWriter) atMost(n uint64) {
	r.expr("limit", func(e *encoder) {
		e.U64(unix.NFTA_LIMIT_RATE, n)
		e.U64(unix.NFTA_LIMIT_UNIT, 1)
		e.U32(unix.NFTA_LIMIT_BURST, uint32(n))
	})
}

// log is `log prefix "x"`.
func (r ruleWriter) log(prefix string) {
	r.expr("log", func(e *encoder) { e.Str(unix.NFTA_LOG_PREFIX, prefix) })
}

func (r ruleWriter) verdict(code int32, chain string) {
	r.expr("immediate", func(e *encoder) {
		e.U32(unix.NFTA_IMMEDIATE_DREG, regVerdict)
		data := e.Nest(unix.NFTA_IMMEDIATE_DATA)
		v := e.Nest(unix.NFTA_DATA_VERDICT)
		e.U32(unix.NFTA_VERDICT_CODE, uint32(code))
		if chain != "" {
			e.Str(unix.NFTA_VERDICT_CHAIN, chain)
		}
		e.Unnest(v)
		e.Unnest(data)
	})
}

// reject answers "administratively prohibited", as ICMP or ICMPv6 wants it.
func (r ruleWriter) reject() {
	r.expr("reject", func(e *encoder) {
		e.U32(unix.NFTA_REJECT_TYPE, unix.NFT_REJECT_ICMPX_UNREACH)
		e.Bytes(unix.NFTA_REJECT_ICMP_CODE, []byte{unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED})
	})
}

// An elem is one element of a map or a set.
type elem struct {
	key     [16]byte
	timeout uint64 // milliseconds; 0 when it is deleted, or stays for ever
	counter string // of a map; empty when it is deleted
	end     bool   // an interval ends before key
}

// size is how many bytes the element takes in a message.
func (m *elem) size(keyLen int) int {
	n := netlink.AttrLen + 2*netlink.AttrLen + keyLen
	if m.timeout != 0 {
		n += netlink.AttrLen + 8
	}
	if m.counter != "" {
		n += netlink.AttrLen + netlink.Align(len(m.counter)+1)
	}
	if m.end {
		n += netlink.AttrLen + 4
	}
	return n
}

// elems appends messages that add, delete or (get) ask for elements of one set.
func (tx *transaction) elems(op int, table, set string, keyLen int, list []elem) {
	for len(list) > 0 {
		at := tx.message(op, unix.NLM_F_CREATE)
		tx.Str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		tx.Str(unix.NFTA_SET_ELEM_LIST_SET, set)
		nest := tx.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for len(list) > 0 && len(tx.B)-nest+list[0].size(keyLen) <= maxList {
			tx.elem(&list[0], keyLen)
			list = list[1:]
			tx.elements++
		}
		tx.Unnest(nest)
		tx.End(at)
	}
}

func (e *encoder) elem(m *elem, keyLen int) {
	n := m.size(keyLen)
	e.Header(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, n-netlink.AttrLen)
	e.Header(unix.NFTA_SET_ELEM_KEY|unix.NLA_F_NESTED, netlink.AttrLen+keyLen)
	e.Header(unix.NFTA_DATA_VALUE, keyLen)
	e.B = append(e.B, m.key[:keyLen]...)
	if m.timeout != 0 {
		e.U64(unix.NFTA_SET_ELEM_TIMEOUT, m.timeout)
	}
	if m.counter != "" {
		e.Str(elemObjRef, m.counter)
	}
	if m.end {
		e.U32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
	}
}

// state is what the kernel says about an element.
type state struct {
	present bool
	left    time.Duration // 0: it stays for ever
	counter string
}

// ask asks for one element of a set.
func (c *conn) ask(proto uint8, table, set string, keyLen int, m elem) (s state, err error) {
	err = c.dumpOnce(unix.NFT_MSG_GETSETELEM, 0, proto, func(e *encoder) {
		e.Str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		e.Str(unix.NFTA_SET_ELEM_LIST_SET, set)
		nest := e.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		e.elem(&m, keyLen)
		e.Unnest(nest)
	}, func(reply netlink.Message) {
		for _, one := range reply.Attrs().Find(unix.NFTA_SET_ELEM_LIST_ELEMENTS).Each() {
			a := netlink.Attrs(one)
			s.present = true
			s.left = time.Duration(a.U64(unix.NFTA_SET_ELEM_EXPIRATION)) * time.Millisecond
			s.counter = a.Str(elemObjRef)
		}
	})
	if isGone(err) {
		return state{}, nil
	}
	return s, err
}
