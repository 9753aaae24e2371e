package wfp

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"unsafe"

	"cs/remediate"
)

//lint:file-ignore U1000 C's structures have fields that we leave alone, and some are used on Windows only.

// The structures of fwpmtypes.h and fwptypes.h, as C lays them out. Values of
// unions that are pointers point to memory that somebody else keeps.

type guid struct {
	data1        uint32
	data2, data3 uint16
	data4        [8]byte
}

func (g guid) String() string {
	return fmt.Sprintf("{%08x-%04x-%04x-%x-%x}", g.data1, g.data2, g.data3, g.data4[:2], g.data4[2:])
}

type displayData0 struct{ name, description *uint16 }

type byteBlob struct {
	size uint32
	data *byte
}

type session0 struct {
	key        guid
	display    displayData0
	flags      uint32
	txnWait    uint32 // ms
	processID  uint32
	sid        uintptr
	username   *uint16
	kernelMode int32
}

type provider0 struct {
	key     guid
	display displayData0
	flags   uint32
	data    byteBlob
	service *uint16
}

type sublayer0 struct {
	key      guid
	display  displayData0
	flags    uint32
	provider *guid
	data     byteBlob
	weight   uint16
}

// value0 is FWP_VALUE0 and FWP_CONDITION_VALUE0.
type value0 struct {
	typ   uint32
	value uintptr
}

type condition0 struct {
	field guid
	match uint32
	value value0
}

type action0 struct {
	typ     uint32
	callout guid
}

type filter0 struct {
	key             guid
	display         displayData0
	flags           uint32
	provider        *guid
	data            byteBlob
	layer           guid
	sublayer        guid
	weight          value0
	nConditions     uint32
	conditions      *condition0
	action          action0
	context         [2]uint64 // a number or a GUID
	reserved        *guid
	id              uint64
	effectiveWeight value0
}

type enumTemplate0 struct {
	provider        *guid
	layer           guid
	enumType        uint32
	flags           uint32
	contextTemplate uintptr
	nConditions     uint32
	conditions      *condition0
	actionMask      uint32
	callout         *guid
}

type v4AddrMask struct{ addr, mask uint32 } // in the byte order of the machine

type v6AddrMask struct {
	addr   [16]byte
	length uint8
}

// Numbers of fwptypes.h and fwpmtypes.h.
const (
	typeUint8       = 1
	typeUint32      = 3
	typeByteArray16 = 11
	typeV4AddrMask  = 256
	typeV6AddrMask  = 257

	matchEqual = 0

	actionBlock  = 0x1001
	actionPermit = 0x1002

	flagPersistent       = 0x1 // of providers, sublayers and filters
	flagClearActionRight = 0x8
	sessionDynamic       = 0x1

	enumOverlapping = 1
	anyAction       = 0xffffffff
)

// GUIDs of fwpmu.h.
var (
	layerKeys = [...]guid{
		inbound4:  {0xe1cd9fe7, 0xf4b5, 0x4273, [8]byte{0x96, 0xc0, 0x59, 0x2e, 0x48, 0x7b, 0x86, 0x50}}, // FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V4
		inbound6:  {0xa3b42c97, 0x9f04, 0x4672, [8]byte{0xb8, 0x7e, 0xce, 0xe9, 0xc4, 0x83, 0x25, 0x7f}},
		outbound4: {0xc38d57d1, 0x05a7, 0x4c33, [8]byte{0x90, 0x4f, 0x7f, 0xbc, 0xee, 0xe6, 0x0e, 0x82}}, // FWPM_LAYER_ALE_AUTH_CONNECT_V4
		outbound6: {0x4a72393b, 0x319f, 0x44bc, [8]byte{0x84, 0xc3, 0xba, 0x54, 0xdc, 0xb3, 0xb6, 0xb4}},
	}
	fieldRemoteAddress = guid{0xb235ae9a, 0x1d64, 0x49b8, [8]byte{0xa4, 0x4c, 0x5f, 0xf3, 0xd9, 0x09, 0x50, 0x45}} // FWPM_CONDITION_IP_REMOTE_ADDRESS
)

// GUIDs of our own. Those of filters have their key in the last eight bytes.
var (
	providerKey = guid{0x0c5b0f1c, 0x6d0e, 0x4a5b, [8]byte{0x9c, 0x53, 0x63, 0x73, 0x2d, 0x77, 0x66, 0x70}}
	sublayerKey = guid{0x0c5b0f1d, 0x6d0e, 0x4a5b, [8]byte{0x9c, 0x53, 0x63, 0x73, 0x2d, 0x77, 0x66, 0x70}}
)

