package ipset

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"cs/remediate"
	"cs/remediate/netlink"
)

const (
	// typeName is the one type of set that holds hosts and ranges.
	typeName = "hash:net"
	// maxElem only bounds a number: the kernel takes memory for what is there.
	maxElem = 1 << 27
	// maxTimeout is the longest that ipset knows: more, in milliseconds, overflows 31 bits.
	maxTimeout = 2147482
	// maxElements bounds a request: 44 bytes each must fit an attribute of 64 KB.
	maxElements = 1000
)

// elem is one element to add or delete.
type elem struct {
	prefix  netip.Prefix
	seconds uint32 // 0 stays
	except  bool   // what it matches is not in the set, unless a longer prefix says so
}

// canary returns an address that no packet comes from: broadcast, and a
// multicast address of IPv6.
func canary(v6 bool) netip.Prefix {
	a := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if v6 {
		a = netip.AddrFrom16([16]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	}
	return netip.PrefixFrom(a, a.BitLen())
}

func familyNumber(v6 bool) uint8 {
	if v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// revision returns the newest revision of our type that the kernel has.
func (c *conn) revision(v6 bool) (uint8, error) {
	c.begin(cmdType, unix.NLM_F_ACK, familyNumber(v6))
	c.Str(attrType, typeName)
	c.U8(attrFamily, familyNumber(v6))
	var rev uint8
	err := c.do(func(a netlink.Attrs) { rev = a.U8(attrRevision) })
	if err != nil {
		return 0, fmt.Errorf("cannot use sets of type %s: %w", typeName, err)
	}
	return rev, nil
}

// create makes an empty set with its canary.
func (c *conn) create(name string, v6 bool, revision uint8, timeouts bool) error {
	c.begin(cmdCreate, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, familyNumber(v6))
	c.Str(attrName, name)
	c.Str(attrType, typeName)
	c.U8(attrRevision, revision)
	c.U8(attrFamily, familyNumber(v6))
	data := c.Nest(attrData)
	c.u32(dataMaxElem, maxElem)
	if timeouts {
		c.u32(dataTimeout, 0) // an element without one stays
	}
	c.Unnest(data)
	if err := c.do(nil); err != nil {
		return fmt.Errorf("cannot make set %s: %w", name, err)
	}
	return c.change(cmdAdd, name, []elem{{prefix: canary(v6)}})
}

// destroy removes a set, if it is there.
func (c *conn) destroy(name string) error {
	c.begin(cmdDestroy, unix.NLM_F_ACK, unix.AF_UNSPEC)
	c.Str(attrName, name)
	if err := c.do(nil); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove set %s: %w", name, err)
	}
	return nil
}

// swap exchanges what two sets hold. Rules that use one see the other's elements
// from now on.
func (c *conn) swap(a, b string) error {
	c.begin(cmdSwap, unix.NLM_F_ACK, unix.AF_UNSPEC)
	c.Str(attrName, a)
	c.Str(attrType, b)
	if err := c.do(nil); err != nil {
		return fmt.Errorf("cannot swap sets %s and %s: %w", a, b, err)
	}
	return nil
}

// names returns the names of all sets.
func (c *conn) names() (map[string]bool, error) {
	c.begin(cmdList, unix.NLM_F_ACK|unix.NLM_F_DUMP, unix.AF_UNSPEC)
	c.u32(attrFlags, flagSetName)
	names := map[string]bool{}
	err := c.do(func(a netlink.Attrs) {
		if name := a.Str(attrName); name != "" {
			names[name] = true
		}
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list sets: %w", err)
	}
	return names, nil
}

// describe returns the type and the family of a set; the type is empty if the set isn't there.
func (c *conn) describe(name string) (typ string, v6 bool, err error) {
	c.begin(cmdHeader, unix.NLM_F_ACK, unix.AF_UNSPEC)
	c.Str(attrName, name)
	err = c.do(func(a netlink.Attrs) { typ, v6 = a.Str(attrType), a.U8(attrFamily) == unix.AF_INET6 })
	if errors.Is(err, unix.ENOENT) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("cannot look at set %s: %w", name, err)
	}
	return typ, v6, nil
}

// change adds or deletes elements. Adding what is there sets its time; deleting what
// is not does nothing.
func (c *conn) change(cmd int, name string, list []elem) error {
	for len(list) > 0 {
		n := min(len(list), maxElements)
		c.begin(cmd, unix.NLM_F_ACK, unix.AF_UNSPEC)
		c.Str(attrName, name)
		c.Bytes(attrLine, make([]byte, 4)) // goes with a list
		adt := c.Nest(attrADT)
		for _, e := range list[:n] {
			c.elem(e)
		}
		c.Unnest(adt)
		if err := c.do(nil); err != nil {
			return fmt.Errorf("cannot change set %s: %w", name, err)
		}
		list = list[n:]
	}
	return nil
}

// has tells whether a set holds exactly a prefix.
func (c *conn) has(name string, p netip.Prefix) (bool, error) {
	c.begin(cmdTest, unix.NLM_F_ACK, unix.AF_UNSPEC)
	c.Str(attrName, name)
	c.elem(elem{prefix: p})
	err := c.do(nil)
	if errors.Is(err, errExist) || errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot look into set %s: %w", name, err)
	}
	return true, nil
}

func (c *conn) elem(e elem) {
	a := e.prefix.Addr()
	data := c.Nest(attrData)
	ip := c.Nest(dataIP)
	typ := 1 // IPSET_ATTR_IPADDR_IPV4
	if a.Is6() {
		typ = 2
	}
	c.Bytes(typ|netOrder, a.AsSlice())
	c.Unnest(ip)
	c.U8(dataCIDR, uint8(e.prefix.Bits()))
	if e.seconds > 0 {
		c.u32(dataTimeout, e.seconds)
	}
	if e.except {
		c.u32(dataFlags, flagNoMatch)
	}
	c.Unnest(data)
}

// halves returns a prefix as those that a set can hold: the one of length 0 is two.
func halves(p netip.Prefix) []netip.Prefix {
	if p.Bits() > 0 {
		return []netip.Prefix{p}
	}
	low, high := remediate.Halves(p)
	return []netip.Prefix{low, high}
}
