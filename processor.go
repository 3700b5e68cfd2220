// What can be asked of the owner, and the owner itself: one goroutine that holds the
// catalogue, and the loop it runs. All of processor's methods run on that goroutine.

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"cars/internal/events"
	"cars/internal/rest"
	"cars/internal/simulation"
	"cars/internal/sorted"
	"cars/internal/store"
)

// carRequestChan is the only way to the catalogue. Handlers send, the
// processor receives, nobody closes it. It is unbuffered: a send returns when
// the processor has the request in its hands, not before.
var carRequestChan = make(chan CarRequest)

// controlChan carries functions that the processor runs between two requests, such as
// main's decisions. control sends, the processor receives, nobody closes it.
var controlChan = make(chan func(*processor))

func init() {
	go carDetailProcessor()
}

// carDetailProcessor owns the catalogue for the life of the process.
func carDetailProcessor() {
	newProcessor(carRequestChan, controlChan, nil).run()
}

// control has the processor run f between two requests, and returns when it has.
func control(f func(*processor)) {
	done := make(chan struct{})
	controlChan <- func(p *processor) { f(p); close(done) }
	<-done
}

// A CarRequest is one question to the processor. It carries the channel on
// which its own answer comes back, so answers need no addressing and callers
// never meet. Without any of the fields below Response, it asks for the car with its ID.
type CarRequest struct {
	ID int

	// Response receives exactly one answer, unless the caller goes away first.
	// The caller makes it and receives from it, the processor sends, nobody
	// closes it. With capacity 1 the processor never has to wait for the
	// caller; without, it waits on another goroutine.
	Response chan CarResponse

	list  bool   // asks for the whole catalogue
	since string // with list: asks for the cars of this version, too; "" for none
	write write  // changes the catalogue; nil for a request that only reads

	asked simulation.Asked // processing time and failure
	done  <-chan struct{}  // closed when the caller stops waiting; nil if it always waits
}

// A write returns the catalogue that it makes of c, and the item that it is about, or nil if
// it is about all. An error says that nothing is to change. The processor may call it more
// than once, with different catalogues, until one of the results is durable.
type write func(c catalogue) (after catalogue, item *sorted.Item, err error)

// A CarResponse is the answer to one CarRequest. Everything it points to is
// immutable: nobody changes it again, so it may be read without a lock.
type CarResponse struct {
	Car   *Car  // after the request or, if that deletes it, before; nil for all cars or an error
	Error error // a *rest.Error, or errTaken

	item      *sorted.Item   // the item of Car
	catalogue *catalogue     // all cars, for a write or a request about all
	before    *sorted.List   // the cars of the version asked for; nil if that is no longer known
	received  time.Time      // when the request came off the channel
	age       *time.Duration // how old the cars read may be; nil if they were current
}

// defaultDelay is the processing time that a real database or remote API would take.
const defaultDelay = 100 * time.Millisecond

// A processor is the state of one loop. Only the goroutine in run touches it.
type processor struct {
	requests <-chan CarRequest
	controls <-chan func(*processor)
	stop     <-chan struct{} // closed to end the loop; nil in the server, whose loop never ends

	catalogue  catalogue      // the one that readers see: all of it is durable
	history    sorted.History // the cars of earlier catalogues, by version
	store      store.Store
	maxCars    int
	simulation simulation.Settings

	waiting *sorted.Queue // of *turn: requests whose processing time is not over
	sweepAt int           // how many requests in waiting, writes and reads lead to a sweep

	writes     []turn      // writes whose turn has come, but that are in no batch yet
	batch      *batch      // the writes that the store is making durable; nil if there are none
	patience   *time.Timer // fires every second while there is a batch
	reads      []turn      // reads that wait for the next confirmation that the catalogue is current
	confirming []turn      // reads that wait for the confirmation under way; empty if there is none

	woke time.Time     // when the event being handled arrived
	busy time.Duration // time that was spent handling events

	epoch     string // the beginning of all versions that this process gives; no other process gives them
	published int    // how many versions have been given
}

// newProcessor returns a processor of the built-in cars, in memory.
func newProcessor(requests <-chan CarRequest, controls <-chan func(*processor), stop <-chan struct{}) *processor {
	p := &processor{
		requests:   requests,
		controls:   controls,
		stop:       stop,
		catalogue:  builtIn(),
		store:      store.NewMemory(),
		maxCars:    defaultMaxCars,
		simulation: simulation.Settings{Delay: defaultDelay},
		epoch:      fmt.Sprintf("%016x", rand.Uint64()),
		waiting:    sorted.NewQueue(),
		patience:   time.NewTimer(0),
		sweepAt:    minSweep,
	}
	p.catalogue.changed, p.catalogue.feed = make(chan struct{}), events.NewFeed()
	p.catalogue.Version = p.epoch + "-0"
	p.patience.Stop()
	return p
}

