package kafka

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cs/pipeline/event"
	"cs/pipeline/source"
	"cs/pipeline/source/sourcetest"
)

// broker is franz-go's own fake of Kafka, with a topic "logs" of three partitions.
func broker(t *testing.T) (addrs []string, produce func(partition int32, text string)) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "logs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	p, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return c.ListenAddrs(), func(partition int32, text string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		rec := &kgo.Record{Topic: "logs", Partition: partition, Value: []byte(text), Timestamp: time.UnixMilli(1767323045006)}
		if err := p.ProduceSync(ctx, rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func keys(addrs []string, more string) string {
	return fmt.Sprintf("brokers: ['%s']\ntopic: logs\nbatch: {max_wait: 50ms}\n%s", strings.Join(addrs, "', '"), more)
}

func start(t *testing.T, text, path string) (*sourcetest.Run, *source.Positions) {
	t.Helper()
	p, err := source.OpenPositions(path, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	spec := sourcetest.Spec(t, "kafka", text)
	spec.Positions, spec.FromStart = p, true
	return sourcetest.Start(t, Kind, spec), p
}

// TestPartitions: each is read once, over a restart too.
func TestPartitions(t *testing.T) {
	addrs, produce := broker(t)
	path := filepath.Join(t.TempDir(), "positions")
	for i := range 6 {
		produce(int32(i%3), fmt.Sprint(i))
	}
	produce(0, "")
	r, p := start(t, keys(addrs, ""), path)
	got := r.Wait(6)
	slices.Sort(got)
	if !slices.Equal(got, []string{"0", "1", "2", "3", "4", "5"}) {
		t.Fatalf("got %q", got)
	}
	if l := r.Lines()[0]; l.Src != "logs" || l.Module != "kafka" || !l.Time.Equal(time.UnixMilli(1767323045006)) {
		t.Errorf("got %+v", l)
	}
	r.Stop()
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	produce(1, "while away")
	r, _ = start(t, keys(addrs, ""), path)
	produce(2, "and now")
	got = r.Wait(2)
	slices.Sort(got)
	if !slices.Equal(got, []string{"and now", "while away"}) {
		t.Fatalf("got %q", got)
	}
	r.Stop()
}

// TestTLS: a broker that wants certificates is read with ours; with an authority that isn't its own,
// or without certificate, nothing is.
func TestTLS(t *testing.T) {
	dir, pair, pool := sourcetest.Certificates(t)
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "logs"),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	p, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DialTLSConfig(&tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS12}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := p.ProduceSync(ctx, &kgo.Record{Topic: "logs", Value: []byte("secret")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	files := func(dir string) string {
		return fmt.Sprintf("tls: {client_cert: %s/cert, client_key: %s/key, ca_cert: %s/cert}\n", dir, dir, dir)
	}
	r, _ := start(t, keys(c.ListenAddrs(), files(dir)), filepath.Join(t.TempDir(), "p"))
	if got := r.Wait(1); got[0] != "secret" {
		t.Fatalf("got %q", got)
	}
	r.Stop()

	stranger, _, _ := sourcetest.Certificates(t)
	for _, more := range []string{"", files(stranger)} {
		reported := make(chan error, 100)
		spec := sourcetest.Spec(t, "kafka", keys(c.ListenAddrs(), "timeout: '1'\n"+more))
		spec.FromStart, spec.Report = true, func(err error) {
			select {
			case reported <- err:
			default:
			}
		}
		src, err := Kind.Open(spec)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- src.Run(ctx, func(context.Context, []event.Line, func()) error {
				t.Error("a line got through")
				return nil
			})
		}()
		select {
		case err := <-reported:
			t.Log("reported:", err)
		case err := <-ended:
			t.Log("ended with", err)
			ended <- err
		case <-time.After(20 * time.Second):
			t.Error("nobody tells that the broker can't be read")
		}
		cancel()
		<-ended
	}
}

func TestOnePartition(t *testing.T) {
	addrs, produce := broker(t)
	produce(0, "zero")
	produce(1, "one")
	r, _ := start(t, keys(addrs, "partition: 1\n"), filepath.Join(t.TempDir(), "p"))
	if got := r.Wait(1); got[0] != "one" {
		t.Fatalf("got %q", got)
	}
	r.Stop()
}

// TestGroup: what was processed is remembered by Kafka.
func TestGroup(t *testing.T) {
	addrs, produce := broker(t)
	text := keys(addrs, "group_id: cs\n")
	run := func() *sourcetest.Run {
		return sourcetest.Start(t, Kind, sourcetest.Spec(t, "kafka", text))
	}
	r := run()
	n := 0
	sourcetest.Until(t, "the group reads", func() bool { // it begins at the end, whenever it has joined
		produce(0, fmt.Sprint("try ", n))
		n++
		return len(r.Lines()) > 0
	})
	produce(1, "last")
	sourcetest.Until(t, "the last arrives", func() bool { return slices.Contains(r.Texts(), "last") })
	r.Stop()
	produce(1, "while away")
	r = run()
	if got := r.Wait(1); got[0] != "while away" {
		t.Fatalf("got %q", got)
	}
	r.Stop()
}

// TestBatchKeys: each reaches the client.
func TestBatchKeys(t *testing.T) {
	src, err := Kind.Open(sourcetest.Spec(t, "kafka", "brokers: [a, b]\ntopic: x\ngroup_id: g\ntimeout: 7\n"+
		"batch: {min_bytes: 11, max_bytes: 22, max_wait: 33ms, queue_size: 44, commit_interval: 55s}\n"))
	if err != nil {
		t.Fatal(err)
	}
	opts, err := src.(*Source).options()
	if err != nil {
		t.Fatal(err)
	}
	c, err := kgo.NewClient(append(opts, src.(*Source).group()...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, want := range []struct{ opt, value any }{
		{kgo.SeedBrokers, []string{"a", "b"}}, {kgo.FetchMinBytes, int32(11)}, {kgo.FetchMaxBytes, int32(22)}, {kgo.FetchMaxWait, 33 * time.Millisecond},
		{kgo.AutoCommitInterval, 55 * time.Second}, {kgo.DialTimeout, 7 * time.Second}, {kgo.ConsumerGroup, "g"},
	} {
		if got := c.OptValue(want.opt); fmt.Sprint(got) != fmt.Sprint(want.value) {
			t.Errorf("got %v, want %v", got, want.value)
		}
	}
}

// TestQueueSize: no more is delivered at once.
func TestQueueSize(t *testing.T) {
	addrs, produce := broker(t)
	for i := range 5 {
		produce(0, fmt.Sprint(i))
	}
	spec := sourcetest.Spec(t, "kafka", fmt.Sprintf("brokers: ['%s']\ntopic: logs\npartition: 0\nbatch: {max_wait: 50ms, queue_size: 2}", strings.Join(addrs, "', '")))
	spec.FromStart = true
	src, err := Kind.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	n := 0
	err = src.Run(ctx, func(_ context.Context, batch []event.Line, done func()) error {
		if len(batch) > 2 {
			t.Errorf("%d lines at once", len(batch))
		}
		done()
		if n += len(batch); n == 5 {
			cancel()
		}
		return nil
	})
	if n != 5 {
		t.Errorf("%d lines, %v", n, err)
	}
}

// TestPartitionError: a partition that can't be read is tried again, or ends the source.
func TestPartitionError(t *testing.T) {
	for _, how := range []string{onErrorRetry, onErrorFail} {
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "logs"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		c.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			resp := req.ResponseKind().(*kmsg.FetchResponse)
			for _, rt := range req.(*kmsg.FetchRequest).Topics {
				topic := kmsg.NewFetchResponseTopic()
				topic.Topic, topic.TopicID = rt.Topic, rt.TopicID
				for _, rp := range rt.Partitions {
					p := kmsg.NewFetchResponseTopicPartition()
					p.Partition, p.ErrorCode = rp.Partition, kerr.TopicAuthorizationFailed.Code
					topic.Partitions = append(topic.Partitions, p)
				}
				resp.Topics = append(resp.Topics, topic)
			}
			return resp, nil, true
		})
		told := make(chan error, 100)
		spec := sourcetest.Spec(t, "kafka", keys(c.ListenAddrs(), "partition: 0\non_partition_error: "+how+"\n"))
		spec.FromStart, spec.Report = true, func(err error) { told <- err }
		src, err := Kind.Open(spec)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- src.Run(ctx, nil) }()
		select {
		case err := <-ended:
			if how != onErrorFail || err == nil || !strings.Contains(err.Error(), "cannot read topic logs, partition 0: ") {
				t.Errorf("%s: ended with %v", how, err)
			}
			ended <- err
		case err := <-told:
			if how != onErrorRetry || !strings.Contains(err.Error(), "cannot read topic logs, partition 0, trying again: ") {
				t.Errorf("%s: told %v", how, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: nothing happens", how)
		}
		cancel()
		<-ended
	}
}

func TestFaults(t *testing.T) {
	sourcetest.Faults(t, "kafka", Kind,
		"topic: x", "brokers: there is none",
		"brokers: [a]", "topic: there is none",
		"brokers: [a]\ntopic: x\ngroup_id: g\npartition: 0", "acquis.yaml:5: partition",
		"brokers: [a]\ntopic: x\npartition: -1", "partition: want",
		"brokers: [a]\ntopic: x\ntimeout: soon", "acquis.yaml:4: timeout: want a number of seconds",
		"brokers: [a]\ntopic: x\ntls: {client_cert: x}", "acquis.yaml:4: tls",
		"brokers: [a]\ntopic: x\nbatch: {min_bytes: 0}", "batch: want",
		"brokers: [a]\ntopic: x\nbatch: {queue_size: 0}", "batch: want a queue_size",
		"brokers: [a]\ntopic: x\non_partition_error: panic", "acquis.yaml:4: on_partition_error: want retry or fail",
		"brokers: [a]\ntopic: x\nbatch: {size: 0}", "batch.size: unknown key",
	)
	src, err := Kind.Open(sourcetest.Spec(t, "kafka", "brokers: ['127.0.0.1:1']\ntopic: x\ntimeout: 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "cannot reach Kafka") {
		t.Errorf("got %v", err)
	}
}
