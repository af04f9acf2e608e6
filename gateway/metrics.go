package gateway

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what the gateway counts. Labels are route patterns, methods and
// statuses: never a path, a token, a merchant or an address.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	panics   prometheus.Counter
	refused  *prometheus.CounterVec

	streams       prometheus.Gauge
	streamsEnded  *prometheus.CounterVec
	streamsDenied *prometheus.CounterVec

	mu     sync.RWMutex
	series map[seriesKey]series // resolved once: finding a series by its labels costs more than counting
}

type seriesKey struct {
	route, method string
	status        int
}

type series struct {
	requests prometheus.Counter
	seconds  prometheus.Observer
}

func newMetrics(to prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "placard_http_requests_total", Help: "HTTP requests answered.",
		}, []string{"route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "placard_http_request_seconds", Help: "Time from the request's last byte to its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route", "method"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "placard_http_requests_in_flight", Help: "HTTP requests being answered.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "placard_panics_total", Help: "Faults of the program, caught.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "placard_http_refused_total", Help: "Requests refused before they were routed: not well-formed, too large, too slow.",
		}, []string{"status"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "placard_streams_open", Help: "Event streams open.",
		}),
		streamsEnded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "placard_streams_ended_total", Help: "Event streams ended, by who ended them.",
		}, []string{"by"}),
		streamsDenied: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "placard_streams_denied_total", Help: "Event streams not opened, by which bound.",
		}, []string{"bound"}),
		series: map[seriesKey]series{},
	}
	to.MustRegister(m.requests, m.seconds, m.inFlight, m.panics, m.refused, m.streams, m.streamsEnded, m.streamsDenied)
	return m
}

// answered counts one request. The number of its series is bounded by the routes.
func (m *metrics) answered(route, method string, status int, took time.Duration) {
	key := seriesKey{route, method, status}
	m.mu.RLock()
	s, ok := m.series[key]
	m.mu.RUnlock()
	if !ok {
		s = series{m.requests.WithLabelValues(route, method, strconv.Itoa(status)), m.seconds.WithLabelValues(route, method)}
		m.mu.Lock()
		m.series[key] = s
		m.mu.Unlock()
	}
	s.requests.Inc()
	s.seconds.Observe(took.Seconds())
}
