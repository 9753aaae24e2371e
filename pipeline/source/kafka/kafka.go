// Package kafka is the source that reads a topic of Kafka: as a member of a consumer
// group, which remembers in Kafka what was processed, or partitions by
// themselves, which are remembered here.
package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cs/pipeline/source"
)

// Keys are those of an acquisition (spec engine §7).
type Keys struct {
	Brokers   []string `yaml:"brokers"`
	Topic     string   `yaml:"topic"`
	GroupID   string   `yaml:"group_id"`
	Partition *int     `yaml:"partition"` // neither: all partitions that there are at the start
	Timeout   string   `yaml:"timeout"`   // seconds
	TLS       *TLS     `yaml:"tls"`
	Batch     struct {
		MinBytes       int           `yaml:"min_bytes"`
		MaxBytes       int           `yaml:"max_bytes"`
		MaxWait        time.Duration `yaml:"max_wait"`
		QueueSize      int           `yaml:"queue_size"` // records that are delivered at once
		CommitInterval time.Duration `yaml:"commit_interval"`
	} `yaml:"batch"`
	// OnPartitionError says what to do when a partition can't be read: retry, while others are
	// read on, or fail, so that the source is started anew.
	OnPartitionError string `yaml:"on_partition_error"`
}

// TLS are files in PEM form, of which all are needed.
type TLS struct {
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify"`
	ClientCert         string `yaml:"client_cert"`
	ClientKey          string `yaml:"client_key"`
	CACert             string `yaml:"ca_cert"`
}

// Kind makes sources of acquisitions. A topic has no end, so there is no DSN.
var Kind = source.Kind{Open: open, Tail: true}

const (
	defaultQueue = 1024
	maxQueue     = 100_000
	// stopTime is what the group gets to learn that we leave.
	stopTime = 300 * time.Millisecond
	pause    = time.Second

	onErrorRetry, onErrorFail = "retry", "fail"
)

// Source reads a topic. Acquisitions make it; see Kind.
type Source struct {
	keys    Keys
	spec    *source.Spec
	timeout time.Duration
	trouble *source.Throttle
}

func open(spec *source.Spec) (source.Source, error) {
	k := Keys{Timeout: "10", OnPartitionError: onErrorRetry}
	k.Batch.MinBytes, k.Batch.MaxBytes, k.Batch.MaxWait = 1, 8<<20, time.Second
	k.Batch.QueueSize, k.Batch.CommitInterval = defaultQueue, time.Second
	if err := spec.Decode(&k, nil); err != nil {
		return nil, err
	}
	seconds, err := strconv.Atoi(k.Timeout)
	b := k.Batch
	switch {
	case len(k.Brokers) == 0:
		return nil, spec.Errorf("brokers", "there is none")
	case k.Topic == "":
		return nil, spec.Errorf("topic", "there is none")
	case k.GroupID != "" && k.Partition != nil:
		return nil, spec.Errorf("partition", "a group shares its partitions out by itself: group_id or partition")
	case k.Partition != nil && (*k.Partition < 0 || *k.Partition > 1<<30):
		return nil, spec.Errorf("partition", "want a number from 0 on, not %d", *k.Partition)
	case err != nil || seconds < 1:
		return nil, spec.Errorf("timeout", "want a number of seconds, not %q", k.Timeout)
	case k.TLS != nil && (k.TLS.ClientCert == "" || k.TLS.ClientKey == "" || k.TLS.CACert == ""):
		return nil, spec.Errorf("tls", "client_cert, client_key and ca_cert are needed")
	case b.MinBytes < 1 || b.MaxBytes < b.MinBytes || b.MaxBytes > 256<<20:
		return nil, spec.Errorf("batch", "want 1 <= min_bytes <= max_bytes <= %d, not %d and %d", 256<<20, b.MinBytes, b.MaxBytes)
	case b.MaxWait <= 0 || b.CommitInterval <= 0:
		return nil, spec.Errorf("batch", "max_wait and commit_interval must be more than 0")
	case b.QueueSize < 1 || b.QueueSize > maxQueue:
		return nil, spec.Errorf("batch", "want a queue_size from 1 to %d, not %d", maxQueue, b.QueueSize)
	case k.OnPartitionError != onErrorRetry && k.OnPartitionError != onErrorFail:
		return nil, spec.Errorf("on_partition_error", "want %s or %s, not %q", onErrorRetry, onErrorFail, k.OnPartitionError)
	}
	return &Source{keys: k, spec: spec, timeout: time.Duration(seconds) * time.Second, trouble: source.NewThrottle(spec.Report)}, nil
}

