package pipeline_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"testing"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
)

// askAtOnce makes the default resolver ask a name server that answers when it has got
// n questions, not before: each with host.good.example.
func askAtOnce(t *testing.T, n int) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	old := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	done := make(chan struct{})
	t.Cleanup(func() {
		net.DefaultResolver = old
		conn.Close()
		<-done
	})
	go func() {
		defer close(done)
		type question struct {
			from net.Addr
			msg  []byte
		}
		asked := map[string]question{}
		for {
			buf := make([]byte, 512)
			k, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			end := 12 // of the name
			for buf[end] != 0 {
				end += 1 + int(buf[end])
			}
			asked[string(buf[12:end])] = question{from, buf[:min(k, end+5)]}
			if len(asked) < n {
				continue
			}
			for _, q := range asked {
				reply := append([]byte(nil), q.msg...)
				copy(reply[2:], []byte{0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0})
				host := "\x04host\x04good\x07example\x00"
				reply = append(reply, 0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 60)
				reply = binary.BigEndian.AppendUint16(reply, uint16(len(host)))
				conn.WriteTo(append(reply, host...), q.from)
			}
		}
	}()
}

// The names of all who overflow within a batch are asked for at the same time.
func TestNamesAreAskedForTogether(t *testing.T) {
	const addrs = 30
	for _, workers := range []int{1, 3} {
		askAtOnce(t, addrs)
		c := hub.Content{Items: []hub.Item{
			{Kind: hub.Parser, Stage: "s00-raw", Path: "words.yaml", Data: []byte(words)},
			{Kind: hub.Scenario, Path: "bad.yaml", Data: []byte(bad)},
			{Kind: hub.PostOverflow, Stage: "s00-enrich", Path: "names.yaml", Data: []byte(`
name: names
filter: evt.Overflow.Alert.GetScope() == 'Ip'
onsuccess: next_stage
statics:
 - {method: reverse_dns, expression: evt.Overflow.Alert.Source.IP}
`)},
			{Kind: hub.PostOverflow, Stage: "s01-whitelist", Path: "good.yaml", Data: []byte(`
name: good
whitelist: {reason: r, expression: ["evt.Enriched.reverse_dns == 'host.good.example.'"]}
`)},
		}}
		alerts := 0
		e, errs := pipeline.Load(pipeline.Options{Content: c, Workers: workers, Alert: func(decisions.Alert) { alerts++ }})
		for _, err := range errs {
			t.Fatal(err)
		}
		var lines []event.Line
		for i := range 10 * addrs {
			word := "fine"
			if i%10 == 7 {
				word = "bad"
			}
			lines = append(lines, event.Line{Raw: fmt.Sprintf("192.0.2.%d 192.0.2.0/24 %s", 1+i/10, word), Module: "file"})
		}
		e.Process(lines, t0)
		if s := e.Stats(); s.Pardoned != addrs || alerts != 0 {
			t.Errorf("%d workers: %d of %d pardoned by their names, %d alerts", workers, s.Pardoned, addrs, alerts)
		}
	}
}
