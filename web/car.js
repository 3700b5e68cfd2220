// One car: what is known of it, and deleting it.

import { read, write } from './api.js';
import { expect, load, shown, tell } from './catalogue.js';
import { resolve } from './conflict.js';
import { edit } from './editor.js';
import { differing, fields, get, labels, picture, show } from './fields.js';
import { onStep } from './live.js';
import { during, element, make, on, quote, say } from './page.js';

const dialog = element('car');
const message = dialog.querySelector('.message');
const news = dialog.querySelector('.news');

let car; // on show
let etag; // of what the server said of it; undefined until it has
let request = new AbortController();
let answered; // when the server has said it
let writing = false; // something of the user's own is under way
let stale = false; // the car was changed meanwhile

// open shows at once what the list knows of a car, then what the server says.
export function open(id) {
	request.abort();
	request = new AbortController();
	const { signal } = request;
	etag = undefined;
	stale = false;
	fill(shown.get(id) ?? { id });
	if (!dialog.open) dialog.showModal();
	news.textContent = 'Reading …';
	answered = refresh(id, signal);
}

async function refresh(id, signal) {
	try {
		const answer = await read(path(id), { signal, waiting: (reason) => { message.textContent = `${reason} Trying again …`; } });
		etag = answer.etag;
		fill(answer.data);
	} catch (error) {
		if (signal.aborted) return;
		etag = undefined;
		message.textContent = error.status === 404 && car.name ? 'This car was deleted meanwhile.'
			: error.status === 404 ? 'There is no such car. It may have been deleted.' : error.message;
		dialog.classList.toggle('gone', error.status === 404);
		news.textContent = '';
	}
}

// renew shows what has become of the car, and marks what is new.
async function renew() {
	stale = false;
	const before = car;
	answered = refresh(car.id, request.signal);
	await answered;
	const changed = differing(before, car);
	if (before === car || changed.length === 0) return;
	news.textContent = `Changed just now, not by you: ${labels(changed)}.`;
	for (const { path } of changed) dialog.querySelector(`[data-path="${path}"]`).classList.add('changed');
}

onStep((step) => {
	if (!dialog.open || !car) return;
	const now = step?.put.find(({ id }) => id === car.id);
	if (step && !step.delete.includes(car.id) && !(now && differing(now, car).length > 0)) return;
	if (writing) stale = true;
	else renew();
});

export const close = () => dialog.close();

export const onClose = (listener) => on('car', 'close', listener);

const path = (id) => `api/cars/${id}`;

function fill(what) {
	car = what;
	message.textContent = news.textContent = '';
	dialog.classList.toggle('missing', !car.name);
	dialog.classList.toggle('gone', !car.name);
	element('car-name').textContent = car.name ?? `Car ${car.id}`;
	if (!car.name) return;
	picture(dialog.querySelector('img'), car);
	dialog.querySelector('dl').replaceChildren(...fields.slice(1).flatMap(({ path, label }) => {
		const value = make('dd', show(path, get(car, path)) || '–', { dir: 'auto' });
		value.dataset.path = path;
		return [make('dt', label), value];
	}));
}

on('car', 'close', () => request.abort());

// own does something of the user's, and then catches up with others.
async function own(work) {
	writing = true;
	try {
		return await work();
	} finally {
		writing = false;
		if (stale && dialog.open) renew();
	}
}

on('edit', 'click', async ({ target }) => {
	await during(target, 'Reading …', answered);
	if (!etag) return;
	await own(async () => {
		const answer = await edit(car, etag);
		if (!answer) return;
		stale = false;
		etag = answer.etag;
		fill(answer.data);
		say([quote(car.name), ' was saved.']);
		tell({ put: [car], delete: [] });
		load();
	});
});

on('add', 'click', async () => {
	const answer = await edit();
	if (!answer) return;
	const { id, name } = answer.data;
	expect(id);
	say([quote(name), ` was added as car ${id}. `, make('a', 'Show it', { href: `#car-${id}` })]);
	tell({ put: [answer.data], delete: [] });
	load();
});

on('delete', 'click', async ({ target }) => {
	if (writing) return;
	await during(target, 'Deleting …', own(async () => {
		await answered;
		if (!etag) return;
		try {
			const deleted = await remove();
			if (!deleted) return;
			dialog.close();
			tell({ put: [], delete: [deleted.id] });
			load();
			say([quote(deleted.name), ' was deleted.'], () => restore(deleted));
		} catch (error) {
			message.textContent = error.message + (error.unknown ? ' Whether the car was deleted is not known. Delete it again to find out.' : '');
			if (error.status === 404) load();
		}
	}));
});

// remove deletes the car, if it is as it is shown or the user has seen how it is, and
// returns it as it was.
async function remove() {
	for (;;) {
		try {
			return (await write('DELETE', path(car.id), { etag })).data;
		} catch (error) {
			if (error.status !== 412) throw error;
		}
		const current = await read(path(car.id));
		const choice = await resolve(car, current.data);
		if (!choice) return;
		({ etag } = current);
		fill(current.data);
		if (choice === 'theirs') return;
	}
}

// restore puts a deleted car back under its number, which nobody else is given.
async function restore(deleted) {
	const name = quote(deleted.name);
	say([name, ' is being put back …']);
	expect(deleted.id);
	try {
		await write('POST', 'api/cars', { body: deleted });
		say([name, ' is back.']);
	} catch (error) {
		if (error.status === 409) say([`There is a car ${deleted.id} again.`]);
		else say([`${error.message} `, name, ` ${error.unknown ? 'may be back or not' : 'could not be put back'}.`], () => restore(deleted));
	}
	await load();
	document.querySelector(`[data-id="${deleted.id}"] a`)?.focus();
}
