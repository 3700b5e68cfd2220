// The owner: one goroutine that holds the catalogue, the loop it runs, and
// what each operation does. All that changes anything in this file runs on that
// goroutine; a catalogue is a value, which others may read.

package main

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"cars/internal/due"
	"cars/internal/fields"
	"cars/internal/items"
	"cars/internal/sorted"
)

// carRequestChan is the only way to the catalogue. Handlers send, the
// processor receives, nobody closes it. It is unbuffered: a send returns when
// the processor has the request in its hands, not before.
var carRequestChan = make(chan CarRequest)

// simulationChan brings the processor its settings: main sends once when the
// flags are read, and once more to end all waiting when the server must stop.
// The processor receives; nobody closes it.
var simulationChan = make(chan simulation)

// storeChan brings the processor what it keeps, once, before the server answers.
// Until then it keeps the built-in catalogue in memory, as in tests. Main sends,
// the processor receives; nobody closes it.
var storeChan = make(chan store)

func init() {
	go carDetailProcessor()
}

// carDetailProcessor owns the catalogue for the life of the process.
func carDetailProcessor() {
	p := newProcessor(carRequestChan, simulationChan, nil)
	p.stores = storeChan
	p.gauges = &processorGauges
	p.run()
}

// gauges are what a processor shows of itself to who watches, at any time.
type gauges struct {
	waiting atomic.Int64 // requests in its hands
	cars    atomic.Int64
	busy    atomic.Int64 // nanoseconds that it has not been waiting for whatever comes next
}

// processorGauges are those of carDetailProcessor.
var processorGauges gauges

// A store is where the processor's catalogue comes from, and where changes go to
// become durable.
type store struct {
	catalogue *catalogue
	maxCars   int // as many as there may be

	// Who makes changes durable receives from commits, and sends the outcome of
	// each to committed. The processor has one commit under way at a time, so if
	// commits has room for one it never waits there. With commits nil, changes live
	// in memory only.
	commits   chan<- items.Commit[record]
	committed <-chan error
}

// builtIn is the store of the cars that are built in, in memory.
func builtIn() store {
	return store{catalogue: newCatalogue(newRecords(cars)), maxCars: defaultMaxCars}
}

// defaultMaxCars bounds the memory that clients can make the server use: a million
// cars take less than 1 GiB.
const defaultMaxCars = 1_000_000

// A simulation makes the server as slow as the real one it stands in for.
// With delay 0 it is off: no request waits, whatever jitter or the request's
// own Delay say.
type simulation struct {
	delay  time.Duration // processing time of a request that names none
	jitter time.Duration // up to this much more, uniformly at random
	fail   float64       // the fraction of requests that fail
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
	stores      <-chan store    // nil if the store stays as it is
	stop        <-chan struct{} // closed to end the loop; nil in the server, whose loop never ends
	gauges      *gauges

	store             // its catalogue is as it is committed
	turns      []turn // writes whose turn has come, but that have not been judged
	batch      *batch // the writes that are being committed; nil if there are none
	simulation simulation
	waiting    due.Queue[*turn] // requests whose processing time is not over
	timer      *time.Timer      // fires when the first of waiting is due; stopped while there is none
	woke       time.Time        // when what is being done now came
	sweepAt    int              // length of waiting and turns at which to look for abandoned requests
}

func newProcessor(requests <-chan CarRequest, simulations <-chan simulation, stop <-chan struct{}) *processor {
	p := &processor{
		requests:    requests,
		simulations: simulations,
		stop:        stop,
		gauges:      new(gauges),
		store:       builtIn(),
		simulation:  simulation{delay: defaultDelay},
		timer:       time.NewTimer(0),
		sweepAt:     minSweep,
	}
	p.timer.Stop()
	return p
}

// run is the loop. It waits here and nowhere else: not for a caller, not for
// a clock, not for a disk. The more channels a select has, the longer it takes, so
// those on which nothing can come are nil, which it passes over.
func (p *processor) run() {
	for {
		select {
		case req := <-p.requests:
			p.accept(req)
		case <-p.due():
			p.processDue()
		case err := <-p.outcome():
			p.finish(err)
		case s := <-p.simulations:
			p.simulate(s)
		case p.store = <-p.stores:
		case <-p.stop:
			return
		}
		p.judge()
		p.show()
	}
}

// due is the channel that says when the first of waiting is due, if there is one.
func (p *processor) due() <-chan time.Time {
	if p.waiting.Len() == 0 {
		return nil
	}
	return p.timer.C
}

// outcome is the channel that says what came of the batch, if there is one.
func (p *processor) outcome() <-chan error {
	if p.batch == nil {
		return nil
	}
	return p.committed
}

// show brings the gauges up to date.
func (p *processor) show() {
	waiting := p.waiting.Len() + len(p.turns)
	if p.batch != nil {
		waiting += len(p.batch.turns)
	}
	p.gauges.waiting.Store(int64(waiting))
	p.gauges.cars.Store(int64(p.catalogue.cars.Len()))
	if !p.woke.IsZero() {
		p.gauges.busy.Add(int64(time.Since(p.woke)))
		p.woke = time.Time{}
	}
}