func filterKey(key uint64) guid {
	g := guid{data1: 0x0c5b0f1e, data2: 0x6d0e, data3: 0x4a5b}
	binary.BigEndian.PutUint64(g.data4[:], key)
	return g
}

// keyOf is filterKey's inverse, false for a GUID that it doesn't make.
func keyOf(g guid) (uint64, bool) {
	key := binary.BigEndian.Uint64(g.data4[:])
	return key, g == filterKey(key)
}

// cFilter is a filter as C has it, with the memory that it points to.
type cFilter struct {
	filter0
	list  []condition0
	mask4 []v4AddrMask
	mask6 []v6AddrMask
	owner guid
	name  []uint16
}

// newCFilter makes it. It must be kept alive while the system reads it.
func newCFilter(f *filter, flags uint32) *cFilter {
	c := &cFilter{owner: providerKey, name: utf16("cs: blocked addresses")}
	remotes := make([]netip.Prefix, 0, len(f.remotes)+1)
	for _, p := range f.remotes {
		remotes = append(remotes, halves(p)...)
	}
	// Made at once, so that pointers into them stay good.
	if f.layer.v6() {
		c.mask6 = make([]v6AddrMask, len(remotes))
	} else {
		c.mask4 = make([]v4AddrMask, len(remotes))
	}
	c.list = make([]condition0, len(remotes))
	for i, p := range remotes {
		c.list[i] = condition0{field: fieldRemoteAddress, match: matchEqual}
		v := &c.list[i].value
		switch {
		case f.layer.v6():
			c.mask6[i] = v6AddrMask{addr: p.Addr().As16(), length: uint8(p.Bits())}
			v.typ, v.value = typeV6AddrMask, uintptr(unsafe.Pointer(&c.mask6[i]))
		case p.IsSingleIP():
			a := p.Addr().As4()
			v.typ, v.value = typeUint32, uintptr(binary.BigEndian.Uint32(a[:]))
		default:
			a := p.Addr().As4()
			c.mask4[i] = v4AddrMask{addr: binary.BigEndian.Uint32(a[:]), mask: ^uint32(0) << (32 - p.Bits())}
			v.typ, v.value = typeV4AddrMask, uintptr(unsafe.Pointer(&c.mask4[i]))
		}
	}
	action, weight := uint32(actionBlock), uintptr(8)
	if f.permit {
		action, weight = actionPermit, 15
	} else {
		flags |= flagClearActionRight
	}
	c.filter0 = filter0{
		key: filterKey(f.key), display: displayData0{name: &c.name[0]}, flags: flags, provider: &c.owner,
		layer: layerKeys[f.layer], sublayer: sublayerKey, weight: value0{typeUint8, weight},
		nConditions: uint32(len(c.list)), conditions: &c.list[0], action: action0{typ: action},
	}
	return c
}

// halves returns a prefix as conditions can have it: a mask without bits is no mask.
func halves(p netip.Prefix) []netip.Prefix {
	if p.Bits() > 0 {
		return []netip.Prefix{p}
	}
	low, high := remediate.Halves(p)
	return []netip.Prefix{low, high}
}

// remotesOf returns the addresses in a filter's conditions, as we or the engine write them.
func remotesOf(f *filter0) (list []netip.Prefix) {
	v4 := func(a, mask uint32) netip.Prefix {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], a)
		return netip.PrefixFrom(netip.AddrFrom4(b), bits.LeadingZeros32(^mask)).Masked()
	}
	for _, c := range unsafe.Slice(f.conditions, f.nConditions) {
		if c.field != fieldRemoteAddress {
			continue
		}
		switch v := c.value; v.typ {
		case typeUint32:
			list = append(list, v4(uint32(v.value), ^uint32(0)))
		case typeV4AddrMask:
			m := *(**v4AddrMask)(unsafe.Pointer(&v.value))
			list = append(list, v4(m.addr, m.mask))
		case typeByteArray16:
			a := netip.AddrFrom16(**(**[16]byte)(unsafe.Pointer(&v.value)))
			list = append(list, netip.PrefixFrom(a, 128))
		case typeV6AddrMask:
			m := *(**v6AddrMask)(unsafe.Pointer(&v.value))
			list = append(list, netip.PrefixFrom(netip.AddrFrom16(m.addr), int(m.length)).Masked())
		}
	}
	return list
}

// utf16 returns ASCII text as Windows wants it, with the zero at its end.
func utf16(s string) []uint16 {
	out := make([]uint16, 0, len(s)+1)
	for _, b := range []byte(s) {
		out = append(out, uint16(b))
	}
	return append(out, 0)
}
