// The owner: one goroutine that holds the catalogue, the loop it runs, and
// what each operation does. Everything in this file runs on that goroutine.

package main

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"
)

// carRequestChan is the only way to the catalogue. Handlers send, the
// processor receives, nobody closes it. It is unbuffered: a send returns when
// the processor has the request in its hands, not before.
var carRequestChan = make(chan CarRequest)

// simulationChan brings the processor its settings: main sends once when the
// flags are read, and once more to end all waiting when the server must stop.
// The processor receives; nobody closes it.
var simulationChan = make(chan simulation)

func init() {
	go carDetailProcessor()
}

// carDetailProcessor owns the catalogue for the life of the process.
func carDetailProcessor() {
	newProcessor(carRequestChan, simulationChan, nil).run()
}

// A simulation makes the server as slow as the real one it stands in for.
// With delay 0 it is off: no request waits, whatever jitter or the request's
// own Delay say.
type simulation struct {
	delay  time.Duration // processing time of a request that names none
	jitter time.Duration // up to this much more, uniformly at random
}

// defaultDelay is what a query to a real database or remote API costs. maxDelay
// bounds what can be asked for, so that the server's write timeout can leave
// room for the longest.
const (
	defaultDelay = 100 * time.Millisecond
	maxDelay     = time.Minute
)

// processingTime is how long req waits before it is processed.
func (s simulation) processingTime(req CarRequest) time.Duration {
	switch {
	case s.delay == 0:
		return 0
	case req.Delay != nil:
		return *req.Delay
	default:
		return s.delay + rand.N(s.jitter+1)
	}
}

// A processor is the state of one loop. Only the goroutine in run touches it.
type processor struct {
	requests    <-chan CarRequest
	simulations <-chan simulation
	stop        <-chan struct{} // closed to end the loop; nil in the server, whose loop never ends

	catalogue  catalogue
	simulation simulation
	waiting    queue       // requests whose processing time is not over
	timer      *time.Timer // fires when the first of waiting is due; stopped while there is none
	arrivals   int         // requests ever put into waiting
	sweepAt    int         // length of waiting at which to look for abandoned requests
}

func newProcessor(requests <-chan CarRequest, simulations <-chan simulation, stop <-chan struct{}) *processor {
	p := &processor{
		requests:    requests,
		simulations: simulations,
		stop:        stop,
		catalogue:   newCatalogue(cars),
		simulation:  simulation{delay: defaultDelay},
		timer:       time.NewTimer(0),
		sweepAt:     minSweep,
	}
	p.timer.Stop()
	return p
}

// run is the loop. It waits here and nowhere else: not for a caller, not for
// a clock, not for a disk.
func (p *processor) run() {
	for {
		select {
		case req := <-p.requests:
			p.accept(req)
		case <-p.timer.C:
			p.processDue()
		case s := <-p.simulations:
			p.simulate(s)
		case <-p.stop:
			return
		}
	}
}

// accept takes a request from the channel: it is processed at once if it has
// no processing time, and otherwise put in its place among those that wait.
func (p *processor) accept(req CarRequest) {
	now := time.Now()
	wait := p.simulation.processingTime(req)
	if wait <= 0 {
		p.process(req, now)
		return
	}
	if len(p.waiting) >= p.sweepAt {
		p.sweep()
	}
	entry := &waitingRequest{CarRequest: req, received: now, due: now.Add(wait), arrival: p.arrivals}
	p.arrivals++
	heap.Push(&p.waiting, entry)
	if p.waiting[0] == entry {
		p.timer.Reset(wait)
	}
}

// processDue processes every waiting request whose time has come, however
// many there are, and sets the timer for the next.
func (p *processor) processDue() {
	now := time.Now()
	for len(p.waiting) > 0 {
		first := p.waiting[0]
		if first.due.After(now) {
			p.timer.Reset(first.due.Sub(now))
			return
		}
		heap.Pop(&p.waiting)
		p.process(first.CarRequest, first.received)
	}
}

// simulate changes the settings. With the simulation off nothing has a reason
// to wait, so everything that does is processed now, in the order it would
// have been.
func (p *processor) simulate(s simulation) {
	p.simulation = s
	if s.delay > 0 {
		return
	}
	for len(p.waiting) > 0 {
		first := heap.Pop(&p.waiting).(*waitingRequest)
		p.process(first.CarRequest, first.received)
	}
}

// minSweep is the length below which waiting requests take too little memory
// (about 300 bytes each) to look for abandoned ones.
const minSweep = 1024

// sweep drops the abandoned requests. The next sweep comes when as many again
// have arrived, so clients that ask for a long delay and leave hold at most
// twice the memory of those that stay, and the cost per request is constant.
func (p *processor) sweep() {
	p.waiting = slices.DeleteFunc(p.waiting, func(w *waitingRequest) bool { return w.abandoned() })
	heap.Init(&p.waiting)
	p.sweepAt = max(minSweep, 2*len(p.waiting))
}

// process gives req its turn. A caller that went away while it waited has
// nothing done for it.
func (p *processor) process(req CarRequest, received time.Time) {
	if req.abandoned() {
		return
	}
	resp := p.catalogue.do(req)
	resp.received = received
	p.reply(req, resp)
}

// reply hands over the one answer to a request. Handlers make room for it;
// for a caller that did not, another goroutine waits, so that the loop never
// does.
func (p *processor) reply(req CarRequest, resp CarResponse) {
	select {
	case req.Response <- resp:
	default:
		go func() {
			select {
			case req.Response <- resp:
			case <-req.Done:
			case <-p.stop:
			}
		}()
	}
}

// A catalogue is what the processor owns. Its methods are its rules: plain
// functions that take no time, know no channel and cannot fail halfway.
type catalogue struct {
	byID map[int]*record
	all  *snapshot
}

// newCatalogue returns a catalogue of cars, which are in order of ID.
func newCatalogue(cars []Car) catalogue {
	records := make([]*record, len(cars))
	byID := make(map[int]*record, len(cars))
	for i, car := range cars {
		records[i] = newRecord(car)
		byID[car.ID] = records[i]
	}
	return catalogue{byID: byID, all: newSnapshot(records)}
}

// do carries out one operation. It takes the same short time whatever the size
// of the catalogue: what is left to do for a list is the handler's work.
func (c catalogue) do(req CarRequest) CarResponse {
	switch req.Op {
	case listCars:
		return CarResponse{snapshot: c.all}
	default:
		rec, ok := c.byID[req.ID]
		if !ok {
			return CarResponse{Error: errCarNotFound}
		}
		return CarResponse{Car: &rec.car, record: rec}
	}
}

// A waitingRequest is a request whose processing time is running.
type waitingRequest struct {
	CarRequest
	received time.Time
	due      time.Time
	arrival  int // breaks ties: of two that are due together, the first to come goes first
}

// A queue is a heap (see container/heap) of waiting requests, the first to be
// due on top.
type queue []*waitingRequest

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*waitingRequest)) }

func (q queue) Less(i, j int) bool {
	if q[i].due.Equal(q[j].due) {
		return q[i].arrival < q[j].arrival
	}
	return q[i].due.Before(q[j].due)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	(*q)[last] = nil // or the slice would keep it alive
	*q = (*q)[:last]
	return w
}
