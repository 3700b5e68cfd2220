// One car: what is known of it, and deleting it.

import { read, write } from './api.js';
import { load, loadChoices, shown } from './catalogue.js';
import { resolve } from './conflict.js';
import { edit } from './editor.js';
import { fields, get, picture, show } from './fields.js';
import { element, say } from './page.js';

const dialog = element('car');
const message = dialog.querySelector('.message');

let car; // on show
let etag; // of what the server said of it; undefined until it has
let request = new AbortController();
let answered; // when the server has said it

// open shows the car with this ID: at once what the list knows, then what the server
// says.
export function open(id) {
	request.abort();
	request = new AbortController();
	etag = undefined;
	fill(shown.get(id) ?? { id });
	if (!dialog.open) dialog.showModal();
	answered = refresh(id, request.signal);
}

async function refresh(id, signal) {
	try {
		const answer = await read(path(id), { signal, waiting: (reason) => { message.textContent = `${reason} Trying again …`; } });
		etag = answer.etag;
		fill(answer.data);
	} catch (error) {
		if (!signal.aborted) message.textContent = error.message;
	}
}

export function close() {
	dialog.close();
}

export function onClose(listener) {
	dialog.addEventListener('close', listener);
}

const path = (id) => `/api/cars/${id}`;

function fill(what) {
	car = what;
	message.textContent = '';
	element('car-name').textContent = car.name ?? `Car ${car.id}`;
	picture(dialog.querySelector('img'), car);
	dialog.querySelector('dl').replaceChildren(...fields.slice(1).flatMap(({ path, label }) => {
		const term = document.createElement('dt');
		const value = document.createElement('dd');
		term.textContent = label;
		value.textContent = show(path, get(car, path)) || '–';
		return [term, value];
	}));
}

dialog.addEventListener('close', () => request.abort());

element('edit').addEventListener('click', async () => {
	await answered;
	if (!etag) return;
	const answer = await edit(car, etag);
	if (!answer) return;
	etag = answer.etag;
	fill(answer.data);
	say(`${car.name} was saved.`);
	changed();
});

element('add').addEventListener('click', async () => {
	const answer = await edit();
	if (!answer) return;
	say(`${answer.data.name} was added as car ${answer.data.id}.`);
	changed();
});

element('delete').addEventListener('click', async () => {
	await answered;
	if (!etag) return;
	try {
		const deleted = await remove();
		if (!deleted) return;
		dialog.close();
		changed();
		say(`${deleted.name} was deleted.`, () => restore(deleted));
	} catch (error) {
		message.textContent = error.unknown
			? `${error.message} Whether the car was deleted is not known. Delete it again to find out.`
			: error.message;
		if (error.status === 404) changed();
	}
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
	try {
		await write('POST', '/api/cars', { body: deleted });
		say(`${deleted.name} is back.`);
	} catch (error) {
		if (error.status === 409) say(`There is a car ${deleted.id} again.`);
		else say(`${error.message} ${deleted.name} ${error.unknown ? 'may be back or not' : 'could not be put back'}.`, () => restore(deleted));
	}
	await changed();
	document.querySelector(`[data-id="${deleted.id}"] a`)?.focus();
}

function changed() {
	loadChoices();
	return load();
}
