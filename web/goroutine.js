// Watch the goroutine: many requests at once, and a picture of where their time went.
// The times are measured, by the server (Server-Timing, Catalogue-Version, /metrics) and the
// browser (Resource Timing). What other servers would have needed is computed from them.

import { authorization, named, once, pause, read, write } from './api.js';
import { counted } from './fields.js';
import { spread } from './hosts.js';
import { hold } from './live.js';
import { element, make, on } from './page.js';
import { area, compare, draw, ms, share } from './waterfall.js';

const [progress, picture, explanation, send, numbers] = ['progress', 'picture', 'explanation', 'send', 'numbers'].map(element);

let runs = 0;
let stop; // aborts the run under way
let signal; // the signal of stop

const writes = () => element('what').value !== '';

on('requests', 'input', ({ target }) => { element('count').value = target.value; });
on('what', 'change', () => {
	element('lead-reads').hidden = writes();
	element('lead-writes').hidden = !writes();
});

on('watch', 'submit', async (event) => {
	event.preventDefault();
	if (stop) {
		stop.abort();
		return;
	}
	stop = new AbortController();
	({ signal } = stop);
	send.textContent = 'Stop';
	element('waterfall').hidden = false;
	numbers.hidden = true;
	explanation.textContent = '';
	picture.replaceChildren();
	try {
		await (writes() ? runWrites : runReads)(Number(element('requests').value));
	} catch (error) {
		progress.textContent = signal.aborted ? 'Stopped.' : error.message;
	}
	hold(false);
	stop = undefined;
	send.textContent = 'Send';
});

async function runReads(count) {
	const { data: cars } = await read(`api/cars?_limit=${count}`, { signal, waiting });
	const run = await measure(count, (i) => `api/cars/${cars[i % cars.length]?.id ?? 1}`, (url) => once(url, signal));
	const { total, processed } = run;
	if (processed.length > 0) {
		const servers = [
			measured('This server', 'process', 1, total),
			{ name: 'Pool of five', ...sleeping(processed, 5) },
			{ name: 'Sleeping loop', ...sleeping(processed, 1) },
		];
		explanation.textContent = explainReads(run, servers);
		compare(picture, servers, total);
	}
	list(run.rows);
}

const manufacturer = 'Watch the goroutine';

async function runWrites(count) {
	const before = await metrics();
	let run, after;
	try {
		run = await measure(count, () => 'api/cars', (url, i) => write('POST', url, { body: { name: `Write ${i + 1} of ${count}`, manufacturer }, signal }));
		after = await metrics();
	} finally {
		await cleanUp();
	}
	say(run);
	const done = run.rows.filter(({ failed }) => !failed);
	if (done.length > 0) {
		// All writes of a batch are answered with the same version.
		const batches = done[0].version ? [...Map.groupBy(done, ({ version }) => version).values()] : [];
		batches.sort(([a], [b]) => a.answered - b.answered);
		batches.forEach((batch, i) => batch.forEach((row) => { row.batch = i + 1; }));
		const syncs = after.count - before.count; // NaN if it is not known
		const mean = (1000 * (after.sum - before.sum)) / syncs;
		const judged = counted(done.length, 'write');
		const inBatches = `in ${counted(batches.length, 'batch', 'batches')}`;
		if (batches.length > 0) share(picture, `${judged} ${inBatches}`, batches.map((batch) => batch.map(({ number }) => number)));
		if (syncs) compare(picture, [measured(counted(syncs, 'sync'), 'sync', syncs, mean), { ...measured(`A sync for each of ${done.length}`, 'sync', done.length, mean), how: 'computed' }]);
		explanation.textContent = [
			`The goroutine judged ${judged} one after the other${batches.length > 0 ? `, ${inBatches} of up to ${Math.max(...batches.map(({ length }) => length))}: what came due during one shared the next` : ''}.`,
			syncs ? `The disk synced ${syncs === 1 ? 'once' : `${syncs} times`} and took ${ms(mean)} for it on average; a sync for each write would have kept it busy for ${ms(mean * done.length)}.`
				: 'How long the disk took is not known: /metrics is not open here, or the cars are not in a file.',
			`Nobody was told of success before ${syncs ? 'it was on the disk' : 'the batch was done'}, and all of a batch were told together; the cars have been deleted again.`,
		].join(' ');
	}
	list(run.rows);
}

