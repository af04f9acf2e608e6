package main

import "github.com/prometheus/client_golang/prometheus"

var (
	breakersDesc = prometheus.NewDesc("placard_bank_breakers", "Breakers of bank connections, by state.", []string{"rail", "class", "state"}, nil)
	openedDesc   = prometheus.NewDesc("placard_bank_breaker_opened_total", "Times that breakers of open connections opened.", []string{"rail", "class"}, nil)
	refusedDesc  = prometheus.NewDesc("placard_bank_calls_refused_total", "Calls to banks that a breaker or a pause refused.", []string{"rail", "class"}, nil)
	callsDesc    = prometheus.NewDesc("placard_bank_calls_total", "Calls that banks of open connections were sent, by how they ended.", []string{"rail", "class", "outcome"}, nil)
	deniedDesc   = prometheus.NewDesc("placard_bank_connections_denied", "Connections whose credentials the bank refuses.", []string{"rail"}, nil)
)

// breakerGauge shows the state of all breakers when Prometheus asks. Connections are
// counted and not named: there may be ten thousand.
type breakerGauge struct{ s *stack }

func (g breakerGauge) Describe(c chan<- *prometheus.Desc) {
	c <- breakersDesc
	c <- openedDesc
	c <- refusedDesc
	c <- deniedDesc
	c <- callsDesc
}

func (g breakerGauge) Collect(c chan<- prometheus.Metric) {
	type class struct{ rail, class string }
	type state struct {
		class
		state string
	}
	type ending struct {
		class
		outcome string
	}
	states, opened, refused, denied, calls := map[state]int{}, map[class]uint64{}, map[class]uint64{}, map[string]int{}, map[ending]uint64{}
	for _, b := range g.s.banks.States() {
		k := class{b.Rail, string(b.Class)}
		states[state{k, b.State}]++
		opened[k] += b.Opened
		refused[k] += b.Refused
		for outcome, n := range b.Outcomes {
			calls[ending{k, outcome}] += n
		}
		if b.Denied {
			denied[b.Rail]++
		}
	}
	for k, n := range states {
		c <- prometheus.MustNewConstMetric(breakersDesc, prometheus.GaugeValue, float64(n), k.rail, k.class.class, k.state)
	}
	for k, n := range opened {
		c <- prometheus.MustNewConstMetric(openedDesc, prometheus.CounterValue, float64(n), k.rail, k.class)
		c <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(refused[k]), k.rail, k.class)
	}
	for k, n := range calls {
		c <- prometheus.MustNewConstMetric(callsDesc, prometheus.CounterValue, float64(n), k.rail, k.class.class, k.outcome)
	}
	for rail, n := range denied {
		c <- prometheus.MustNewConstMetric(deniedDesc, prometheus.GaugeValue, float64(n), rail)
	}
}
