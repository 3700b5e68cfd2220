// The catalogue: its cards, filters and pages.

import { read } from './api.js';
import { count, counted, picture, show } from './fields.js';
import { follow, isFollowed, onStep } from './live.js';
import { element, listTitle, make, on, quote } from './page.js';
import { change, go, params, query } from './view.js';

const filters = element('filters');
const list = element('list');
const trouble = element('trouble');
const status = element('status').firstElementChild;

export let shown = new Map(); // the cars on show, by ID

let request = new AbortController();
let loaded; // the query string on show
let arrived; // steps that come while a list is read; otherwise undefined
let total; // how many cars match

// load reads the list in the address bar, and gives up the one being read.
export async function load() {
	clearTimeout(typing);
	clearTimeout(refilling);
	request.abort();
	request = new AbortController();
	const { signal } = request;
	const asked = query();
	loaded = location.search;
	showControls();
	list.ariaBusy = 'true';
	const steps = arrived = [];
	const slow = setTimeout(() => { status.textContent = 'Loading …'; }, 400);
	try {
		const answer = await read(`api/cars?${asked}`, { signal, waiting });
		arrived = undefined;
		showCars(answer);
		const goesOn = follow(asked, answer.version);
		keepNews(goesOn);
		if (goesOn) steps.forEach(tell); // the list may be older than these steps
	} catch (error) {
		if (signal.aborted) return;
		arrived = undefined;
		showError(error);
	} finally {
		clearTimeout(slow);
		if (!signal.aborted) {
			waiting('');
			list.ariaBusy = 'false';
		}
	}
}

export function loadIfMoved() {
	if (location.search === loaded) return;
	typed = undefined;
	load();
}

// waiting says why there is no answer yet, and when the next attempt is made. Only the
// reason is read out.
function waiting(reason, seconds) {
	if (reason && status.textContent !== reason) status.textContent = reason;
	element('countdown').textContent = reason && (seconds > 0 ? `Trying again in ${seconds} s.` : 'Trying again …');
	element('retry').hidden = !reason;
	element('status').classList.toggle('waiting', Boolean(reason));
}

function showCars({ data, total }) {
	shown = new Map();
	data.map(card).forEach((item, i) => {
		if (item !== list.children[i]) list.insertBefore(item, list.children[i]);
	});
	while (list.children[data.length]) leave(list.lastElementChild);
	trouble.hidden = true;
	showTotal(total);
}

function showTotal(all) {
	total = all;
	const asked = query();
	const paged = asked.has('_page');
	const page = Number(asked.get('_page')) || 1;
	const size = Number(asked.get('_limit') || asked.get('_per_page')) || 10;
	const first = (page - 1) * size;
	status.textContent = total === 0 ? (location.search ? 'No car matches.' : 'There are no cars yet.')
		: shown.size === 0 ? `No cars here; there are ${count(total)}.`
		: shown.size === total ? counted(total, 'car')
		: paged ? `Cars ${count(first + 1)} to ${count(first + shown.size)} of ${count(total)}`
		: `${count(shown.size)} of ${count(total)} cars`;
	showPages(page, paged ? Math.ceil(total / size) : 0);
}

// card returns a car's card: the same as before, if any, where the keyboard may be.
function card(car) {
	shown.set(car.id, car);
	known.add(car.id);
	return fill(itemOf(car.id) ?? element('card').content.cloneNode(true).firstElementChild, car);
}

function fill(item, car) {
	item.dataset.id = car.id;
	picture(item.querySelector('img'), car);
	const link = item.querySelector('a');
	link.textContent = car.name;
	link.href = `#car-${car.id}`;
	const hp = show('details.horsepower', car.details.horsepower);
	item.querySelector('.facts').textContent = [car.year, car.category, hp && `${hp} hp`].filter(Boolean).join(' · ');
	item.querySelector('.price').textContent = show('price', car.price) || 'No price';
	return item;
}

function showPages(page, pages) {
	element('pages').hidden = pages < 2 && page < 2;
	element('page').textContent = `Page ${count(page)} of ${count(pages)}`;
	// The buttons stay focusable, for the keyboard.
	for (const [id, to] of Object.entries({ first: 1, previous: Math.min(page - 1, pages), next: page + 1, last: pages })) {
		element(id).value = to;
		element(id).ariaDisabled = String(to === page || to < 1 || to > pages);
	}
}

function showError(error) {
	follow('');
	showCars({ data: [], total: 0 });
	showPages(1, 0);
	status.textContent = 'The cars cannot be shown.';
	trouble.hidden = false;
	// The server names the parameter; on the page it has another name.
	trouble.querySelector('p').textContent = error.message.replace(/^\w+/, (name) => filters.elements[name]?.labels?.[0].firstChild.data ?? name);
}

// Changes: a car on show changes in its place, and a deleted one leaves. New cars are only
// counted, so that nothing that is being read moves.

const known = new Set(); // IDs of cars that are not new
let complete = 1; // from this ID on, known has all cars
let fresh = new Set(); // IDs of new cars that are not on show
let happened = []; // sentences that are not shown yet
let telling; // the timer after which more may be shown
let refilling; // a timer

