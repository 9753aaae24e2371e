package nft

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"cs/remediate/netlink"
)

// FuzzMessages feeds the parsers what a kernel would not send.
func FuzzMessages(f *testing.F) {
	var tx transaction
	tx.reset(1)
	tx.newTable("crowdsec", flagOwner|flagPersist)
	tx.newCounter("crowdsec", "CAPI")
	tx.newMap("crowdsec", "v4_24.1", &families[0], 7)
	tx.rule("crowdsec", "ipv4", func(r ruleWriter) { r.source(&families[0], 24); r.verdict(verdictDrop, "") })
	tx.elems(unix.NFT_MSG_NEWSETELEM, "crowdsec", "v4_24.1", 4, []elem{{timeout: 1000, counter: "CAPI"}})
	f.Add(tx.finish())
	f.Add(errorMessage(unix.NLM_F_ACK_TLVS|unix.NLM_F_CAPPED, "words"))
	f.Add(errorMessage(unix.NLM_F_ACK_TLVS, "words"))
	f.Add([]byte{16, 0, 0, 0, 2, 0, 0, 3, 255, 255, 255, 255, 0, 0, 0, 0})
	w := &watcher{table: "crowdsec"}
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		for m := range netlink.Messages(b) {
			total += 16 + len(m.Body)
			_ = answerError(m)
			a := m.Attrs()
			for typ, v := range a.Each() {
				if len(v) > len(b) {
					t.Fatal("an attribute is longer than its message")
				}
				_, _, _ = a.Str(typ), a.U32(typ), a.U64(typ)
				for range netlink.Attrs(v).Each() {
				}
			}
		}
		if total > len(b) {
			t.Fatalf("%d bytes of messages in %d", total, len(b))
		}
		w.concerns(b)
	})
}

// errorMessage is an NLMSG_ERROR with EPERM and a text.
func errorMessage(flags int, text string) []byte {
	var e encoder
	at := e.Begin(unix.NLMSG_ERROR, flags, 7, 0, 0)
	e.B = e.B[:at+16]
	code := int32(-1)
	e.B = binary.NativeEndian.AppendUint32(e.B, uint32(code))
	request := e.Begin(subsys, 0, 7, 0, 0)
	if flags&unix.NLM_F_CAPPED != 0 {
		e.B = e.B[:request+16]
	}
	binary.NativeEndian.PutUint32(e.B[request:], hdrLen)
	e.Str(unix.NLMSGERR_ATTR_MSG, text)
	e.End(at)
	return e.B
}

func TestAnswerError(t *testing.T) {
	f := func(flags int, want string) {
		t.Helper()
		for m := range netlink.Messages(errorMessage(flags, "words")) {
			if err := answerError(m); err == nil || err.Error() != want {
				t.Errorf("flags %#x: got %v, want %s", flags, err, want)
			}
		}
	}
	f(0, "operation not permitted")
	f(unix.NLM_F_ACK_TLVS, "operation not permitted (words)")
	f(unix.NLM_F_ACK_TLVS|unix.NLM_F_CAPPED, "operation not permitted (words)")
}

func TestTransactionsStaySmall(t *testing.T) {
	var tx transaction
	tx.reset(1)
	list := make([]elem, maxElements)
	for i := range list {
		list[i] = elem{timeout: 1000, counter: "lists:some-list"}
	}
	tx.elems(unix.NFT_MSG_NEWSETELEM, "crowdsec", "v6_128", 16, list)
	b := tx.finish()
	acks, elements := 0, 0
	for m := range netlink.Messages(b) {
		if m.Flags&unix.NLM_F_ACK != 0 {
			acks++
		}
		nest := m.Attrs().Find(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		if len(nest) > maxList {
			t.Errorf("a list of %d bytes", len(nest))
		}
		for typ := range nest.Each() {
			if typ == unix.NFTA_LIST_ELEM {
				elements++
			}
		}
	}
	if acks != 1 || elements != len(list) || len(b) > maxBatch {
		t.Errorf("%d acknowledgements, %d elements, %d bytes", acks, elements, len(b))
	}
}
