// The dialog of one car: it shows the car, and deletes it.

import { read, write } from './api.js';
import { did, load, shown } from './catalogue.js';
import { resolve } from './conflict.js';
import { edit } from './editor.js';
import { address, differing, fields, get, labels, picture, show } from './fields.js';
import { onStep } from './live.js';
import { during, element, make, on, quote, say, value } from './page.js';

const dialog = element('car');
const [news, message] = dialog.querySelectorAll('p');

let car; // on show
let etag; // of car, from the server; undefined until it has answered
let request = new AbortController();
let answered; // a promise of the server's answer
let writing = false; // the user edits or deletes the car
let stale = false; // the car was changed meanwhile

// open shows a car as the list has it, and then as the server has it.
export function open(id) {
	request.abort();
	request = new AbortController();
	etag = undefined;
	stale = false;
	fill(shown.get(id) ?? { id });
	if (!dialog.open) dialog.showModal();
	news.textContent = 'Reading …';
	refresh();
}

function refresh() {
	const { signal } = request;
	answered = read(address(car.id), { signal, waiting: (reason) => { message.textContent = `${reason} Trying again …`; } }).then((answer) => {
		etag = answer.etag;
		fill(answer.data);
	}, (error) => {
		if (signal.aborted) return;
		etag = undefined;
		const gone = error.status === 404;
		message.textContent = !gone ? error.message : car.name ? 'This car was deleted meanwhile.' : 'There is no such car. It may have been deleted.';
		dialog.classList.toggle('gone', gone);
		news.textContent = '';
	});
	return answered;
}

async function renew() {
	stale = false;
	const before = car;
	await refresh();
	const changed = differing(before, car);
	if (changed.length === 0) return;
	news.textContent = `Changed just now, not by you: ${labels(changed)}.`;
	for (const { path } of changed) dialog.querySelector(`[data-path="${path}"]`).classList.add('changed');
}

onStep((step) => {
	if (!dialog.open) return;
	const now = step?.put.find(({ id }) => id === car.id);
	if (step && !step.delete.includes(car.id) && !(now && differing(now, car).length > 0)) return;
	if (writing) stale = true;
	else renew();
});

function fill(what) {
	car = what;
	message.textContent = news.textContent = '';
	dialog.classList.toggle('missing', !car.name);
	dialog.classList.toggle('gone', !car.name);
	element('car-name').textContent = car.name ?? `Car ${car.id}`;
	if (!car.name) return;
	picture(dialog.querySelector('img'), car);
	dialog.querySelector('dl').replaceChildren(...fields.slice(1).flatMap(({ path, label }) => {
		const cell = value('dd', show(path, get(car, path)));
		cell.dataset.path = path;
		return [make('dt', label), cell];
	}));
}

on('car', 'close', () => request.abort());

async function own(work) {
	writing = true;
	try {
		await work();
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
		did([car]);
	});
});

on('add', 'click', async () => {
	const answer = await edit();
	if (!answer) return;
	const { id, name } = answer.data;
	say([quote(name), ` was added as car ${id}. `, make('a', 'Show it', { href: `#car-${id}` })]);
	did([answer.data]);
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
			did([], [deleted.id]);
			say([quote(deleted.name), ' was deleted.'], () => restore(deleted));
		} catch (error) {
			message.textContent = error.message + (error.unknown ? ' Whether the car was deleted is not known. Delete it again to find out.' : '');
			if (error.status === 404) load();
		}
	}));
});

// remove deletes the car, and returns it. If it is not as shown, the user decides.
async function remove() {
	for (;;) {
		try {
			return (await write('DELETE', address(car.id), { etag })).data;
		} catch (error) {
			if (error.status !== 412) throw error;
		}
		const current = await read(address(car.id));
		const choice = await resolve(car, current.data);
		if (!choice) return;
		({ etag } = current);
		fill(current.data);
		if (choice === 'theirs') return;
	}
}

// restore puts a deleted car back, under its ID.
async function restore(deleted) {
	const { id } = deleted;
	const name = quote(deleted.name);
	say([name, ' is being put back …']);
	try {
		await write('POST', 'api/cars', { body: deleted });
		say([name, ' is back.']);
	} catch (error) {
		if (error.status === 409) say([`There is a car ${id} again.`]);
		else say([`${error.message} `, name, ` ${error.unknown ? 'may be back or not' : 'could not be put back'}.`], () => restore(deleted));
	}
	await load();
	document.querySelector(`[data-id="${id}"] a`)?.focus();
}