function tell(step) {
	arrived?.push(step);
	for (const car of step.put) {
		const { id } = car;
		const before = shown.get(id);
		if (before && JSON.stringify(before) !== JSON.stringify(car)) {
			shown.set(id, car);
			mark(fill(itemOf(id), car));
			happened.push([quote(car.name), ' was changed.']);
		} else if (!known.has(id) && id >= complete) {
			fresh.add(id);
		}
		known.add(id);
	}
	for (const id of step.delete) {
		fresh.delete(id);
		if (!shown.has(id)) continue;
		happened.push([quote(shown.get(id).name), isFollowed('') ? ' was deleted.' : ' is no longer in this list.']);
		shown.delete(id);
		leave(itemOf(id));
	}
	if (list.ariaBusy === 'false') showTotal(total - step.delete.length);
	offer(step.put);
	showNews();
	clearTimeout(refilling);
	if (step.delete.length || step.put.some(({ id }) => !shown.has(id))) refilling = setTimeout(refill, 500);
}

onStep((step) => (step ? tell(step) : load()));

// did shows the user's own changes. These cars do not count as new.
export function did(put, gone = []) {
	for (const { id } of put) {
		known.add(id);
		fresh.delete(id);
	}
	tell({ put, delete: gone });
	load();
}

const itemOf = (id) => list.querySelector(`[data-id="${id}"]`);

function mark(item) {
	item.classList.add('changed');
	clearTimeout(item.marked);
	item.marked = setTimeout(() => item.classList.remove('changed'), 6000);
}

// leave removes a card. If it has the focus, the next card gets it.
function leave(item) {
	if (item.contains(document.activeElement)) {
		((item.nextElementSibling ?? item.previousElementSibling)?.querySelector('a') ?? listTitle).focus();
	}
	item.remove();
}

// refill reads the list again, for its total and the cars that are now at its end.
async function refill() {
	const { signal } = request;
	const answer = await read(`api/cars?${query()}`, { signal }).catch(() => {});
	if (!answer || signal.aborted || list.ariaBusy === 'true') return;
	list.append(...answer.data.filter(({ id }) => !shown.has(id)).slice(0, Math.max(0, answer.data.length - shown.size)).map(card));
	showTotal(answer.total);
	keepNews(true);
}

// keepNews forgets the new cars on show or, unless some, all.
function keepNews(some) {
	fresh = new Set(some ? [...fresh].filter((id) => !shown.has(id)) : []);
	showNews();
}

function showNews() {
	element('new').hidden = fresh.size === 0;
	element('new').textContent = counted(fresh.size, 'new car');
	if (telling) return;
	element('news').replaceChildren(...(happened.length > 1 ? [`${counted(happened.length, 'car')} were changed or deleted.`] : happened.flat()));
	if (happened.length === 0) return;
	happened = [];
	telling = setTimeout(() => {
		telling = undefined;
		showNews();
	}, 6000);
}

function showControls() {
	for (const control of filters.elements) {
		const value = said(control);
		control.querySelector('.odd')?.remove();
		if (control === typed) continue; // nobody is corrected while typing
		control.value = value;
		if (control.value !== value) control.add?.(make('option', value, { value, className: 'odd', selected: true })); // until the address changes
	}
	element('clear').hidden = !location.search;
	element('json').href = `api/cars${location.search}`;
	element('json').textContent = element('json').pathname + location.search;
}

// said returns a control's value in the address bar, as one text.
function said({ name }) {
	const values = params().getAll(name).filter(Boolean).join(', ');
	return name === '_sort' && values ? `${values} ${params().get('_order') ?? ''}`.trim() : values;
}

const choices = { manufacturer: new Set(), category: new Set() };

export async function loadChoices() {
	const { data, total } = await read('api/cars?_sort=-id&_limit=1000').catch(() => ({}));
	if (!data) return;
	for (const { id } of data) known.add(id);
	complete = total > data.length ? data.at(-1).id : 1;
	offer(data);
}

function offer(cars) {
	for (const [name, values] of Object.entries(choices)) {
		const { size } = values;
		for (const car of cars) if (car[name]) values.add(car[name]);
		if (values.size === size) continue;
		const options = () => [...values].sort((a, b) => a.localeCompare(b, 'en')).map((value) => new Option(value, value));
		element(name).replaceChildren(element(name).options[0], ...options());
		element(`${name}-list`).replaceChildren(...options());
		showControls();
	}
}

let typing; // the timer of what is being typed
let typed; // the control that is being typed into

function apply(control) {
	clearTimeout(typing);
	const { name } = control;
	const value = control.value.trim();
	if (value === said(control)) return;
	change({ [name]: value, _page: '', ...(name === '_sort' && { _order: '' }) }, control === typed);
	typed = control;
	load();
}

on('filters', 'input', ({ target }) => {
	clearTimeout(typing);
	typing = setTimeout(apply, 150, target);
});
on('filters', 'change', ({ target }) => { // the user has left the control, or chosen a value
	apply(target);
	typed = undefined;
});
on('filters', 'submit', (event) => event.preventDefault());

on('pages', 'click', ({ target }) => {
	if (target.value === undefined || target.ariaDisabled === 'true') return;
	change({ _page: target.value, _limit: query().get('_limit') ?? '' });
	load();
	listTitle.focus();
});

on('new', 'click', () => {
	const ids = [...fresh];
	go(ids.length > 100 ? `id_gte=${Math.min(...ids)}` : ids.map((id) => `id=${id}`).join('&'));
	load();
	listTitle.focus();
});

on('clear', 'click', () => {
	go('');
	load();
	element('search').focus();
});

on('retry', 'click', load);
on('again', 'click', load);
