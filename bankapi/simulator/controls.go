package simulator

import (
	"net/http"
	"time"

	"placard/linking"
)

// mountControls serves the same controls as the methods, to other processes.
func (s *Simulator) mountControls(mux *http.ServeMux) {
	control := func(pattern string, handle func(r *http.Request, body []byte) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, err := readBody(w, r, 64<<10)
			if err != nil {
				problem(w, http.StatusRequestEntityTooLarge, "too_large", "")
				return
			}
			v, err := handle(r, body)
			if err != nil {
				problem(w, statusFor(err), codeOf(err), err.Error())
				return
			}
			writeJSON(w, http.StatusOK, v)
		})
	}
	type done struct {
		OK bool `json:"ok"`
	}
	control("GET /sim/requests/{id}", func(r *http.Request, _ []byte) (any, error) {
		return s.Request(r.PathValue("id"))
	})
	control("POST /sim/pay", func(_ *http.Request, body []byte) (any, error) {
		var p Pay
		if err := readJSON(body, &p); err != nil {
			return nil, err
		}
		return s.Pay(p)
	})
	control("POST /sim/refuse", func(_ *http.Request, body []byte) (any, error) {
		var in struct {
			RequestID string `json:"request_id"`
		}
		if err := readJSON(body, &in); err != nil {
			return nil, err
		}
		return s.Refuse(in.RequestID)
	})
	control("POST /sim/faults", func(_ *http.Request, body []byte) (any, error) {
		var in struct {
			Fault
			Seed *uint64 `json:"seed"`
		}
		if err := readJSON(body, &in); err != nil {
			return nil, err
		}
		if err := s.Fault(in.Fault); err != nil {
			return nil, err
		}
		if in.Seed != nil {
			s.Seed(*in.Seed)
		}
		return done{true}, nil
	})
	control("DELETE /sim/faults", func(*http.Request, []byte) (any, error) {
		s.ClearFaults()
		return done{true}, nil
	})
	control("POST /sim/callbacks", func(_ *http.Request, body []byte) (any, error) {
		var in struct {
			Mode  string `json:"mode"`
			Value int    `json:"value"`
		}
		if err := readJSON(body, &in); err != nil {
			return nil, err
		}
		return done{true}, s.Callbacks(in.Mode, in.Value)
	})
	control("GET /sim/callbacks", func(*http.Request, []byte) (any, error) {
		return s.CallbackCounts(), nil
	})
	control("POST /sim/refunds", func(_ *http.Request, body []byte) (any, error) {
		var in struct {
			Status linking.RefundStatus `json:"status"`
		}
		if err := readJSON(body, &in); err != nil {
			return nil, err
		}
		return done{true}, s.Refunds(in.Status)
	})
	control("POST /sim/clock", func(_ *http.Request, body []byte) (any, error) {
		var in struct {
			Advance string `json:"advance"`
		}
		if err := readJSON(body, &in); err != nil {
			return nil, err
		}
		d, err := time.ParseDuration(in.Advance)
		if err != nil || d < 0 || d > 10*365*24*time.Hour {
			return nil, refuse("advance", "The clock moves forward, by something like 10m.")
		}
		return struct {
			Now time.Time `json:"now"`
		}{s.Advance(d)}, nil
	})
	control("GET /sim/calls", func(r *http.Request, _ []byte) (any, error) {
		calls, counts := s.Calls(r.URL.Query().Get("request_id"))
		return struct {
			Counts map[string]int `json:"counts"`
			Data   []Call         `json:"data"`
		}{counts, calls}, nil
	})
	control("POST /sim/accounts", func(_ *http.Request, body []byte) (any, error) {
		var in struct {
			ID     string     `json:"id"`
			Name   string     `json:"name"`
			Secret string     `json:"secret"`
			JPM    JPMAccount `json:"jpm"`
			Pix    PixAccount `json:"pix"`
		}
		if err := readJSON(body, &in); err != nil {
			return nil, err
		}
		return done{true}, s.OpenAccount(Account(in))
	})
}
