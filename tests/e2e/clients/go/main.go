// Command go-driver serves the commands of ../README.md with franz-go.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type record struct {
	P  int32    `json:"p"`
	O  int64    `json:"o"`
	TS int64    `json:"ts"`
	K  *[]byte  `json:"k"`
	V  *[]byte  `json:"v"`
	H  [][2]any `json:"h"`
}

type command struct {
	Cmd        string           `json:"cmd"`
	Bootstrap  string           `json:"bootstrap"`
	Topic      string           `json:"topic"`
	Codec      string           `json:"codec"`
	Idempotent bool             `json:"idempotent"`
	Records    []record         `json:"records"`
	Ends       map[string]int64 `json:"ends"`
}

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func optional(b []byte) *[]byte {
	if b == nil {
		return nil
	}
	return &b
}

func produce(c command, emit func(any)) error {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[c.Codec]), kgo.ProducerLinger(5 * time.Millisecond),
	}
	if c.Idempotent {
		opts = append(opts, kgo.ProducerBatchMaxBytes(16<<10))
	} else {
		opts = append(opts, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	batch := make([]*kgo.Record, len(c.Records))
	for i, r := range c.Records {
		out := &kgo.Record{Topic: c.Topic, Partition: r.P, Timestamp: time.UnixMilli(r.TS)}
		if r.K != nil {
			out.Key = *r.K
		}
		if r.V != nil {
			out.Value = *r.V
		}
		for _, h := range r.H {
			value, err := decode(h[1])
			if err != nil {
				return err
			}
			out.Headers = append(out.Headers, kgo.RecordHeader{Key: h[0].(string), Value: value})
		}
		batch[i] = out
	}
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	for i, result := range client.ProduceSync(ctx, batch...) {
		if result.Err != nil {
			return fmt.Errorf("record %d: %w", i, result.Err)
		}
	}
	for i, r := range batch {
		emit(map[string]any{"ack": i, "p": r.Partition, "o": r.Offset, "ts": r.Timestamp.UnixMilli()})
	}
	return nil
}

func decode(v any) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	var out []byte
	return out, json.Unmarshal([]byte(fmt.Sprintf("%q", v)), &out)
}

func consume(c command, emit func(any)) error {
	start := map[int32]kgo.Offset{}
	left := map[int32]int64{}
	for p, end := range c.Ends {
		var id int32
		if _, err := fmt.Sscan(p, &id); err != nil {
			return err
		}
		if end > 0 {
			start[id] = kgo.NewOffset().AtStart()
			left[id] = end
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.Topic: start}))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if errs := fetches.Errors(); len(errs) > 0 {
			return fmt.Errorf("poll: %v, left %v", errs, left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			heads := make([][2]any, 0, len(r.Headers))
			for _, h := range r.Headers {
				heads = append(heads, [2]any{h.Key, optional(h.Value)})
			}
			emit(record{r.Partition, r.Offset, r.Timestamp.UnixMilli(), optional(r.Key), optional(r.Value), heads})
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return nil
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	enc := json.NewEncoder(out)
	emit := func(v any) { _ = enc.Encode(v) }
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var c command
		err = json.Unmarshal(line, &c)
		switch {
		case err != nil:
		case c.Cmd == "produce":
			err = produce(c, emit)
		case c.Cmd == "consume":
			err = consume(c, emit)
		default:
			err = fmt.Errorf("unknown command %q", c.Cmd)
		}
		if err != nil {
			emit(map[string]any{"error": err.Error()})
		} else {
			emit(map[string]any{"done": true})
		}
		_ = out.Flush()
	}
}
