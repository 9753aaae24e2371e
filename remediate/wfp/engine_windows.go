package wfp

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	fwpuclnt = windows.NewLazySystemDLL("fwpuclnt.dll")

	procEngineOpen              = fwpuclnt.NewProc("FwpmEngineOpen0")
	procEngineClose             = fwpuclnt.NewProc("FwpmEngineClose0")
	procTransactionBegin        = fwpuclnt.NewProc("FwpmTransactionBegin0")
	procTransactionCommit       = fwpuclnt.NewProc("FwpmTransactionCommit0")
	procTransactionAbort        = fwpuclnt.NewProc("FwpmTransactionAbort0")
	procProviderAdd             = fwpuclnt.NewProc("FwpmProviderAdd0")
	procProviderDeleteByKey     = fwpuclnt.NewProc("FwpmProviderDeleteByKey0")
	procSubLayerAdd             = fwpuclnt.NewProc("FwpmSubLayerAdd0")
	procSubLayerDeleteByKey     = fwpuclnt.NewProc("FwpmSubLayerDeleteByKey0")
	procFilterAdd               = fwpuclnt.NewProc("FwpmFilterAdd0")
	procFilterDeleteByKey       = fwpuclnt.NewProc("FwpmFilterDeleteByKey0")
	procFilterGetByKey          = fwpuclnt.NewProc("FwpmFilterGetByKey0")
	procFilterCreateEnumHandle  = fwpuclnt.NewProc("FwpmFilterCreateEnumHandle0")
	procFilterEnum              = fwpuclnt.NewProc("FwpmFilterEnum0")
	procFilterDestroyEnumHandle = fwpuclnt.NewProc("FwpmFilterDestroyEnumHandle0")
	procFreeMemory              = fwpuclnt.NewProc("FwpmFreeMemory0")
)

const (
	authnDefault = 0xffffffff // RPC_C_AUTHN_DEFAULT
	// txnWait is how long we wait for other programs' transactions, in ms.
	txnWait = 5000
	// maxConditions of one filter.
	maxConditions = 1024
)

// winEngine is a session with the filtering engine.
type winEngine struct {
	handle uintptr
	flags  uint32 // of what is added
}

func openEngine(cfg Config) (engine, error) {
	if err := fwpuclnt.Load(); err != nil {
		return nil, fmt.Errorf("cannot use the Windows Filtering Platform: %w", err)
	}
	e := &winEngine{}
	name := utf16("cs firewall bouncer")
	s := session0{display: displayData0{name: &name[0]}, txnWait: txnWait}
	switch cfg.Lifetime {
	case Persistent:
		e.flags = flagPersistent
	case WithProcess:
		s.flags = sessionDynamic
	}
	r, _, _ := procEngineOpen.Call(0, authnDefault, 0, uintptr(unsafe.Pointer(&s)), uintptr(unsafe.Pointer(&e.handle)))
	runtime.KeepAlive(name)
	if err := code(uint32(r)); err != nil {
		return nil, fmt.Errorf("cannot open the Windows Filtering Platform: %w", err)
	}
	return e, nil
}

func (e *winEngine) limit(bool) int           { return maxConditions }
func (e *winEngine) ignores() bool            { return true }
func (e *winEngine) setIgnore([]netip.Prefix) {}
func (e *winEngine) pace() time.Duration      { return time.Second }

// call makes a call with the handle and up to two more arguments.
func (e *winEngine) call(p *windows.LazyProc, args ...uintptr) error {
	r, _, _ := p.Call(append([]uintptr{e.handle}, args...)...)
	return code(uint32(r))
}

func (e *winEngine) close() error  { return e.call(procEngineClose) }
func (e *winEngine) begin() error  { return e.call(procTransactionBegin, 0) }
func (e *winEngine) commit() error { return e.call(procTransactionCommit) }
func (e *winEngine) abort() error  { return e.call(procTransactionAbort) }

func (e *winEngine) addProvider() error {
	name := utf16("cs")
	p := &provider0{key: providerKey, display: displayData0{name: &name[0]}, flags: e.flags}
	r, _, _ := procProviderAdd.Call(e.handle, uintptr(unsafe.Pointer(p)), 0)
	runtime.KeepAlive(name)
	return code(uint32(r))
}