// run is the loop. It waits here and nowhere else: not for a caller, not for
// a clock, not for a disk. The more channels a select has, the longer it takes. So
// channels on which nothing can come are nil: a select passes over them.
func (p *processor) run() {
	for {
		select {
		case req := <-p.requests:
			p.accept(req)
		case <-p.waiting.C():
			p.processDue()
		case e := <-p.events():
			p.stored(e)
		case <-p.impatient():
			p.giveUp()
		case f := <-p.controls:
			p.woke = time.Now()
			f(p)
		case <-p.stop:
			return
		}
		p.judge()
		p.confirm()
		p.busy += time.Since(p.woke)
	}
}

// events returns the store's channel, or nil while nothing can come on it.
func (p *processor) events() <-chan store.Event {
	if p.batch == nil && !p.store.Shared() {
		return nil
	}
	return p.store.Events()
}

// impatient returns the channel that sends when it is time to look whether the batch takes
// too long, or nil if there is no batch.
func (p *processor) impatient() <-chan time.Time {
	if p.batch == nil {
		return nil
	}
	return p.patience.C
}

// accept takes a request from the channel. A request without processing time is
// processed at once; any other waits in the queue.
func (p *processor) accept(req CarRequest) {
	p.woke = time.Now()
	if p.waiting.Len()+len(p.writes)+len(p.reads) >= p.sweepAt {
		p.sweep()
	}
	t := turn{CarRequest: req, received: p.woke}
	if wait := p.simulation.Time(req.asked); wait > 0 {
		waiting := t // a copy, so that t itself stays on the stack
		p.waiting.Push(&waiting, p.woke, wait)
		return
	}
	p.process(t)
}

// processDue processes all waiting requests whose time has come.
func (p *processor) processDue() {
	p.woke = time.Now()
	for t, ok := p.waiting.PopDue(p.woke); ok; t, ok = p.waiting.PopDue(p.woke) {
		p.process(*t.(*turn))
	}
}

// process answers a read, unless the store has to confirm the catalogue first. It adds a
// write to the writes that wait to be judged.
func (p *processor) process(t turn) {
	failure := p.simulation.Failure(t.asked)
	switch {
	case failure != nil:
		p.reply(t, CarResponse{Error: failure})
	case t.write != nil && p.underWay() >= writePatience: // clients that try again must not fill the room
		p.reply(t, CarResponse{Error: errHangs})
	case t.write != nil:
		t.ready = p.woke
		p.writes = append(p.writes, t)
	case p.store.Confirms():
		p.reads = append(p.reads, t)
	default:
		p.read(t)
	}
}

// read answers t from the catalogue, unless its caller has gone away. That takes as long
// for one car as for a million: the handler filters, sorts and encodes a list.
func (p *processor) read(t turn) {
	if t.abandoned() {
		return
	}
	var resp CarResponse
	switch {
	case t.list:
		now := p.catalogue
		resp.catalogue, resp.before = &now, p.history.Find(t.since)
		if t.since == now.Version {
			resp.before = &now.Items
		}
	default:
		resp = p.catalogue.find(t.ID)
	}
	if p.store.Shared() && !p.store.Confirms() {
		age := p.store.Age()
		resp.age = &age
	}
	p.reply(t, resp)
}

// reply hands over the one answer to a request. If the channel has no room, which never
// happens to handlers, another goroutine waits for the caller, so that the loop does not.
func (p *processor) reply(t turn, resp CarResponse) {
	resp.received = t.received
	select {
	case t.Response <- resp:
	default:
		go p.replyLater(t, resp)
	}
}

func (p *processor) replyLater(t turn, resp CarResponse) {
	select {
	case t.Response <- resp:
	case <-t.done:
	case <-p.stop:
	}
}

// judge carries out the writes whose turn has come, one after the other, on a
// catalogue that nobody sees yet, and has the store make the result durable. While
// a batch is under way, further writes gather. They are judged when it has ended, by
// the catalogue that it leaves. A write that is abandoned before it is judged does
// not happen. A write that is judged happens wholly.
func (p *processor) judge() {
	if p.batch != nil || len(p.writes) == 0 {
		return
	}
	b := &batch{after: p.catalogue, began: p.woke}
	taken := 0
	for ; taken < len(p.writes) && len(b.turns) < p.store.MaxWrites() && !b.whole; taken++ {
		if t := p.writes[taken]; !t.abandoned() {
			b.add(t, p.maxCars)
		}
	}
	p.writes = slices.Delete(p.writes, 0, taken)
	if len(b.turns) == 0 {
		return
	}
	p.batch = b
	p.patience.Reset(time.Second)
	p.store.Commit(store.Commit{Before: p.catalogue.State, After: b.after.State, Writes: len(b.turns)})
}

// stored handles an event of the store.
func (p *processor) stored(e store.Event) {
	p.woke = time.Now()
	switch e.Kind {
	case store.Committed:
		p.committed(e)
	case store.Changed:
		p.publish(catalogue{State: e.State})
	case store.Confirmed:
		p.confirmed(e.Err)
	}
}

// publish makes c the catalogue that readers see. Closing one channel tells all streams.
func (p *processor) publish(c catalogue) {
	if c.Version == "" {
		p.published++
		c.Version = fmt.Sprintf("%s-%d", p.epoch, p.published)
	}
	c.changed, c.feed = make(chan struct{}), p.catalogue.feed
	close(p.catalogue.changed)
	p.history.Add(p.catalogue.Version, p.catalogue.Items, c.Items)
	p.catalogue = c
}

