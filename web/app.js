// The start of the page, and its address: the query string is the view of the catalogue,
// and #car-7 opens a car.

import './goroutine.js';
import { open } from './car.js';
import { load, loadChoices, loadIfMoved } from './catalogue.js';
import { element, on } from './page.js';

const carInAddress = () => Number(/^#car-([1-9]\d*)$/.exec(location.hash)?.[1]);

let followed = false; // the car was opened by a link on this page

function show() {
	const id = carInAddress();
	if (id) open(id);
	else element('car').close();
}

on('car', 'close', () => {
	if (!carInAddress()) return;
	if (followed) history.back();
	else history.replaceState(null, '', location.pathname + location.search);
});

addEventListener('hashchange', ({ oldURL }) => { followed = !oldURL.includes('#car-'); });
addEventListener('popstate', () => {
	show();
	loadIfMoved();
});

load();
loadChoices();
show();
