// Watch the goroutine: many requests at once, and a picture of where their time went.
// All is measured, by the server (Server-Timing) and the browser (Resource Timing), but
// what others would have needed: that is computed from the processing times.

import { read } from './api.js';
import { element } from './page.js';
import { compare, draw, ms } from './waterfall.js';

const progress = element('progress');

let runs = 0;
let stop; // aborts the run under way

element('requests').addEventListener('input', ({ target }) => { element('count').value = target.value; });

element('watch').addEventListener('submit', async (event) => {
	event.preventDefault();
	if (stop) {
		stop.abort();
		return;
	}
	stop = new AbortController();
	element('send').textContent = 'Stop';
	try {
		await run(Number(element('requests').value), stop.signal);
	} catch (error) {
		progress.textContent = stop.signal.aborted ? 'Stopped.' : error.message;
	}
	stop = undefined;
	element('send').textContent = 'Send';
});

// run sends count requests and draws each when it is answered.
async function run(count, signal) {
	const { data: cars } = await read(`/api/cars?_limit=${count}`, {
		signal,
		waiting: (reason) => { progress.textContent = `${reason} Trying again …`; },
	});
	element('waterfall').hidden = false;
	element('explanation').textContent = '';
	element('numbers').hidden = true;
	runs++;
	// Each has an address of its own: of equal ones, a browser sends one after the other.
	const paths = Array.from({ length: count }, (_, i) => `/api/cars/${cars[i % cars.length]?.id ?? 1}?run=${runs}.${i + 1}`);
	const waterfall = draw(element('picture'), count);
	const measured = observe();
	progress.textContent = `${requests(paths)} on the way …`;
	const start = performance.now();
	waterfall.start(start);
	try {
		const rows = await Promise.all(paths.map(async (path, i) => {
			const row = await send(path, start, measured, signal);
			waterfall.add(i, row);
			return row;
		}));
		conclude(rows, waterfall);
	} finally {
		waterfall.stop();
		measured.disconnect();
	}
}

// send returns where the time of one request went, in ms from start.
async function send(path, start, measured, signal) {
	const entry = measured.entry(path);
	const row = { status: 0, queue: 0, process: 0 };
	try {
		const response = await fetch(path, { cache: 'no-store', signal });
		await response.arrayBuffer();
		row.status = response.status;
		for (const [, name, value] of (response.headers.get('Server-Timing') ?? '').matchAll(/(queue|process);dur=([\d.]+)/g)) row[name] = Number(value);
	} catch {
		signal.throwIfAborted();
	}
	row.end = performance.now() - start;
	const { requestStart, responseEnd, nextHopProtocol } = await entry(1000) ?? {};
	if (responseEnd) row.end = responseEnd - start;
	row.out = requestStart ? requestStart - start : row.end; // it may never have got out
	row.rest = Math.max(0, row.end - row.out - row.queue - row.process);
	row.protocol = nextHopProtocol;
	row.failed = row.status !== 200;
	return row;
}

// observe collects what the browser measures. Its entry of a request may come a little
// later than the answer, or never.
function observe() {
	const arrived = new Map();
	const observer = new PerformanceObserver((list) => {
		for (const entry of list.getEntries()) arrived.get(entry.name)?.(entry);
	});
	observer.observe({ type: 'resource' });
	return {
		disconnect: () => observer.disconnect(),
		entry(path) {
			const entry = new Promise((resolve) => { arrived.set(new URL(path, location.href).href, resolve); });
			return (ms) => Promise.race([entry, new Promise((resolve) => setTimeout(resolve, ms))]);
		},
	};
}

function conclude(rows, waterfall) {
	const total = Math.max(...rows.map((row) => row.end));
	const servers = [
		{ name: 'This server', how: 'measured', total, loops: 1, bars: [{ kind: 'process', x: 0, width: total, loop: 0 }] },
		{ name: 'Pool of five', ...sleeping(rows, 5) },
		{ name: 'Sleeping loop', ...sleeping(rows, 1) },
	];
	const failures = rows.filter((row) => row.failed);
	const statuses = [...new Set(failures.map((row) => row.status || 'no answer'))].join(', ');
	progress.textContent = `${requests(rows)} in ${ms(total)}${failures.length ? `; ${failures.length} of them failed (${statuses})` : ''}.`;
	element('failed').hidden = failures.length === 0;
	const processed = rows.some((row) => row.process);
	const explanation = processed ? explain(rows, servers) : 'None was processed, so there is nothing to compare.';
	element('explanation').textContent = explanation;
	waterfall.finish(total, `Waterfall of ${requests(rows)}. ${explanation}`);
	if (processed) compare(element('picture'), servers);
	list(rows);
}

// list writes out what is drawn.
function list(rows) {
	element('numbers').hidden = false;
	element('numbers').querySelector('tbody').replaceChildren(...rows.map((row, i) => {
		const line = document.createElement('tr');
		const times = [row.out, row.queue, row.process, row.rest, row.end].map((time) => time.toFixed(3));
		for (const value of [i + 1, row.status || 'no answer', ...times]) line.insertCell().textContent = value;
		return line;
	}));
}

// sleeping computes how loops that sleep through each processing time would have done,
// each taking the next request when it is free.
function sleeping(rows, loops) {
	const free = new Array(loops).fill(0);
	const bars = rows.map(({ process }, i) => {
		const loop = free.indexOf(Math.min(...free));
		free[loop] += process;
		return { kind: i % (2 * loops) < loops ? 'slept' : 'slept even', x: free[loop] - process, width: process, loop };
	});
	return { how: 'computed', total: Math.max(...free), loops, bars };
}

// peak returns how many spans of rows overlap at most.
function peak(rows, span) {
	const steps = rows.map(span).flatMap(([from, to]) => [[from, 1], [to, -1]]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
	let now = 0;
	return Math.max(...steps.map(([, step]) => (now += step)));
}

// explain says in three sentences what one sees.
function explain(rows, [ours, pool, loop]) {
	const protocol = rows.find((row) => row.protocol)?.protocol;
	const name = { 'http/1.1': 'HTTP/1.1', h2: 'HTTP/2' }[protocol] ?? 'this connection';
	const out = peak(rows, (row) => [row.out, row.end]);
	const inside = peak(rows, ({ out, queue, process }) => [out + queue, out + queue + process]);
	const typical = rows.map((row) => row.process).sort((a, b) => a - b)[rows.length >> 1];
	return [
		protocol === 'http/1.1' && out < rows.length
			? `${requests(rows)} set out at once, but over HTTP/1.1 the browser lets only ${out} of them on their way at a time: the others wait in it (dotted).`
			: `${requests(rows)} set out at once over ${name}, and up to ${out} were on the way at the same moment.`,
		typical < 1
			? `Processing took the server only ${ms(typical)} each, so nearly all one sees is the browser and the network.`
			: `Each took ${ms(typical)} of processing, but the one goroutine slept through none of it: it had up to ${inside} in hand at the same moment.`,
		`The last was answered after ${ms(ours.total)}; a loop that sleeps would have needed ${ms(loop.total)} for the processing alone, and a pool of five such loops ${ms(pool.total)}.`,
	].join(' ');
}

const requests = (rows) => (rows.length === 1 ? '1 request' : `${rows.length} requests`);