// measured is something to compare: count bars, one after the other.
const measured = (name, kind, count, width) => ({
	name, how: 'measured', total: count * width, loops: 1,
	bars: Array.from({ length: count }, (_, i) => ({ kind: i % 2 ? `${kind} even` : kind, x: i * width, width, loop: 0 })),
});

// cleanUp deletes the cars that runs have added, those of a tab that was closed, too.
async function cleanUp() {
	progress.textContent = 'Deleting the cars again …';
	const { data } = await read(`api/cars?manufacturer=${encodeURIComponent(manufacturer)}`, { waiting });
	const gone = await Promise.allSettled(data.map(({ id }) => write('DELETE', `api/cars/${id}`)));
	const left = gone.filter(({ reason }) => reason && reason.status !== 404).length;
	if (left > 0) throw new Error(`${counted(left, 'car')} of “${manufacturer}” could not be deleted.`);
}

const waiting = (reason) => { progress.textContent = `${reason} Trying again …`; };

// measure sends count requests at once, and draws each when it is answered.
async function measure(count, path, request) {
	const { names, address } = await spread();
	hold(names === 1 || writes()); // the cars that a run adds are not shown
	runs++;
	// Each has an address of its own: a browser sends equal ones one after the other.
	const urls = Array.from({ length: count }, (_, i) => address(`${path(i)}?_limit=0&run=${runs}.${i + 1}`, i));
	const waterfall = draw(picture, count);
	// Before a page may write at another name, the browser asks there (a CORS preflight).
	if (writes() && names > 1) await Promise.all(urls.map((url) => fetch(url, { method: 'HEAD', headers: { 'Content-Type': 'application/json', ...authorization() }, signal })));
	progress.textContent = `${requests(urls)} on the way …`;
	const start = performance.now();
	waterfall.start(start);
	try {
		const rows = await Promise.all(urls.map(async (url, i) => {
			const row = { number: i + 1, ...await timed(url, start, () => request(url, i)) };
			waterfall.add(i, row);
			return row;
		}));
		const run = { rows, names, total: Math.max(...rows.map(({ end }) => end)), processed: rows.filter(({ process }) => process) };
		waterfall.finish(run.total, `Waterfall of ${requests(rows)}`);
		say(run);
		const hands = over(run.processed.map(({ received, answered }) => [received, answered]));
		run.inside = peak(hands);
		if (hands.length > 0) area(picture, 'In the goroutine’s hands', hands, run.inside, run.total);
		else explanation.textContent = 'None was processed, so there is nothing to see.';
		return run;
	} finally {
		waterfall.stop();
		arrived.clear();
	}
}

const arrived = new Map(); // by URL, what to call with what the browser has measured
new PerformanceObserver((list) => {
	for (const entry of list.getEntries()) arrived.get(entry.name)?.(entry);
}).observe({ type: 'resource' });

// timed returns where the time of one request went, in ms from start.
async function timed(url, start, request) {
	const entry = new Promise((resolve) => {
		arrived.set(url, (timing) => { if (timing.startTime >= start) resolve(timing); });
	});
	let answer;
	try {
		answer = await request();
	} catch (error) {
		signal.throwIfAborted();
		answer = error;
	}
	const { status, timing: { queue = 0, process = 0 } = {}, version } = answer;
	let end = performance.now() - start;
	// The entry may come a little later than the answer, or never.
	const { requestStart, responseEnd, nextHopProtocol: protocol } = await Promise.race([entry, pause(1000)]) ?? {};
	if (responseEnd) end = responseEnd - start;
	const out = requestStart ? requestStart - start : end; // it may never have been sent
	const received = out + queue;
	const answered = received + process;
	return { failed: answer instanceof Error, status, version, out, queue, process, received, answered, end, rest: Math.max(0, end - answered), protocol };
}