// Name returns the topic.
func (s *Source) Name() string { return "kafka " + s.keys.Topic }

// Run reads from the end on what is new, or behind what was processed, until
// ctx ends.
func (s *Source) Run(ctx context.Context, out source.Sink) error {
	opts, err := s.options()
	if err != nil {
		return err
	}
	r := &run{Source: s, marks: map[int32]*partition{}}
	if s.keys.GroupID != "" {
		opts = append(opts, s.group()...)
	} else {
		numbers, err := s.partitions(ctx, opts)
		if err != nil {
			return err
		}
		opts = append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.keys.Topic: r.resume(numbers)}))
	}
	if r.client, err = kgo.NewClient(opts...); err != nil {
		return fmt.Errorf("cannot use Kafka: %w", err)
	}
	defer r.close()
	if err := s.ping(ctx, r.client); err != nil {
		return err
	}
	s.spec.Started()
	return r.read(ctx, out)
}

func (s *Source) options() ([]kgo.Opt, error) {
	b := s.keys.Batch
	opts := []kgo.Opt{
		kgo.SeedBrokers(s.keys.Brokers...), kgo.ClientID("cs"), kgo.DialTimeout(s.timeout),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.MaxConcurrentFetches(1),
		kgo.FetchMinBytes(int32(b.MinBytes)), kgo.FetchMaxBytes(int32(b.MaxBytes)), kgo.FetchMaxWait(b.MaxWait),
		kgo.FetchMaxPartitionBytes(int32(min(b.MaxBytes, 1<<20))),
	}
	if s.keys.TLS == nil {
		return opts, nil
	}
	cert, err := tls.LoadX509KeyPair(s.keys.TLS.ClientCert, s.keys.TLS.ClientKey)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate: %w", err)
	}
	pool, err := source.CertPool(s.keys.TLS.CACert)
	if err != nil {
		return nil, err
	}
	return append(opts, kgo.DialTLSConfig(&tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: pool, InsecureSkipVerify: s.keys.TLS.InsecureSkipVerify, MinVersion: tls.VersionTLS12,
	})), nil
}

// group returns the options of a member of a group.
func (s *Source) group() []kgo.Opt {
	return []kgo.Opt{
		kgo.ConsumerGroup(s.keys.GroupID), kgo.ConsumeTopics(s.keys.Topic), kgo.AutoCommitMarks(), kgo.AutoCommitInterval(s.keys.Batch.CommitInterval),
	}
}

// ping returns when a broker has answered.
func (s *Source) ping(ctx context.Context, c *kgo.Client) error {
	pctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := c.Ping(pctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("cannot reach Kafka: %w", err)
	}
	return nil
}

// partitions returns the numbers of the partitions to read.
func (s *Source) partitions(ctx context.Context, opts []kgo.Opt) ([]int32, error) {
	if s.keys.Partition != nil {
		return []int32{int32(*s.keys.Partition)}, nil
	}
	c, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("cannot use Kafka: %w", err)
	}
	defer c.Close()
	if err := s.ping(ctx, c); err != nil {
		return nil, err
	}
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr(s.keys.Topic)
	req.Topics = append(req.Topics, topic)
	actx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	resp, err := req.RequestWith(actx, c)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("cannot ask Kafka about topic %s: %w", s.keys.Topic, err)
	case len(resp.Topics) != 1:
		return nil, fmt.Errorf("cannot ask Kafka about topic %s: it answers with %d", s.keys.Topic, len(resp.Topics))
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return nil, fmt.Errorf("cannot read topic %s: %w", s.keys.Topic, err)
	}
	var numbers []int32
	for _, p := range resp.Topics[0].Partitions {
		numbers = append(numbers, p.Partition)
	}
	return numbers, nil
}

