// The catalogue: the cards, what they are filtered by, and the pages.

import { read } from './api.js';
import { picture, show } from './fields.js';
import { element } from './page.js';
import { change, params, query } from './view.js';

const filters = element('filters');
const list = element('list');
const trouble = element('trouble');
const status = element('status').firstElementChild;

// The cars on show, by ID.
export let shown = new Map();

let request = new AbortController();
let loaded; // the query string on show

// load asks for what the address bar says. Whatever was asked before is outdated; the
// server drops it.
export async function load() {
	clearTimeout(typing);
	request.abort();
	request = new AbortController();
	const { signal } = request;
	loaded = location.search;
	showControls();
	list.ariaBusy = 'true';
	try {
		const asked = query();
		const { data, total } = await read(`/api/cars?${asked}`, { signal, waiting });
		waiting('');
		showCars(data, total, asked);
	} catch (error) {
		if (signal.aborted) return;
		waiting('');
		showError(error);
	}
	list.ariaBusy = 'false';
}

// loadIfMoved is load, unless the address bar says what is on show.
export function loadIfMoved() {
	if (location.search === loaded) return;
	typed = undefined;
	load();
}

// waiting says why there is no answer yet, and when the next attempt is made. Only the
// reason is read out: a voice that counts would be a nuisance.
function waiting(reason, seconds) {
	if (reason && status.textContent !== reason) status.textContent = reason;
	element('countdown').textContent = reason && (seconds > 0 ? `Trying again in ${seconds} s.` : 'Trying again …');
	element('retry').hidden = !reason;
	element('status').classList.toggle('waiting', Boolean(reason));
}

function showCars(cars, total, asked) {
	shown = new Map(cars.map((car) => [car.id, car]));
	list.replaceChildren(...cars.map(card));
	trouble.hidden = true;
	const page = Number(asked.get('_page')) || 1;
	const size = Number(asked.get('_limit') || asked.get('_per_page')) || 10;
	const first = (page - 1) * size + 1;
	if (total === 0) status.textContent = location.search ? 'No car matches.' : 'There are no cars yet.';
	else if (cars.length === 0) status.textContent = `No cars here; there are ${total}.`;
	else if (cars.length === total) status.textContent = total === 1 ? '1 car' : `${total} cars`;
	else if (asked.has('_page')) status.textContent = `Cars ${first} to ${first + cars.length - 1} of ${total}`;
	else status.textContent = `${cars.length} of ${total} cars`;
	showPages(page, asked.has('_page') ? Math.ceil(total / size) : 0);
}

function card(car) {
	const item = element('card').content.cloneNode(true).firstElementChild;
	item.dataset.id = car.id;
	picture(item.querySelector('img'), car);
	const link = item.querySelector('a');
	link.textContent = car.name;
	link.href = `#car-${car.id}`;
	const hp = car.details.horsepower;
	item.querySelector('.facts').textContent = [car.year, car.category, hp && `${hp} hp`].filter(Boolean).join(' · ');
	item.querySelector('.price').textContent = show('price', car.price) || 'No price';
	return item;
}

function showPages(page, pages) {
	element('pages').hidden = pages < 2 && page < 2;
	element('page').textContent = `Page ${page} of ${pages}`;
	// They stay focusable: who pages with the keyboard must not lose their place.
	for (const [id, to] of [['first', 1], ['previous', Math.min(page - 1, pages)], ['next', page + 1], ['last', pages]]) {
		element(id).value = to;
		element(id).ariaDisabled = String(to === page || to < 1 || to > pages);
	}
}

function showError(error) {
	shown = new Map();
	list.replaceChildren();
	showPages(1, 0);
	status.textContent = 'The cars cannot be shown.';
	trouble.hidden = false;
	trouble.querySelector('p').textContent = error.message;
}

// showControls has every control say what the address bar does.
function showControls() {
	for (const control of filters.elements) {
		const value = said(control);
		control.querySelector('.odd')?.remove();
		if (control.matches('select') && value && ![...control.options].some((option) => option.value === value)) {
			control.add(new Option(value, value));
			control.lastElementChild.className = 'odd'; // to be gone with the address
		}
		if (control !== typed) control.value = value; // nobody is corrected while typing
	}
	element('clear').hidden = !location.search;
	element('json').href = element('json').textContent = `/api/cars${location.search}`;
}

// said is what the address bar says of a control, in one text.
function said({ name }) {
	const values = params().getAll(name).filter(Boolean).join(', ');
	return name === '_sort' && values ? `${values} ${params().get('_order') ?? ''}`.trim() : values;
}

let choices = new AbortController();

// loadChoices offers the manufacturers and categories that there are, as far as a
// thousand cars tell.
export async function loadChoices() {
	choices.abort();
	choices = new AbortController();
	const { data } = await read('/api/cars?_limit=1000', choices).catch(() => ({}));
	if (!data) return;
	for (const name of ['manufacturer', 'category']) {
		const values = [...new Set(data.map((car) => car[name]).filter(Boolean))].sort((a, b) => a.localeCompare(b, 'en'));
		const options = () => values.map((value) => new Option(value, value));
		const select = element(name);
		select.replaceChildren(select.options[0], ...options());
		element(`${name}-list`).replaceChildren(...options());
	}
	showControls();
}

let typing; // the timer of what is being typed
let typed; // the control that is being typed into

// apply has the address bar say what a control does.
function apply(control) {
	clearTimeout(typing);
	const value = control.value.trim();
	if (value === said(control)) return;
	change({ [control.name]: value, _page: '', ...(control.name === '_sort' && { _order: '' }) }, control === typed);
	typed = control;
	load();
}

filters.addEventListener('input', ({ target }) => {
	clearTimeout(typing);
	typing = setTimeout(apply, 150, target);
});
filters.addEventListener('change', ({ target }) => { // it is left, or chosen
	apply(target);
	typed = undefined;
});
filters.addEventListener('submit', (event) => event.preventDefault());

element('pages').addEventListener('click', ({ target }) => {
	if (target.value === undefined || target.ariaDisabled === 'true') return;
	change({ _page: target.value, _limit: query().get('_limit') ?? '' });
	load();
	element('catalogue-title').focus();
});

element('clear').addEventListener('click', () => {
	history.pushState(null, '', location.pathname);
	load();
	element('search').focus();
});

element('retry').addEventListener('click', load);
element('again').addEventListener('click', load);