// metrics returns the count of syncs and the sum of their seconds, if /metrics is open.
async function metrics() {
	const response = await fetch('metrics', { cache: 'no-store', headers: authorization(), signal }).catch(() => {});
	return named(response?.ok ? await response.text() : '', /^cars_journal_sync_seconds_(sum|count) (.*)$/gm);
}

function say({ rows, total }) {
	const failures = rows.filter(({ failed }) => failed);
	const statuses = [...new Set(failures.map(shownStatus))].join(', ');
	progress.textContent = `${requests(rows)} in ${ms(total)}${failures.length ? `; ${failures.length} of them failed (${statuses})` : ''}.`;
	element('failed').hidden = failures.length === 0;
}

const shownStatus = ({ status }) => status || 'no answer';

function list(rows) {
	numbers.hidden = false;
	element('batch').hidden = !rows.some(({ batch }) => batch);
	numbers.querySelector('tbody').replaceChildren(...rows.map((row) => {
		const line = make('tr');
		const times = [row.out, row.queue, row.process, row.rest, row.end].map((time) => time.toFixed(3));
		for (const value of [row.number, shownStatus(row), ...times, row.batch ?? []].flat()) line.insertCell().textContent = value;
		return line;
	}));
}

// sleeping computes the times of loops that sleep through each processing time. A loop that
// is free takes the next request that has arrived.
function sleeping(rows, loops) {
	const free = new Array(loops).fill(0);
	let total = 0;
	const bars = rows.toSorted((a, b) => a.out - b.out).map(({ out, process, rest }, i) => {
		const loop = free.indexOf(Math.min(...free));
		const x = Math.max(free[loop], out);
		free[loop] = x + process;
		total = Math.max(total, free[loop] + rest);
		return { kind: i % (2 * loops) < loops ? 'slept' : 'slept even', x, width: process, loop };
	});
	return { how: 'computed', total, loops, bars };
}

// over returns how many spans last, at each time at which that changes.
function over(spans) {
	let now = 0;
	return spans.flatMap(([from, to]) => [[from, 1], [to, -1]])
		.sort((a, b) => a[0] - b[0] || a[1] - b[1])
		.map(([time, step]) => [time, now += step]);
}

const peak = (steps) => Math.max(...steps.map(([, number]) => number));

function explainReads({ rows, inside, names }, [ours, pool, loop]) {
	const protocol = rows.find((row) => row.protocol)?.protocol;
	const name = { 'http/1.1': 'HTTP/1.1', h2: 'HTTP/2' }[protocol] ?? 'this connection';
	const out = peak(over(rows.map((row) => [row.out, row.end])));
	const typical = rows.map(({ process }) => process).sort((a, b) => a - b)[rows.length >> 1];
	return [
		names === 1 && protocol === 'http/1.1' && out < rows.length
			? `The browser limits this picture: over HTTP/1.1 it lets only ${out} of ${requests(rows)} on their way at a time, and the others wait in it (dotted).`
			: `${requests(rows)} set out at once over ${name}${names > 1 ? `, to ${Math.min(names, rows.length)} names of this machine since a browser opens only six connections to each` : ''}, and up to ${out} were on the way at the same moment.`,
		typical < 1
			? `Processing took the server only ${ms(typical)} each, so nearly all one sees is the browser and the network.`
			: `Each took ${ms(typical)} of processing, but the one goroutine slept through none of it: it had up to ${inside} in hand at the same moment.`,
		`The last was answered after ${ms(ours.total)}; for the same requests, a pool of five loops that sleep would have taken ${ms(pool.total)}, and one such loop ${ms(loop.total)}.`,
	].join(' ');
}

const requests = ({ length }) => counted(length, 'request');
