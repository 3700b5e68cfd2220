// The changes by others, as they happen: the server's event stream for the list on show.
// Over HTTP/1.1 a browser has six connections to a server, for all its tabs, and a stream
// keeps one. So a tab has a stream only while it can be seen, and then catches up.

import { element } from './page.js';

const listeners = [];

let filters; // of the list on show
let version; // up to which its changes are known; undefined: it cannot be followed
let source;
let retry;
let held = false;

// onStep has listener called with each step, { put: [car …], delete: [id …] }, or with
// undefined if the list must be read again.
export const onStep = (listener) => listeners.push(listener);

export const isFollowed = (query) => filters === filtersOf(query);

// follow has listeners told the changes in a list that was read at version at. It returns
// true if the stream goes on, and false if another begins.
export function follow(query, at) {
	const goesOn = Boolean(at) && isFollowed(query);
	filters = filtersOf(query);
	if (!goesOn || source?.readyState !== EventSource.OPEN) version = at;
	if (!goesOn) connect();
	return goesOn;
}

// hold(true) ends the stream until hold(false): other requests need its connection.
export function hold(on) {
	if (held === on) return;
	held = on;
	connect();
}

// filtersOf returns query without what a stream does not have: order and pages.
function filtersOf(query) {
	const filters = new URLSearchParams(query);
	for (const name of ['_sort', '_order', '_page', '_limit', '_per_page', '_start', '_end', '_since']) filters.delete(name);
	return filters.toString();
}

function connect() {
	clearTimeout(retry);
	source?.close();
	source = undefined;
	show(false);
	if (document.hidden || held || !version) return;
	source = new EventSource(`api/cars?${filters && `${filters}&`}_since=${encodeURIComponent(version)}`);
	source.addEventListener('ready', () => show(true));
	for (const type of ['change', 'reset']) {
		source.addEventListener(type, ({ data, lastEventId }) => {
			version = lastEventId;
			for (const listener of listeners) listener(type === 'change' ? JSON.parse(data) : undefined);
		});
	}
	source.onerror = () => {
		show(false);
		// EventSource tries again by itself, but not after a refusal.
		if (source?.readyState === EventSource.CLOSED) retry = setTimeout(connect, 30_000);
	};
}

const show = (on) => { element('live').hidden = !on; };

document.addEventListener('visibilitychange', connect);