func (e *winEngine) deleteProvider() error {
	key := providerKey
	r, _, _ := procProviderDeleteByKey.Call(e.handle, uintptr(unsafe.Pointer(&key)))
	return code(uint32(r))
}

func (e *winEngine) addSublayer() error {
	name, owner := utf16("cs: bans"), providerKey
	s := &sublayer0{key: sublayerKey, display: displayData0{name: &name[0]}, flags: e.flags, provider: &owner, weight: 0xffff}
	r, _, _ := procSubLayerAdd.Call(e.handle, uintptr(unsafe.Pointer(s)), 0)
	runtime.KeepAlive(name)
	runtime.KeepAlive(&owner)
	return code(uint32(r))
}

func (e *winEngine) deleteSublayer() error {
	key := sublayerKey
	r, _, _ := procSubLayerDeleteByKey.Call(e.handle, uintptr(unsafe.Pointer(&key)))
	return code(uint32(r))
}

func (e *winEngine) addFilter(f *filter) error {
	c := newCFilter(f, e.flags)
	var id uint64
	r, _, _ := procFilterAdd.Call(e.handle, uintptr(unsafe.Pointer(&c.filter0)), 0, uintptr(unsafe.Pointer(&id)))
	runtime.KeepAlive(c)
	return code(uint32(r))
}

func (e *winEngine) deleteFilter(key uint64) error {
	g := filterKey(key)
	r, _, _ := procFilterDeleteByKey.Call(e.handle, uintptr(unsafe.Pointer(&g)))
	return code(uint32(r))
}

func (e *winEngine) written(p netip.Prefix) []netip.Prefix { return halves(p) }

func (e *winEngine) remotes(key uint64) ([]netip.Prefix, bool, error) {
	g := filterKey(key)
	var f *filter0
	r, _, _ := procFilterGetByKey.Call(e.handle, uintptr(unsafe.Pointer(&g)), uintptr(unsafe.Pointer(&f)))
	switch s := status(r); s {
	case 0:
		list := remotesOf(f)
		procFreeMemory.Call(uintptr(unsafe.Pointer(&f)))
		return list, true, nil
	case errFilterNotFound:
		return nil, false, nil
	default:
		return nil, false, s
	}
}

// filters lists our filters layer by layer: the engine wants to be asked so.
func (e *winEngine) filters() (keys []uint64, err error) {
	for _, l := range layerKeys {
		if keys, err = e.filtersOf(keys, l); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func (e *winEngine) filtersOf(keys []uint64, layer guid) ([]uint64, error) {
	owner := providerKey
	t := &enumTemplate0{provider: &owner, layer: layer, enumType: enumOverlapping, actionMask: anyAction}
	var enum uintptr
	r, _, _ := procFilterCreateEnumHandle.Call(e.handle, uintptr(unsafe.Pointer(t)), uintptr(unsafe.Pointer(&enum)))
	runtime.KeepAlive(&owner)
	switch s := status(r); s {
	case 0:
	case errNoProvider, errNotFound:
		return keys, nil // nothing of ours
	default:
		return nil, s
	}
	defer procFilterDestroyEnumHandle.Call(e.handle, enum)
	const chunk = 64
	for {
		var list **filter0
		var n uint32
		r, _, _ := procFilterEnum.Call(e.handle, enum, chunk, uintptr(unsafe.Pointer(&list)), uintptr(unsafe.Pointer(&n)))
		if err := code(uint32(r)); err != nil {
			return nil, err
		}
		if n > 0 {
			for _, f := range unsafe.Slice(list, n) {
				if key, ok := keyOf(f.key); ok {
					keys = append(keys, key)
				}
			}
			procFreeMemory.Call(uintptr(unsafe.Pointer(&list)))
		}
		if n < chunk {
			return keys, nil
		}
	}
}

// netshTimeout bounds one call of netsh.
const netshTimeout = 20 * time.Second

func openRules(Config) (engine, error) {
	path, err := exec.LookPath("netsh")
	if err != nil {
		return nil, fmt.Errorf("cannot make rules of the Windows Firewall: %w", err)
	}
	return &rules{netsh: func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), netshTimeout)
		defer cancel()
		out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
		return string(out), err
	}}, nil
}
