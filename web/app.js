// The start, and what the address bar says while the page is open: the query string is
// the view of the catalogue, #car-7 a car.

import './goroutine.js';
import { open } from './car.js';
import { load, loadChoices, loadIfMoved } from './catalogue.js';
import { element, on } from './page.js';

const carInAddress = () => Number(/^#car-([1-9]\d*)$/.exec(location.hash)?.[1]);

let followed = false; // the way to the car began on this page

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
