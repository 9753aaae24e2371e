// Command gobouncer is a bouncer made with the library that upstream's own Go
// bouncers (for Caddy, firewalls, Envoy, clouds) are made with. It is a module
// of its own, so that the library is no part of the product. It prints what it is told:
//
//   - 7 ban Ip 192.0.2.7 crowdsec	a new decision
//   - 7 ban Ip 192.0.2.7 crowdsec	one that is over
//     = 192.0.2.7 7			the decisions on an address, in live mode
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/crowdsecurity/crowdsec/pkg/apiclient"
	"github.com/crowdsecurity/crowdsec/pkg/models"
	csbouncer "github.com/crowdsecurity/go-cs-bouncer"
	"github.com/sirupsen/logrus"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "gobouncer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	live := flag.Bool("live", false, "ask for each address on the standard input, instead of following the stream")
	url := flag.String("url", "", "of the LAPI")
	key := flag.String("key", "", "API key")
	ca, cert, certKey := flag.String("ca", "", "file"), flag.String("cert", "", "file"), flag.String("cert-key", "", "file")
	agent := flag.String("agent", "gobouncer/v0.1", "user agent")
	scopes, origins := flag.String("scopes", "", "list"), flag.String("origins", "", "list")
	flag.Parse()
	list := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
	}
	if *live {
		b := &csbouncer.LiveBouncer{APIUrl: *url, APIKey: *key, CAPath: *ca, CertPath: *cert, KeyPath: *certKey, UserAgent: *agent}
		if err := b.Init(); err != nil {
			return err
		}
		return answer(ctx, b)
	}
	b := &csbouncer.StreamBouncer{
		APIUrl: *url, APIKey: *key, CAPath: *ca, CertPath: *cert, KeyPath: *certKey, UserAgent: *agent,
		TickerInterval: "100ms", Scopes: list(*scopes), Origins: list(*origins),
	}
	if err := b.Init(); err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() { ended <- b.Run(ctx) }()
	go func() { ended <- report(ctx, b.APIClient) }()
	for {
		select {
		case err := <-ended:
			return errors.Join(errors.New("it ended by itself"), err)
		case change, ok := <-b.Stream:
			if !ok {
				return <-ended
			}
			if change == nil {
				continue
			}
			for _, d := range change.Deleted {
				show("-", d)
			}
			for _, d := range change.New {
				show("+", d)
			}
		}
	}
}

func show(sign string, d *models.Decision) {
	if left, err := time.ParseDuration(*d.Duration); err != nil || sign == "+" && left <= 0 {
		fmt.Println("bad duration", *d.Duration)
	}
	fmt.Println(sign, d.ID, *d.Type, *d.Scope, *d.Value, *d.Origin)
}

// report sends reports of usage.
func report(ctx context.Context, client *apiclient.ApiClient) error {
	m, err := csbouncer.NewMetricsProvider(client, "gobouncer", func(m *models.RemediationComponentsMetrics, window time.Duration) {
		name, unit, value := "dropped", "packet", 7.0
		seconds, now := int64(window.Seconds()), time.Now().Unix()
		m.Metrics = append(m.Metrics, &models.DetailedMetrics{
			Meta:  &models.MetricsMeta{WindowSizeSeconds: &seconds, UtcNowTimestamp: &now},
			Items: []*models.MetricsDetailItem{{Name: &name, Unit: &unit, Value: &value, Labels: map[string]string{"origin": "crowdsec", "ip_type": "ipv4"}}},
		})
	}, logrus.StandardLogger())
	if err != nil {
		return err
	}
	m.Interval = time.Second
	return m.Run(ctx)
}

// answer asks for each address that comes.
func answer(ctx context.Context, b *csbouncer.LiveBouncer) error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		found, err := b.Get(ctx, in.Text())
		if err != nil {
			return err
		}
		fmt.Print("= ", in.Text())
		if found != nil {
			for _, d := range *found {
				fmt.Print(" ", d.ID)
			}
		}
		fmt.Println()
	}
	return in.Err()
}