// committed makes the batch visible and answers its writes. If other programs were first,
// the writes are judged again. If the commit failed, nothing changes, except that the IDs
// of the batch are not given again: they may have reached the disk.
func (p *processor) committed(e store.Event) {
	b, err := p.batch, e.Err
	p.batch = nil
	switch {
	case errors.Is(err, store.ErrConflict):
		p.writes = slices.Concat(b.turns, p.writes)
		return
	case err == nil && b.changes:
		b.after.Version = e.Version
		p.publish(b.after)
	case err == nil:
	default:
		p.catalogue.NextID = max(p.catalogue.NextID, b.after.NextID)
	}
	now := p.catalogue // the writes of a batch share it
	for i, t := range b.turns {
		resp := &b.responses[i]
		if err != nil {
			*resp = CarResponse{Error: err}
		}
		resp.catalogue = &now
		p.reply(t, *resp)
	}
}

// writePatience is how long a write waits for the store. Then it is answered with an error,
// so that writes for a disk that hangs do not take the room of reads.
const writePatience = 10 * time.Second

var (
	errNoOutcome = rest.Errorf(http.StatusServiceUnavailable, "The disk takes too long; whether the change was made is not known")
	errHangs     = &rest.Error{Status: http.StatusServiceUnavailable, Message: "Nothing was changed: a write before this takes too long", RetryAfter: 10}
)

// giveUp answers the writes that have waited too long. The ones in the batch may still happen.
func (p *processor) giveUp() {
	p.woke = time.Now()
	p.patience.Reset(time.Second)
	hung := p.underWay() >= writePatience
	if hung {
		for _, t := range p.batch.turns {
			p.reply(t, CarResponse{Error: errNoOutcome})
		}
		p.batch.turns = nil
	}
	p.writes = slices.DeleteFunc(p.writes, func(t turn) bool {
		tooLong := hung || p.woke.Sub(t.ready) >= writePatience
		if tooLong {
			p.reply(t, CarResponse{Error: errHangs})
		}
		return tooLong
	})
}

// underWay returns how long the batch has been under way, or 0 if there is none. It returns
// 0 for a shared store, too, which has its own limits: a large batch may take it long.
func (p *processor) underWay() time.Duration {
	if p.batch == nil || p.store.Shared() {
		return 0
	}
	return time.Since(p.batch.began)
}

// confirm asks the store whether the catalogue is current, once for all reads that wait.
// Reads that come later wait for the next confirmation.
func (p *processor) confirm() {
	if len(p.confirming) == 0 && len(p.reads) > 0 {
		p.confirming, p.reads = p.reads, nil
		p.store.Confirm()
	}
}

// confirmed answers the reads that the confirmation is for.
func (p *processor) confirmed(err error) {
	for _, t := range p.confirming {
		if err != nil {
			p.reply(t, CarResponse{Error: err})
		} else {
			p.read(t)
		}
	}
	p.confirming = nil
}

// minSweep is the number below which waiting requests take too little memory
// (about 300 bytes each) to look for abandoned ones.
const minSweep = 1024

// sweep drops the abandoned requests. The next sweep comes when the requests have
// doubled, so its cost for each request is constant. Clients may ask for a long delay,
// or come while the store hangs, and then leave: with the sweeps, their requests take
// at most as much memory as the requests of clients that stay.
func (p *processor) sweep() {
	p.waiting.DeleteFunc(func(t any) bool { return t.(*turn).abandoned() })
	p.writes = slices.DeleteFunc(p.writes, turn.abandoned)
	p.reads = slices.DeleteFunc(p.reads, turn.abandoned)
	p.sweepAt = max(minSweep, 2*(p.waiting.Len()+len(p.writes)+len(p.reads)))
}

// simulate makes s the settings. If s turns the simulation off, all requests that wait are
// processed at once, in the order in which they are due.
func (p *processor) simulate(s simulation.Settings) {
	p.simulation = s
	if s.Delay > 0 {
		return
	}
	for p.waiting.Len() > 0 {
		p.process(*p.waiting.Pop().(*turn))
	}
}

// open gives the processor another catalogue and the store that keeps it. It fails while
// the present store is at work: the outcome of that work would be lost.
func (p *processor) open(s store.Store, c catalogue, maxCars int) error {
	if p.batch != nil || len(p.confirming) > 0 {
		return errors.New("the store cannot be changed while it is at work")
	}
	p.store, p.maxCars = s, maxCars
	p.publish(c)
	p.history = sorted.History{}
	return nil
}

// inHands returns the number of requests that the processor has and has not answered.
func (p *processor) inHands() int {
	n := p.waiting.Len() + len(p.writes) + len(p.reads) + len(p.confirming)
	if p.batch != nil {
		n += len(p.batch.turns)
	}
	return n
}

// A turn is a request in the processor's hands.
type turn struct {
	CarRequest
	received time.Time
	ready    time.Time // when the processing time of a write was over
}

// abandoned reports whether the caller has gone away.
func (t turn) abandoned() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}
