// Two have changed the same car: what is what, and whose is to be.

import { fields, get, show } from './fields.js';
import { element, make, quote, value } from './page.js';

const dialog = element('conflict');

// resolve shows what has become of the car that was read, beside the changes that were
// to be made to it, by path; without any, it was to be deleted. It returns 'mine',
// 'theirs', or '' for neither.
export function resolve(read, current, changes) {
	dialog.querySelector('p').replaceChildren(quote(read.name),
		` was changed after you read it. Nothing of yours has been ${changes ? 'saved' : 'done'} yet.`);
	element('take-theirs').textContent = changes ? 'Drop my changes' : 'Keep it';
	element('keep-mine').textContent = changes ? 'Save mine over it' : 'Delete it all the same';
	dialog.querySelector('th:last-child').hidden = !changes;
	dialog.querySelector('tbody').replaceChildren(...fields.flatMap(({ path, label }) => {
		const [before, now, mine] = [get(read, path), get(current, path), changes?.[path]];
		if (before === now && mine === undefined) return [];
		const row = make('tr');
		row.append(make('th', label, { scope: 'row' }), ...[before, now, mine].map((text) => value('td', show(path, text))));
		row.cells[2].classList.toggle('changed', before !== now);
		row.cells[3].classList.toggle('changed', mine !== undefined);
		row.cells[3].hidden = !changes;
		return [row];
	}));
	dialog.returnValue = '';
	dialog.showModal();
	return new Promise((decide) => {
		dialog.addEventListener('close', () => decide(dialog.returnValue), { once: true });
	});
}