// run is the state of one Run.
type run struct {
	*Source
	client *kgo.Client
	marks  map[int32]*partition // of partitions without a group
}

// partition is how far one was read.
type partition struct {
	mark *source.Mark
	pos  source.Position
}

// resume returns where to begin with each partition.
func (r *run) resume(numbers []int32) map[int32]kgo.Offset {
	offsets := map[int32]kgo.Offset{}
	for _, n := range numbers {
		p := &partition{pos: source.Position{Key: fmt.Sprintf("kafka:%s:%s:%d", r.spec.Labels["type"], r.keys.Topic, n), Offset: -1}}
		offsets[n] = kgo.NewOffset().AtEnd()
		if r.spec.FromStart {
			offsets[n] = kgo.NewOffset().AtStart()
		}
		if saved := r.spec.Positions.Saved(p.pos.Key); len(saved) > 0 {
			p.pos = saved[len(saved)-1]
			offsets[n] = kgo.NewOffset().At(p.pos.Offset)
			r.spec.Positions.Forget(p.pos.Key)
			p.mark = r.spec.Positions.Track(p.pos)
		}
		r.marks[n] = p
	}
	return offsets
}

// moved takes note that the records of a partition up to an offset were processed.
func (r *run) moved(number int32, next int64) {
	p := r.marks[number]
	p.pos.Offset = next
	if p.mark == nil { // nothing was known of it
		p.mark = r.spec.Positions.Track(p.pos)
	}
	p.mark.Set(p.pos)
}

func (r *run) read(ctx context.Context, out source.Sink) error {
	b := source.NewBatch(r.spec.Line(r.keys.Topic), 0, r.spec.Meter)
	for {
		fetches := r.client.PollRecords(ctx, r.keys.Batch.QueueSize)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failed := false
		for _, f := range fetches.Errors() {
			if errors.Is(f.Err, kgo.ErrClientClosed) {
				return fmt.Errorf("cannot read topic %s: %w", f.Topic, f.Err)
			}
			if r.keys.OnPartitionError == onErrorFail {
				return fmt.Errorf("cannot read topic %s, partition %d: %w", f.Topic, f.Partition, f.Err)
			}
			failed = true
			r.trouble.Report(fmt.Errorf("cannot read topic %s, partition %d, trying again: %w", f.Topic, f.Partition, f.Err))
		}
		records := fetches.Records()
		for _, rec := range records {
			b.Text = append(b.Text, rec.Value...)
			b.End("", rec.Timestamp)
		}
		now := time.Now()
		done := func() {
			if r.keys.GroupID != "" {
				r.client.MarkCommitRecords(records...)
				return
			}
			for _, rec := range records { // in order within each partition
				r.moved(rec.Partition, rec.Offset+1)
			}
		}
		if n := len(records); n > 0 {
			r.spec.Meter.SetBehind(now.Sub(records[n-1].Timestamp))
			if b.Len() == 0 { // they were all empty
				done()
			}
		}
		if err := b.Deliver(ctx, out, now, done); err != nil {
			return err
		}
		if failed && len(records) == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(pause):
			}
		}
	}
}

// close tells the group what was processed, and that we leave.
func (r *run) close() {
	if r.keys.GroupID != "" {
		ctx, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		if err := r.client.CommitMarkedOffsets(ctx); err != nil {
			r.trouble.Report(fmt.Errorf("some records of topic %s will be read again: cannot tell Kafka where we are: %w", r.keys.Topic, err))
		}
		_ = r.client.LeaveGroupContext(ctx) // the group notices in the end
	}
	r.client.Close()
}