// accept takes a request from the channel: it is processed at once if it has
// no processing time, and otherwise put in its place among those that wait.
func (p *processor) accept(req CarRequest) {
	p.woke = time.Now()
	if p.waiting.Len()+len(p.turns) >= p.sweepAt {
		p.sweep()
	}
	wait := p.simulation.processingTime(req)
	if wait <= 0 {
		p.process(turn{req, p.woke})
		return
	}
	due := p.woke.Add(wait)
	if p.waiting.Len() == 0 || due.Before(p.waiting.Next()) {
		p.timer.Reset(wait)
	}
	p.waiting.Push(&turn{req, p.woke}, due)
}

// processDue processes every waiting request whose time has come, however
// many there are, and sets the timer for the next.
func (p *processor) processDue() {
	p.woke = time.Now()
	for p.waiting.Len() > 0 {
		if next := p.waiting.Next(); next.After(p.woke) {
			p.timer.Reset(next.Sub(p.woke))
			return
		}
		p.process(*p.waiting.Pop())
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
	for p.waiting.Len() > 0 {
		p.process(*p.waiting.Pop())
	}
}

// minSweep is the length below which waiting requests take too little memory
// (about 300 bytes each) to look for abandoned ones.
const minSweep = 1024

// sweep drops the abandoned requests. The next sweep comes when as many again
// have arrived, so clients that ask for a long delay, or write while the disk
// hangs, and leave hold at most twice the memory of those that stay, and the
// cost per request is constant.
func (p *processor) sweep() {
	p.waiting.DeleteFunc(func(t *turn) bool { return t.abandoned() })
	p.turns = slices.DeleteFunc(p.turns, func(t turn) bool { return t.abandoned() })
	p.sweepAt = max(minSweep, 2*(p.waiting.Len()+len(p.turns)))
}

// fails reports whether req is to fail, which it does before it touches anything.
func (s simulation) fails(req CarRequest) bool {
	return s.delay > 0 && (req.Fail || s.fail > 0 && req.Op != reserveIDs && rand.Float64() < s.fail)
}

// process answers t from the catalogue if it only reads, and else puts it with
// the writes that are to be judged. A caller that went away while it waited has
// nothing done for it.
func (p *processor) process(t turn) {
	switch {
	case p.simulation.fails(t.CarRequest):
		p.reply(t, CarResponse{Error: errSimulated})
	case t.Write != nil:
		p.turns = append(p.turns, t)
	case !t.abandoned():
		p.reply(t, p.catalogue.read(t.CarRequest))
	}
}

// judge carries out the writes whose turn has come, one after the other, on a
// catalogue that nobody sees yet, and has the result committed. While another
// batch is being committed they gather, to be judged by what that one leaves.
// What is abandoned before it is judged does not happen; what is judged happens
// wholly.
func (p *processor) judge() {
	if p.batch != nil || len(p.turns) == 0 {
		return
	}
	b := &batch{after: p.catalogue}
	for _, t := range p.turns {
		if !t.abandoned() {
			b.add(t, p.maxCars)
		}
	}
	clear(p.turns)
	p.turns = p.turns[:0]
	p.batch = b
	if p.commits == nil || len(b.ids) == 0 {
		p.finish(nil)
		return
	}
	p.commits <- items.Commit[record]{Items: b.after.cars, NextID: b.after.nextID, IDs: b.ids}
}

// finish makes the batch visible and answers its writes. If the commit failed,
// it is as if they had never been made, but for their IDs: what has reached the
// disk is not certain, so these are not given to others.
func (p *processor) finish(err error) {
	if p.woke.IsZero() { // or judge calls, on whose time this is
		p.woke = time.Now()
	}
	b := p.batch
	p.batch = nil
	if err == nil {
		p.catalogue = b.after
	} else {
		p.catalogue = p.catalogue.withNextID(b.after.nextID)
	}
	for i, t := range b.turns {
		if err != nil {
			b.responses[i] = CarResponse{Error: fmt.Errorf("%w: %w", errNotCommitted, err)}
		}
		p.reply(t, b.responses[i])
	}
}

// reply hands over the one answer to a request. Handlers make room for it;
// for a caller that did not, another goroutine waits, so that the loop never
// does.
func (p *processor) reply(t turn, resp CarResponse) {
	resp.received = t.received
	select {
	case t.Response <- resp:
	default:
		go func() {
			select {
			case t.Response <- resp:
			case <-t.Done:
			case <-p.stop:
			}
		}()
	}
}

// A turn is a request in the processor's hands.
type turn struct {
	CarRequest
	received time.Time
}

// A batch is writes that are committed together, or not at all.
type batch struct {
	turns     []turn
	responses []CarResponse // one for each of turns, if the commit succeeds
	after     *catalogue    // what they make of the catalogue
	ids       []int         // one for each write that must last: of a car that may differ; items.All stands for all
}

// add judges one more write by what those before it leave. Writes that make more
// cars than there may be are refused.
func (b *batch) add(t turn, maxCars int) {
	after, resp := b.after.write(t.CarRequest)
	if after.cars.Len() > max(maxCars, b.after.cars.Len()) {
		after, resp = b.after, CarResponse{Error: errFull}
	}
	b.turns = append(b.turns, t)
	b.responses = append(b.responses, resp)
	b.after = after
	if resp.Error == nil && t.Op != reserveIDs {
		if resp.Car != nil {
			b.ids = append(b.ids, resp.Car.ID)
		} else {
			b.ids = append(b.ids, items.All)
		}
	}
}

// A catalogue is all cars at one instant. Whoever holds one may read it for as
// long as it likes: it never changes, what is put in or taken out makes another.
type catalogue struct {
	cars   sorted.List[*record] // by ID
	hash   uint64               // sum of the cars' hashes
	nextID int                  // the lowest ID that is above all that ever were in use
}

// newCatalogue returns a catalogue of cars that are by ascending ID.
func newCatalogue(records []*record) *catalogue {
	c := &catalogue{
		cars:   sorted.New(recordFormat.ID, records),
		nextID: 1,
	}
	for _, rec := range records {
		c.hash += rec.hash
		c.nextID = rec.car.ID + 1
	}
	return c
}

// put returns a catalogue with a car in it, in the place of one with the same ID
// if there is one.
func (c catalogue) put(rec *record) *catalogue {
	if old, found := c.cars.Get(rec.car.ID); found {
		c.hash -= old.hash
	}
	c.cars = c.cars.Put(rec)
	c.hash += rec.hash
	c.nextID = max(c.nextID, rec.car.ID+1)
	return &c
}

// without returns a catalogue that lacks one of its cars.
func (c catalogue) without(rec *record) *catalogue {
	c.cars = c.cars.Delete(rec.car.ID)
	c.hash -= rec.hash
	return &c
}

func (c catalogue) withNextID(id int) *catalogue {
	c.nextID = id
	return &c
}

// etag is the weak entity tag (RFC 9110, section 8.8.1) of a list made of c: it
// changes with the content and differs from query to query.
func (c *catalogue) etag(rawQuery string) string {
	query := fnv.New64a()
	query.Write([]byte(rawQuery))
	return fmt.Sprintf(`W/"%016x"`, c.hash^query.Sum64())
}

// read carries out an operation that changes nothing. Like all the rules of the
// catalogue it takes the same short time whatever its size: what is left to do
// for a list is the handler's work.
func (c *catalogue) read(req CarRequest) CarResponse {
	if req.Op == listCars {
		return CarResponse{catalogue: c}
	}
	rec, found := c.cars.Get(req.ID)
	if !found {
		return CarResponse{Error: errCarNotFound}
	}
	return CarResponse{Car: &rec.car, record: rec}
}

// write carries out an operation that changes something, and returns what c
// becomes. If it answers with an error that is c itself.
func (c *catalogue) write(req CarRequest) (*catalogue, CarResponse) {
	switch req.Op {
	case createCar:
		return c.create(req.Write.car)
	case replaceCars:
		return c.replaceAll(req.Write)
	case reserveIDs:
		return c.reserve(req.ID, req.Write.count)
	default:
		return c.change(req)
	}
}

// create puts in a new car. The IDs of deleted cars are free for who asks for
// them; none is given unasked.
func (c *catalogue) create(car Car) (*catalogue, CarResponse) {
	if car.ID == 0 {
		car.ID = c.nextID
	}
	if car.ID > items.MaxID {
		return c, CarResponse{Error: errFull}
	}
	if _, taken := c.cars.Get(car.ID); taken {
		return c, CarResponse{Error: errIDTaken}
	}
	rec := newRecord(car)
	return c.put(rec), CarResponse{Car: &rec.car, record: rec}
}

// change replaces, patches or deletes a car.
func (c *catalogue) change(req CarRequest) (*catalogue, CarResponse) {
	old, found := c.cars.Get(req.ID)
	if !found {
		return c, CarResponse{Error: errCarNotFound}
	}
	if !req.Write.conditions.Hold(old.etag) {
		return c, CarResponse{Error: errPrecondition}
	}
	if req.Op == deleteCar {
		return c.without(old), CarResponse{Car: &old.car, record: old}
	}
	car := req.Write.car
	if req.Op == patchCar {
		car = old.car
		car.merge(req.Write.patch, fields.Errors{})
	}
	rec := newRecord(car)
	return c.put(rec), CarResponse{Car: &rec.car, record: rec}
}

// replaceAll puts other cars in the place of all.
func (c *catalogue) replaceAll(w *write) (*catalogue, CarResponse) {
	if !w.conditions.Hold(c.etag("")) {
		return c, CarResponse{Error: errPrecondition}
	}
	after := w.catalogue.withNextID(max(c.nextID, w.catalogue.nextID))
	return after, CarResponse{catalogue: after}
}

// reserve keeps count IDs, one after the other and none below least, from being
// given to others.
func (c *catalogue) reserve(least, count int) (*catalogue, CarResponse) {
	first := max(c.nextID, least)
	if first+count-1 > items.MaxID {
		return c, CarResponse{Error: errFull}
	}
	return c.withNextID(first + count), CarResponse{firstID: first}
}
