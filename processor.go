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

// controlChan brings the processor what main decides: functions that it runs between
// two requests. Main sends, by control; the processor receives; nobody closes it.
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
	since string // with list: a version; asks for the catalogue as it was then, too
	write write  // changes the catalogue; nil for a request that only reads

	asked simulation.Asked // processing time and failure
	done  <-chan struct{}  // closed when the caller no longer waits; nil: it always waits
}

// A write makes another catalogue of one, and returns the item that it is about, if it is
// about one. With an error, nothing is to change. The processor may call it more than
// once, with different catalogues, until one of the results is durable.
type write func(c catalogue) (after catalogue, item *sorted.Item, err error)

// A CarResponse is the answer to one CarRequest. Everything it points to is
// immutable: nobody changes it again, so it may be read without a lock.
type CarResponse struct {
	Car   *Car  // as asked for, as it is now or, deleted, as it was; nil for all cars or an error
	Error error // nearly always a *rest.Error

	item      *sorted.Item   // Car as it is in the catalogue
	catalogue catalogue      // all cars, for a request that is about them
	before    sorted.List    // the cars of the version asked for
	known     bool           // whether that version is still known
	received  time.Time      // when the request came off the channel
	age       *time.Duration // how old what was read may be; nil if it was current
}

// defaultDelay is what a query to a real database or remote API costs.
const defaultDelay = 100 * time.Millisecond

// A processor is the state of one loop. Only the goroutine in run touches it.
type processor struct {
	requests <-chan CarRequest
	controls <-chan func(*processor)
	stop     <-chan struct{} // closed to end the loop; nil in the server, whose loop never ends

	catalogue  catalogue      // what readers see: all of it is durable
	history    sorted.History // the cars of the catalogues before, by version
	store      store.Store
	maxCars    int
	simulation simulation.Settings

	waiting *sorted.Queue // of *turn: requests whose processing time is not over
	sweepAt int           // number of waiting, writes and reads at which to look for abandoned requests

	writes     []turn      // writes whose turn has come, but that are in no batch yet
	batch      *batch      // the writes that the store is making durable; nil if there are none
	patience   *time.Timer // fires every second while there is a batch
	reads      []turn      // reads for which the store is still to confirm that what is here is current
	confirming []turn      // reads that the confirmation under way is for; empty if there is none

	woke time.Time     // when the event being handled arrived
	busy time.Duration // time that was spent handling events

	epoch     string // begins the versions that are given here, so that none is given in another run
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
// a clock, not for a disk. The more channels a select has, the longer it takes, so
// those on which nothing can come are nil, which it passes over.
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

// events is the store's channel, if something can come of it.
func (p *processor) events() <-chan store.Event {
	if p.batch == nil && !p.store.Shared() {
		return nil
	}
	return p.store.Events()
}

// impatient is the channel that says to look whether the batch takes too long, if there is
// one.
func (p *processor) impatient() <-chan time.Time {
	if p.batch == nil {
		return nil
	}
	return p.patience.C
}

// accept takes a request from the channel: it is processed at once if it has
// no processing time, and otherwise put in its place among those that wait.
func (p *processor) accept(req CarRequest) {
	p.woke = time.Now()
	if p.waiting.Len()+len(p.writes)+len(p.reads) >= p.sweepAt {
		p.sweep()
	}
	t := turn{CarRequest: req, received: p.woke}
	if wait := p.simulation.Time(req.asked); wait > 0 {
		waiting := t // so that t itself is on the stack
		p.waiting.Push(&waiting, p.woke, wait)
		return
	}
	p.process(t)
}

// processDue processes every waiting request whose time has come, however
// many there are.
func (p *processor) processDue() {
	p.woke = time.Now()
	for t, ok := p.waiting.PopDue(p.woke); ok; t, ok = p.waiting.PopDue(p.woke) {
		p.process(*t.(*turn))
	}
}

// process answers t from the catalogue if it only reads, and else puts it with
// the writes that are to be judged. A caller that went away while it waited has
// nothing done for it.
func (p *processor) process(t turn) {
	failure := p.simulation.Failure(t.asked)
	switch {
	case failure != nil:
		p.reply(t, CarResponse{Error: failure})
	case t.write != nil && p.underWay() >= writePatience: // or those that come again and again would fill the room
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

// read answers t from the catalogue. That takes the same short time whatever its size:
// what is left to do for a list is the handler's work.
func (p *processor) read(t turn) {
	if t.abandoned() {
		return
	}
	var resp CarResponse
	switch {
	case t.list:
		resp.catalogue = p.catalogue
		if resp.before, resp.known = p.catalogue.Items, t.since == p.catalogue.Version; !resp.known {
			resp.before, resp.known = p.history.Find(t.since)
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

// reply hands over the one answer to a request. Handlers make room for it;
// for a caller that did not, another goroutine waits, so that the loop never
// does.
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
// a batch is under way further writes gather, to be judged by what it leaves.
// What is abandoned before it is judged does not happen; what is judged happens
// wholly.
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

// stored is told what the store reports.
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

// publish makes another catalogue visible. All that follow the one before learn of it by
// one close, however many they are.
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

// committed makes the batch visible and answers its writes. If others were first, the
// writes are judged again. If the commit failed, it is as if they had never been made, but
// for their IDs: what has reached the disk is not certain, so nobody else gets these.
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
	for i, t := range b.turns {
		resp := &b.responses[i]
		if err != nil {
			*resp = CarResponse{Error: err}
		}
		resp.catalogue.Version = p.catalogue.Version // all writes of a batch have made the same
		p.reply(t, *resp)
	}
}

// writePatience is how long a write waits for the store. Then it is answered, so that a
// disk that hangs leaves the room to reads.
const writePatience = 10 * time.Second

var (
	errNoOutcome = rest.Errorf(http.StatusServiceUnavailable, "The disk takes too long; whether the change was made is not known")
	errHangs     = &rest.Error{Status: http.StatusServiceUnavailable, Message: "Nothing was changed: a write before this takes too long", RetryAfter: 10}
)

// giveUp answers the writes that have waited too long. Those of the batch may still happen.
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

// underWay returns how long the batch has been under way, or 0 if there is none. A store
// that is shared sets limits itself: a large batch may take it long without any fault.
func (p *processor) underWay() time.Duration {
	if p.batch == nil || p.store.Shared() {
		return 0
	}
	return time.Since(p.batch.began)
}

// confirm asks a store that others write to, too, whether what is here is current, for
// all reads that wait. Reads that come later wait for the next confirmation.
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

// sweep drops the abandoned requests. The next sweep comes when as many again
// have arrived. Clients that ask for a long delay, or come while the store
// hangs, and leave therefore hold at most twice the memory of those that stay, and the
// cost per request is constant.
func (p *processor) sweep() {
	p.waiting.DeleteFunc(func(t any) bool { return t.(*turn).abandoned() })
	p.writes = slices.DeleteFunc(p.writes, turn.abandoned)
	p.reads = slices.DeleteFunc(p.reads, turn.abandoned)
	p.sweepAt = max(minSweep, 2*(p.waiting.Len()+len(p.writes)+len(p.reads)))
}

// simulate changes the settings. With the simulation off nothing has a reason
// to wait, so everything that does is processed now, in the order it would
// have been.
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
// the store that it has is at work: the outcome of that would be lost.
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
