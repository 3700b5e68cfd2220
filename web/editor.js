// The form in which a car is made or changed.

import { read, write } from './api.js';
import { load } from './catalogue.js';
import { resolve } from './conflict.js';
import { address, differing, fields, get, labels, nest } from './fields.js';
import { isFollowed, onStep } from './live.js';
import { during, element, on, quote, say } from './page.js';

const dialog = element('editor');
const form = dialog.firstElementChild;
const [news, message] = form.querySelectorAll('p');

let base; // the car as it was read, and its ETag; undefined for a new one
let id; // of a new car; undefined for the next ID
let request; // the write on its way
let done; // ends edit

const inputs = fields.map(({ path, label, number, required, suggest }) => {
	const field = element('field').content.cloneNode(true);
	const [name, input, wrong] = field.firstElementChild.children;
	Object.assign(input, { id: `edit-${path}`, name: path, required, dir: 'auto' });
	// Not type=number, which hides a text that is no number from the server.
	if (number) input.inputMode = 'numeric';
	if (suggest) input.setAttribute('list', `${path}-list`);
	wrong.id = `${input.id}-wrong`;
	input.setAttribute('aria-describedby', wrong.id);
	name.htmlFor = input.id;
	name.textContent = required ? `${label} (required)` : label;
	form.querySelector('.fields').append(field);
	return input;
});

// edit lets the user change a car, or make a new one, and returns the server's answer, if any.
export function edit(car, etag) {
	base = car && { car, etag };
	id = undefined;
	fill(car);
	element('editor-title').replaceChildren(...(car ? ['Edit ', quote(car.name)] : ['Add a car']));
	element('save').textContent = car ? 'Save' : 'Add';
	dialog.showModal();
	inputs[0].focus();
	return new Promise((resolve) => { done = resolve; });
}

function fill(car) {
	for (const input of inputs) input.defaultValue = (car && get(car, input.name)) || '';
	form.reset();
	complain('');
	news.textContent = '';
}

// Changes by others are shown at once, and settled on saving.
onStep((step) => {
	if (!dialog.open || !base || request || !step) return;
	const now = step.put.find(({ id }) => id === base.car.id);
	if (now) {
		const changed = labels(differing(base.car, now));
		news.textContent = changed && `Somebody has changed this car meanwhile: ${changed}. When you save, you decide what counts.`;
	} else if (step.delete.includes(base.car.id)) {
		news.textContent = `This car was deleted meanwhile${isFollowed('') ? '' : ', or is no longer in this list'}.`;
	}
});

// The server refuses a text that is no number.
const values = (inputs) => Object.fromEntries(inputs.map(({ name, value, inputMode }) => {
	const text = value.trim();
	return [name, inputMode && Number.isFinite(Number(text)) ? Number(text) : text];
}));

form.addEventListener('submit', async (event) => {
	event.preventDefault();
	if (request) return;
	request = new AbortController();
	const { signal } = request;
	form.ariaBusy = 'true';
	complain('');
	try {
		const answer = await during(element('save'), 'Saving …', base ? change(signal)
			: write('POST', 'api/cars', { body: { id, ...nest(values(inputs)) }, signal }));
		if (answer) {
			done(answer);
			dialog.close();
		}
	} catch (error) {
		if (signal.aborted) {
			say(['Whether the car was saved is not known. The list is being read again.']);
			load();
		} else {
			explain(error);
		}
	}
	request = undefined;
	form.ariaBusy = 'false';
});

// change sends the fields that differ from the car as it was read. If it has changed since,
// the user decides. change returns undefined if there is more to edit.
async function change(signal) {
	const changes = values(inputs.filter((input) => input.value !== input.defaultValue));
	const path = address(base.car.id);
	for (let { etag } = base; ;) {
		try {
			return await write('PATCH', path, { body: nest(changes), etag, signal });
		} catch (error) {
			if (error.status !== 412) throw error;
		}
		const current = await read(path, { signal, waiting: complain });
		// An earlier attempt was made, but its answer was lost.
		if (Object.entries(changes).every(([path, value]) => get(current.data, path) === value)) return current;
		const choice = await resolve(base.car, current.data, changes);
		if (choice === '') {
			complain('Nothing was saved.');
			return;
		}
		({ etag } = current);
		if (choice === 'theirs') {
			base = { car: current.data, etag };
			fill(current.data);
			complain('This is the car as it is now.');
			inputs[0].focus();
			return;
		}
	}
}

// explain shows the problem of a field beside it, and all else above.
function explain(error) {
	const others = [];
	for (const [path, problem] of Object.entries(error.fields ?? {})) {
		const input = form.elements[path];
		if (input) judge(input, problem);
		else others.push(`${path} ${problem}.`);
	}
	const first = inputs.find((input) => input.ariaInvalid === 'true');
	if (first) {
		message.textContent = ['Nothing was saved: the fields marked below are wrong.', ...others].join(' ');
		first.focus();
	} else if (error.status === 404 && base) {
		id = base.car.id;
		base = undefined;
		complain('The car was deleted meanwhile. Save to put it back as it is here.');
	} else if (error.unknown) {
		complain(`${error.message} Whether the car was saved is not known. ${base ? 'Save again to find out.' : 'Look for it in the list before you save again.'}`);
		if (!base) load();
	} else {
		if (error.retryAfter) others.push(`Nothing was saved; try again in ${error.retryAfter} s.`);
		complain([error.message, ...others].join(' '));
	}
}

function judge(input, problem) {
	input.ariaInvalid = String(problem !== '');
	element(`${input.id}-wrong`).textContent = problem;
}

function complain(text) {
	message.textContent = text;
	for (const input of inputs) judge(input, '');
}

on('cancel', 'click', () => dialog.close());
on('editor', 'close', () => {
	request?.abort();
	done();
});
